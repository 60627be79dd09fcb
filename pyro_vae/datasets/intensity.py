"""Grey levels of images of any kind, and the intensities of patches cut from them."""

from __future__ import annotations

import numpy as np

from pyro_vae.errors import InputError

INTENSITY = ("log", "grey", "raw")
# log(grey + offset), grey in [0, 1]. Thirteen of 255 grey levels: a smaller offset turns the
# quantisation noise of dark areas into the strongest contrasts of a photograph.
LOG_OFFSET = 0.05
OTHERWISE = "; of arrays intensity='raw' takes numbers as they are"


def grey_levels(
    origin: str,
    pixels: np.ndarray,
    *,
    colour: bool,
    unbounded: bool = False,
    otherwise: str = OTHERWISE,
) -> np.ndarray:
    """Numbers (..., H, W), or (..., H, W, 3) of ``colour``, as grey levels in [0, 1], float32.

    Whole numbers are divided by the largest one of their type (uint8, uint16; bool); RGB becomes
    luminance, 0.2125 R + 0.7154 G + 0.0721 B (scikit-image's ``rgb2gray``). Where ``unbounded`` is
    true, numbers of any type and range are taken as they are. ``otherwise``: what errors advise.

    Raises:
        InputError: other types of number, or fractions outside [0, 1]; ``origin`` is named.
    """
    from skimage import color

    levels = pixels.astype(np.float64) if unbounded else fractions(origin, pixels, otherwise)
    return (color.rgb2gray(levels) if colour else levels).astype(np.float32)


def fractions(origin: str, pixels: np.ndarray, otherwise: str = OTHERWISE) -> np.ndarray:
    """Numbers of any shape as fractions of the largest one of their type.

    Raises:
        InputError: other types than bool, uint8 and uint16, or fractions outside [0, 1].
    """
    from skimage import util

    if pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise InputError(
                f"{origin}: float pixels must lie in [0, 1], got {pixels.min():g} to "
                f"{pixels.max():g}" + otherwise
            )
    elif pixels.dtype not in (np.uint8, np.uint16, np.bool_):
        raise InputError(
            f"{origin}: whole numbers must be uint8 (0..255) or uint16 (0..65535), got "
            f"{pixels.dtype}" + otherwise
        )
    return util.img_as_float(pixels)


def intensities(grey: np.ndarray, kind: str) -> np.ndarray:
    """Grey levels in [0, 1] as log(grey + 0.05) for ``"log"``, else as they are."""
    return np.log(grey + np.float32(LOG_OFFSET)) if kind == "log" else grey


def grey_of_intensities(values: np.ndarray, kind: str) -> np.ndarray:
    """Inverse of :func:`intensities`; not cut at black and white."""
    return np.exp(values) - LOG_OFFSET if kind == "log" else values
