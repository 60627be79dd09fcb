"""The one form in which every dataset reaches training, evaluation and plots."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from pyro_vae.datasets.whitening import Whitening

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of pixels in three splits, with what is needed to draw them and to cite their origin.

    Attributes:
        name: the name or path given to ``load_dataset``.
        train: (N, D) float32, what the model is fitted to.
        valid: held-out rows, watched during training.
        test: held-out rows, read at the end only.
        image_shape: (H, W), or (D,) where rows are not grey images.
        pixels: ``"standardised"``: one mean and one scale for the whole training set, for Gaussian
            likelihoods; ``"binary"``: 0 or 1, or a training set of probabilities that ``Batches``
            draws from, for Bernoulli likelihoods.
        labels: split name -> (N,) int64, or None.
        label_names: the name of label 0, 1, ..., where known.
        whitening: the fitted preprocessing of patches, or None.
        info: what JSON can hold: origin, photographs of each split, settings, counts.
    """

    name: str
    train: torch.Tensor
    valid: torch.Tensor
    test: torch.Tensor
    image_shape: tuple[int, ...]
    pixels: str
    labels: dict[str, torch.Tensor] | None = None
    label_names: tuple[str, ...] = ()
    whitening: Whitening | None = None
    info: dict = field(default_factory=dict)
