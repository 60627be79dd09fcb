"""Nats of an image as bits per dimension, where its pixels are whole levels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyro_vae.datasets.pixel_space import pixel_space
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.statistics import Mean


def bits_per_dim(log_likelihood: np.ndarray, num_pixels: int) -> np.ndarray:
    """-log p(x) / (D ln 2): bits that a lossless code spends on each of the D numbers of an image.

    Of a lower bound on log p(x), such as the ELBO or L_K, it is an upper bound on the bits. Defined
    for pixels that take whole levels: where p is a density over real numbers its logarithm moves
    with the unit of the pixels, and so would the bits.

    Args:
        log_likelihood: (B,), nats per image.
        num_pixels: D, colour channels counted.
    """
    return -np.asarray(log_likelihood, float) / _nats(num_pixels)


def _nats(num_pixels: int) -> float:
    """Nats that are one bit of every dimension."""
    return check_count("num_pixels", num_pixels) * math.log(2)


def mean_in_bits(mean: Mean, num_pixels: int) -> Mean:
    """A mean of log-likelihoods in nats as one in bits per dimension, with its errors."""
    nats, monte_carlo = _nats(num_pixels), mean.monte_carlo_error
    return Mean(
        -mean.mean / nats,
        mean.standard_error / nats,
        None if monte_carlo is None else monte_carlo / nats,
    )


def levelled_pixels(model: Any) -> int | None:
    """D of a model whose pixels are whole levels (its likelihood tells); None for any other."""
    likelihood: Any = getattr(model, "likelihood", None)
    space = getattr(likelihood, "pixels", None)
    if space is None or pixel_space(space).levels is None:
        return None
    return likelihood.features


def no_bits() -> InputError:
    """The error for a pair whose log-likelihood has no bits per dimension."""
    return InputError(
        "bits per dimension are of pixels that take whole levels; the log-likelihood here is that "
        "of a density over real numbers, which moves with the unit of the pixels"
    )
