"""Occluded pixels: which, what straight linear algebra puts there, and the error of a filling."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyro_vae.errors import InputError

HIDDEN_SHARE = 0.3  # side of the hidden square over that of the patch: 6 of 20 pixels
# Below this share of the largest, eigenvalues of the visible pixels' covariance are rounding.
RANK_TOLERANCE = 1e-10


def centred_square(image_shape: tuple[int, ...], side: int | None = None) -> NDArray[np.bool_]:
    """Mask (D,) of a centred square of ``side`` pixels, by default 0.3 of the shorter side.

    Raises:
        InputError: rows are no grey images, or the square leaves no visible pixel.
    """
    if len(image_shape) != 2:
        raise InputError(
            f"rows of shape {tuple(image_shape)} are no grey images; only their pixels can be "
            "occluded"
        )
    side = round(HIDDEN_SHARE * min(image_shape)) if side is None else side
    if not 1 <= side < min(image_shape):
        raise InputError(
            f"a square of {side} pixels cannot be hidden in {image_shape[0]} x {image_shape[1]} "
            f"ones; allowed: 1 to {min(image_shape) - 1}"
        )
    mask = np.zeros(image_shape, dtype=bool)
    top, left = ((length - side) // 2 for length in image_shape)
    mask[top : top + side, left : left + side] = True
    return mask.ravel()


def linear_fill(
    train: NDArray, rows: NDArray, hidden: NDArray[np.bool_], noise: float = 0.0
) -> NDArray[np.float64]:
    """Conditional mean of the hidden pixels in a Gaussian of the training mean and covariance.

        E[x_h | x_v] = m_h + C_hv (C_vv + noise^2 I)^-1 (x_v - m_v)

    The best linear interpolation; with ``noise`` > 0 that of visible pixels which are seen through
    independent noise of this standard deviation. A singular C_vv is inverted where it has rank.

    Args:
        train: (M, D). rows: (N, D), whose hidden pixels are not read. hidden: (D,) booleans.

    Returns:
        (N, H), the hidden pixels in the order of the mask.
    """
    hidden = check_mask(hidden, rows.shape[1])
    if len(train) < 2:
        raise InputError(f"a covariance wants at least 2 training rows, got {len(train)}")
    mean = train.mean(axis=0, dtype=np.float64)
    centred = train.astype(np.float64) - mean
    spread = centred.T @ centred / (len(train) - 1)
    within = spread[np.ix_(~hidden, ~hidden)] + noise**2 * np.eye((~hidden).sum())
    across = spread[np.ix_(hidden, ~hidden)]
    weights = across @ np.linalg.pinv(within, rcond=RANK_TOLERANCE, hermitian=True)
    return mean[hidden] + (rows[:, ~hidden] - mean[~hidden]) @ weights.T


def squared_error(estimates: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Mean squared error over the hidden pixels of each patch, its Monte Carlo noise removed, (N,).

    Args:
        estimates: (R, N, H), R >= 2 independent estimates of each pixel; their mean is judged. The
            mean's squared error exceeds that of its expectation by Var_r / R, which is subtracted;
            one patch's error can therefore fall below 0.
        truth: (N, H).
    """
    estimates, truth = (np.asarray(values, dtype=np.float64) for values in (estimates, truth))
    if estimates.ndim != 3 or len(estimates) < 2 or estimates.shape[1:] != truth.shape:
        raise InputError(
            f"estimates have shape {estimates.shape}; (R, {', '.join(map(str, truth.shape))}) with "
            "R >= 2 is wanted"
        )
    noise = estimates.var(axis=0, ddof=1) / len(estimates)
    return ((estimates.mean(axis=0) - truth) ** 2 - noise).mean(axis=1)


def with_hidden(rows: NDArray, hidden: NDArray[np.bool_], values: NDArray) -> NDArray:
    """The rows with their hidden pixels replaced."""
    whole = rows.copy()
    whole[:, hidden] = values
    return whole


def check_mask(hidden: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The mask, if it is (width,) booleans of both kinds; InputError otherwise."""
    hidden = np.asarray(hidden)
    if hidden.shape != (width,) or hidden.dtype != bool or not 0 < hidden.sum() < width:
        raise InputError(
            f"the mask of hidden pixels must be ({width},) booleans with hidden and visible ones, "
            f"got {hidden.dtype} of shape {hidden.shape}"
        )
    return hidden
