"""Features of images: of a small network trained on labels, or random ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.small_classifier import BATCH, Scaling, small_classifier
from pyro_vae.torch_state import own_generators

NUM_FEATURES = 64
_CHUNK = 1_000
_HELD_OUT = 0.1  # share of the labelled rows that the network's accuracy is told of


@dataclass(frozen=True)
class FeatureMap:
    """A map from rows to features, with what it is in words.

    Attributes:
        function: rows (n, D) -> features (n, d), tensors.
        name: printed beside every distance.
        num_features: d.
        accuracy: of the network's labels on held-out rows; None where it has none.
    """

    function: Callable[[Tensor], Tensor]
    name: str
    num_features: int
    accuracy: float | None = None

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> np.ndarray:
        """(n, D) -> (n, d), float64."""
        parts = [self.function(part).double().cpu() for part in rows.split(_CHUNK)]
        return torch.cat(parts).numpy()


def random_features(rows: Tensor, *, num_features: int = NUM_FEATURES, seed: int = 0) -> FeatureMap:
    """max(0, W x + b) with random W and b: features that nobody trained.

    W has independent normal entries and b uniform ones, as wide as the projections are, which the
    mean and scale of all pixels bring to unit scale. They see means, covariances and, by their
    kinks, some more; objects they do not see.

    Args:
        rows: (N, D), whose mean and scale are taken, such as the training rows.
    """
    check_count("num_features", num_features)
    generator = torch.Generator().manual_seed(check_count("seed", seed, minimum=0))
    wide = torch.float64
    weight = torch.randn(rows.shape[1], num_features, generator=generator, dtype=wide)
    weight = (weight / rows.shape[1] ** 0.5).to(rows)
    bias = (2 * torch.rand(num_features, generator=generator, dtype=wide) - 1).to(rows)
    scaling = Scaling.of(rows)
    return FeatureMap(
        lambda x: torch.relu(scaling(x) @ weight + bias),
        f"{num_features} random projections, rectified",
        num_features,
    )


def label_features(
    rows: Tensor,
    labels: Tensor,
    image_shape: Sequence[int] | None = None,
    *,
    num_features: int = NUM_FEATURES,
    steps: int = 600,
    seed: int = 0,
) -> FeatureMap:
    """The last hidden layer of a small classifier, trained here on the labels: seconds on a CPU.

    It is :func:`~pyro_vae.evaluation.small_classifier.small_classifier`. On the CPU a seed gives
    the same network. A tenth of the rows is left out of training, for its accuracy.

    Args:
        rows: (N, D).
        labels: (N,), whole numbers from 0.
        image_shape: (C, H, W) of a row, channel first; None for rows that are no images.

    Raises:
        InputError: labels that do not fit, or of one class.
    """
    check_count("num_features", num_features)
    check_count("steps", steps)
    labels = torch.as_tensor(labels, device=rows.device).long()
    classes = len(labels.unique()) if len(labels) else 0
    if len(labels) != len(rows) or classes < 2 or len(rows) < 2 * BATCH:
        raise InputError(
            f"a network for features wants a label of each of at least {2 * BATCH} rows, of two "
            f"or more classes; got {len(rows)} rows and {len(labels)} labels of {classes} classes"
        )
    scaling = Scaling.of(rows)
    with own_generators():
        torch.manual_seed(check_count("seed", seed, minimum=0))
        order = torch.randperm(len(rows)).to(rows.device)
        held, kept = order[: int(_HELD_OUT * len(rows))], order[int(_HELD_OUT * len(rows)) :]
        network = small_classifier(
            rows[kept], labels[kept], image_shape, scaling, num_features=num_features, steps=steps
        )
    kind = "dense" if image_shape is None else "convolutional"
    return FeatureMap(
        network.features,
        f"{num_features} units of a small {kind} network for the labels",
        num_features,
        network.hits(rows[held], labels[held]).mean().item(),
    )
