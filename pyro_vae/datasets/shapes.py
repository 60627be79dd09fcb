"""Shapes of images, which of them can be drawn, and images cut into tiles."""

from __future__ import annotations

import numpy as np

from pyro_vae.errors import InputError, check_count


def image_shape(row_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an image of an array (N, *row_shape): one channel is left out."""
    if len(row_shape) == 3 and row_shape[0] == 1:
        return tuple(row_shape[1:])
    if len(row_shape) == 3 and row_shape[2] == 1:
        return tuple(row_shape[:2])
    return tuple(row_shape)


def picture_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """(H, W) of grey images, (H, W, 3) of colour images, None of anything else.

    Colour may stand first or last: images of shape (3, H, W) are drawn as (H, W, 3).
    """
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 3):
        return tuple(shape)
    if len(shape) == 3 and shape[0] == 3:
        return (*shape[1:], 3)
    return None


def pictures(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows (N, D) of images of this shape as (N, *picture_shape).

    Raises:
        InputError: they cannot be drawn.
    """
    wanted = picture_shape(shape)
    if wanted is None:
        raise InputError(
            f"rows of shape {tuple(shape)} cannot be drawn: images of shape (H, W), (H, W, 3) or "
            "(3, H, W) are wanted; image_shape says which shape flat rows have"
        )
    images = rows.reshape(-1, *shape)
    return images if wanted == tuple(shape) else np.moveaxis(images, 1, -1)


def channels_first(images: np.ndarray) -> np.ndarray:
    """Colour images (N, H, W, 3) as (N, 3, H, W); others as they are."""
    return np.moveaxis(images, 3, 1) if images.ndim == 4 and images.shape[3] == 3 else images


def tiles(photograph: np.ndarray, size: int) -> np.ndarray:
    """Cut a photograph (H, W) or (H, W, 3) into patches (N, size, size[, 3]) side by side.

    What is left over at the right and at the bottom is dropped; row by row, from the top left.

    Raises:
        InputError: the photograph is smaller than a patch, or of another shape.
    """
    photograph = np.asarray(photograph)
    check_count("size", size)
    if photograph.ndim not in (2, 3) or min(photograph.shape[:2]) < size:
        raise InputError(
            f"a photograph (H, W) or (H, W, 3) of at least {size} x {size} pixels is needed, got "
            f"shape {photograph.shape}"
        )
    down, across = (length // size for length in photograph.shape[:2])
    whole = photograph[: down * size, : across * size]
    cut = whole.reshape(down, size, across, size, *photograph.shape[2:]).swapaxes(1, 2)
    return cut.reshape(down * across, size, size, *photograph.shape[2:])
