"""Features made for a data set: of its labels where it has any, else random ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_vae.datasets import Dataset
from pyro_vae.datasets.batches import draw_binary
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.errors import InputError, check_choice
from pyro_vae.evaluation.fid.features import FeatureMap, label_features, random_features

FEATURES = ("labels", "random")
MOST_IMAGES = 1_000


def default_num_images(data: Dataset) -> int:
    """Generated images where nobody says how many: the null wants as many real ones again."""
    return min(MOST_IMAGES, len(data.test) // 2)


def features_of(
    data: Dataset, name: str | None = None, *, device: torch.device | str = "cpu"
) -> Callable[[int], FeatureMap]:
    """Seed -> features made from the training rows, as :func:`pyro_vae.evaluation.fid` takes them.

    Args:
        name: ``"labels"``: of a small network trained on the labels
            (:func:`~pyro_vae.evaluation.fid.label_features`); ``"random"``: random projections;
            None: of the labels where the data have any.

    Raises:
        InputError: another name, or labels of data that have none.
    """
    labels = None if data.labels is None else data.labels["train"]
    known = "random" if labels is None else "labels"
    if check_choice("features", name or known, FEATURES) == "random":
        return lambda seed: random_features(_drawn(data, seed).to(device), seed=seed)
    if labels is None:
        raise InputError(f"{data.name} has no labels; allowed: random features")

    def made(seed: int) -> FeatureMap:
        rows = _drawn(data, seed).to(device)
        return label_features(rows, labels.to(device), data.channels_first, seed=seed)

    return made


def _drawn(data: Dataset, seed: int) -> Tensor:
    """Training rows as the test rows are: 0/1 where pixels are drawn."""
    if not data.pixels.drawn:
        return data.train_in_memory
    return draw_binary(data.train_in_memory, numpy_generator(seed, "fid", "pixels"))
