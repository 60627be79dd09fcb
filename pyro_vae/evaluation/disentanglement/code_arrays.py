"""Codes and factors of images as arrays, or one line that says what is wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyro_vae.datasets.preprocessing import as_array
from pyro_vae.errors import InputError

MIN_IMAGES = 8


def check_codes(codes: Any, axes: str = "N, U") -> np.ndarray:
    """Codes as float64 with as many axes as are named, the images' being the last but one."""
    codes = np.asarray(as_array(codes), np.float64)
    if codes.ndim != len(axes.split(",")) or 0 in codes.shape or codes.shape[-2] < MIN_IMAGES:
        raise InputError(
            f"codes must have shape ({axes}) with at least {MIN_IMAGES} images, got {codes.shape}"
        )
    if not np.isfinite(codes).all():
        raise InputError("codes hold values that are NaN or infinite")
    return codes


def check_factors(factors: Any, num_images: int) -> np.ndarray:
    """Factors (N, F), whole numbers from 0, of which each takes two values or more."""
    factors = np.asarray(as_array(factors))
    if factors.ndim != 2 or len(factors) != num_images or not factors.shape[1]:
        raise InputError(
            f"factors must have shape ({num_images}, F), a row for each image, got {factors.shape}"
        )
    if factors.dtype.kind not in "biu" or factors.min() < 0:
        raise InputError(
            f"factors must be whole numbers from 0, got {factors.dtype} from {factors.min():g}"
        )
    constant = np.flatnonzero((factors == factors[0]).all(0))
    if len(constant):
        raise InputError(
            f"factor {constant[0]} is {factors[0, constant[0]]} in all images: it varies in none"
        )
    return factors.astype(np.int64)
