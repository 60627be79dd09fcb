"""Rows of a data set as images, where they are images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pyro_vae.datasets import Dataset
from pyro_vae.datasets.shapes import picture_shape
from pyro_vae.errors import InputError


def first_rows(data: Dataset, split: str, count: int) -> Tensor:
    """The first rows of a split as models read them, (count, D).

    Binary pixels are drawn where the training set keeps their probabilities.
    """
    rows = getattr(data, split)[:count]
    return data.preprocessing.draw(rows, split) if data.pixels.drawn else rows


def check_images(data: Dataset) -> None:
    """InputError, with what can be done, where the rows are no images."""
    if data.picture_shape is None:
        raise InputError(
            f"rows of {data.name} have shape {tuple(data.image_shape)}: no images, grey (H, W) or "
            "colour (H, W, 3), so there is nothing to draw; rows that are flattened images are "
            "drawn with their height and width, such as --image-shape 28 20"
        )


def as_images(rows: np.ndarray, data: Dataset) -> np.ndarray:
    """Rows (N, D) as images (N, H, W) in their own units, or in colour (N, H, W, 3) in [0, 1].

    PCA coefficients become whitened pixels.

    Raises:
        InputError: the rows are no images.
    """
    check_images(data)
    return data.preprocessing.shown(rows)


def as_effects(rows: np.ndarray, data: Dataset) -> np.ndarray:
    """Filters, or differences of rows, (N, D) as images; in colour too their units stay."""
    check_images(data)
    return data.preprocessing.shown(rows, effects=True)


def grey_limit(images: np.ndarray, data: Dataset) -> float | None:
    """Symmetric scale of standardised grey images; None for those between 0 and 1."""
    coloured = images.shape[-1:] == (3,) and len(data.picture_shape) == 3
    return None if coloured else data.pixels.grey_limit(images)


def shaped(data: Dataset, shape: Sequence[int] | None) -> Dataset:
    """The data with rows read as images of ``shape``; None changes nothing.

    Args:
        shape: (H, W), or (H, W, 3) or (3, H, W) of colour images.

    Raises:
        InputError: no shape of images, or one of another number of pixels than the rows have.
    """
    if shape is None:
        return data
    width, wanted = data.test.shape[1], tuple(shape)
    fits = picture_shape(wanted) is not None and min(wanted) > 0 and np.prod(wanted) == width
    if data.whitening is not None or not fits:
        raise InputError(
            f"--image-shape {' '.join(map(str, wanted))} does not fit rows of {data.name}; allowed "
            f"are a height and a width, and 3 for colour, whose product is {width}"
        )
    made = dataclasses.replace(data.preprocessing, image_shape=wanted)
    return dataclasses.replace(data, image_shape=wanted, preprocessing=made)
