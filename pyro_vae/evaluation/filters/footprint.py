"""How a filter's energy is spread over the patch and over spatial frequencies, without any fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

WINDOW = 0.5  # side of the window that energy is counted in, as a share of the patch's
BLUR = 0.1  # standard deviation of the energy's blur, as a share of the patch's side


def footprints(filters: np.ndarray) -> pd.DataFrame:
    """Spread of filters (U, H, W) in space and frequency, a row each; NaN for zero filters.

    Returns:
        columns ``compactness``, the share of the energy (squared values) in a window of half the
        patch's height and width around the centre of the energy (0.25 for energy spread evenly);
        ``spread``, the effective area ( sum e )^2 / sum e^2 of the blurred energy e, as a share of
        the patch (1 where it is even); ``spectral_area``, the same for the power spectrum, as a
        share of all frequencies (0.5 for white noise, 0.5 n / (H W) for noise in n Fourier
        components, a few percent for a grating).
    """
    filters = np.asarray(filters, dtype=float)
    found = np.full((len(filters), 3), np.nan)
    for unit, image in enumerate(filters):
        peak = np.abs(image).max()
        if np.isfinite(peak) and peak > 0:
            energy = (image / peak) ** 2
            blurred = gaussian_filter(energy, BLUR * min(image.shape), mode="reflect")
            power = np.abs(np.fft.fft2(image / peak)) ** 2
            found[unit] = _compactness(energy), effective_area(blurred), effective_area(power)
    return pd.DataFrame(found, columns=["compactness", "spread", "spectral_area"])


def effective_area(energy: np.ndarray) -> float:
    """( sum e )^2 / sum e^2 over the number of entries: 1 where all e are equal, 1 / n for one."""
    return float(energy.sum() ** 2 / (energy**2).sum() / energy.size)


def _compactness(energy: np.ndarray) -> float:
    """Share of the energy in the window around its centre of mass, moved onto the patch."""
    share = energy / energy.sum()
    for axis, length in enumerate(energy.shape):
        width = max(1, round(WINDOW * length))
        profile = share.sum(axis=1 - axis)
        centre = (profile / profile.sum() * np.arange(length)).sum()
        first = int(np.clip(round(centre - (width - 1) / 2), 0, length - width))
        share = np.take(share, np.arange(first, first + width), axis=axis)
    return float(share.sum())
