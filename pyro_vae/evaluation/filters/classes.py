"""Classes of filters by their Gabor fits: localised, non-localised, unresolved."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pyro_vae.errors import InputError

CLASS = "class"  # the column of a unit's class
CLASSES = ("localised", "non-localised", "unresolved")
MIN_R2 = 0.5
MAX_COVERAGE = 0.6
MAX_SPECTRAL_AREA = 0.05
MIN_SPREAD = 0.6


def classify(
    fits: pd.DataFrame,
    *,
    min_r2: float = MIN_R2,
    max_coverage: float = MAX_COVERAGE,
    min_spread: float = MIN_SPREAD,
    max_spectral_area: float = MAX_SPECTRAL_AREA,
) -> pd.DataFrame:
    """The table with a column ``class``, one of CLASSES (Vas 2024, Figure 5.19 and Table 5.5).

    ==============  ================================================================================
    localised       a Gabor function explains at least ``min_r2`` of the filter's energy, and its
                    envelope covers at most ``max_coverage`` of the patch
    non-localised   structured over the patch: explained as well, by a Gabor function that covers
                    more (gratings, slopes, blobs as large as the patch); or explained by none,
                    while the energy covers at least ``min_spread`` of the patch and at most
                    ``max_spectral_area`` of the spatial frequencies (plaids)
    unresolved      all others: noise, and shapes in one place that are no Gabor function; also
                    filters that are zero or not finite
    ==============  ================================================================================

    Vas 2024 sorts by eye and leaves about 26 of its 315 active units in neither of its two classes.
    The defaults are for 20 x 20 pixels. There r2 of noise in the 128 leading principal components
    of photographs, as an untrained decoder has it, reached 0.20 in 150 filters, of white noise
    0.09, of noise in 64 components 0.48 (of 80); Gabor functions with half their energy in noise on
    top had 0.62 to 0.73, full-field gratings with a quarter 0.78 to 0.84 and a coverage above 0.92,
    Gabor functions of sizes up to 3.5 pixels one below 0.27. Spectral areas of the noise were at
    least 0.11 (128 components) and 0.05 (64), of sums of two gratings at most 0.045. Fewer
    components than 64 leave noise too smooth for these thresholds: fit some beside the filters.

    Args:
        fits: of :func:`pyro_vae.evaluation.filters.gabor.fit_gabors`.

    Raises:
        InputError: a column is missing.
    """
    check_columns(fits, ("r2", "coverage", "spread", "spectral_area"))
    explained = fits.r2 >= min_r2  # False for NaN, as below
    localised = explained & (fits.coverage <= max_coverage)
    structured = (fits.spread >= min_spread) & (fits.spectral_area <= max_spectral_area)
    names = np.select([localised, explained | structured], CLASSES[:2], CLASSES[2])
    return fits.assign(**{CLASS: names})


def check_columns(fits: pd.DataFrame, wanted: tuple[str, ...]) -> None:
    """InputError that names the first column which the table lacks."""
    for name in wanted:
        if name not in fits.columns:
            raise InputError(f"the table of fits has no column {name!r}")
