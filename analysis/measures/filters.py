"""Classes of filters by their Gabor fits: localised, non-localised, unresolved; selections."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures.by_name import Named
from pyro_vae.errors import InputError, check_count

CLASS = "class"  # the column of a unit's class
CLASSES = ("localised", "non-localised", "unresolved")
MIN_R2 = 0.5
MAX_COVERAGE = 0.6
MAX_SPECTRAL_AREA = 0.05
MIN_SPREAD = 0.6
SELECTION_SIDE = 20  # pixels of the patches that Vas 2024 gives its thresholds for
SUMMARISED = ("r2", "size", "length", "wavelength", "frequency")


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
        fits: of :func:`analysis.measures.gabor.fit_gabors`.

    Raises:
        InputError: a column is missing.
    """
    _check_columns(fits, ("r2", "coverage", "spread", "spectral_area"))
    explained = fits.r2 >= min_r2  # False for NaN, as below
    localised = explained & (fits.coverage <= max_coverage)
    structured = (fits.spread >= min_spread) & (fits.spectral_area <= max_spectral_area)
    names = np.select([localised, explained | structured], CLASSES[:2], CLASSES[2])
    return fits.assign(**{CLASS: names})


def class_counts(classified: pd.DataFrame, active: np.ndarray | None = None) -> Named:
    """``active`` units, and those ``localised``, ``non_localised`` and ``unresolved`` of them.

    Args:
        classified: of :func:`classify`. active: (U,) booleans, the units that count; default: all.

    Raises:
        InputError: ``active`` has another shape, or no unit is active.
    """
    chosen = only_active(classified, active)
    counts = {name.replace("-", "_"): int((chosen[CLASS] == name).sum()) for name in CLASSES}
    return Named(active=len(chosen), **counts)


def only_active(fits: pd.DataFrame, active: np.ndarray | None) -> pd.DataFrame:
    """The rows of active units, all where ``active`` (U,) is None; InputError where none is."""
    if active is None:
        return fits
    active = np.asarray(active, dtype=bool)
    if active.shape != (len(fits),):
        raise InputError(f"active has shape {active.shape}, there are {len(fits)} filters")
    if not active.any():
        raise InputError("no unit of z1 is active")
    return fits[active]


def select_gabors(
    fits: pd.DataFrame,
    side: int = SELECTION_SIDE,
    *,
    centre: tuple[float, float] = (6, 14),
    size: tuple[float, float] = (3, 6),
    min_wavelength: float = 2,
    min_frequency: float = 0.18,
) -> np.ndarray:
    """Which filters are Gabor functions near the patch's middle, (U,) (Vas 2024, Figure 5.24).

    Both coordinates of the centre lie within ``centre``, the ``scale`` (the geometric mean of the
    two standard deviations: Vas 2024 gives each filter one) within ``size``, the wavelength is
    above ``min_wavelength`` and the frequency above ``min_frequency``, which is a wavelength below
    1 / 0.18 = 5.6 pixels. A wavelength of exactly 2 is where a fit ends that follows noise from
    pixel to pixel. Goodness is not asked for: combine with the classes.

    Args:
        fits: of :func:`analysis.measures.gabor.fit_gabors`.
        side: of the patch in pixels. ``centre`` and ``size`` are given for 20 pixels and scaled in
            proportion; wavelength and frequency are not: they belong to the pixel grid.
    """
    _check_columns(fits, ("x", "y", "scale", "wavelength", "frequency"))
    ratio = check_count("side", side) / SELECTION_SIDE
    chosen = (fits.wavelength > min_wavelength) & (fits.frequency > min_frequency)
    for column, bounds in (("x", centre), ("y", centre), ("scale", size)):
        chosen &= fits[column].between(*(ratio * bound for bound in bounds))
    return chosen.to_numpy()


def gabor_summary(fits: pd.DataFrame) -> pd.DataFrame:
    """Medians and quartiles of what was fitted, and how much orientations agree.

    Returns:
        columns ``quantity``, ``median``, ``low`` and ``high`` (quartiles), ``n``, a row each for
        r2, size, length (pixels), wavelength (pixels) and frequency (cycles per pixel). The last
        row, ``orientation bias``, has under ``median`` R = |mean exp(2i orientation)|, 0 for evenly
        spread orientations, 1 for equal ones, and under ``high`` what n evenly spread random ones
        exceed one time in twenty, sqrt(-log(0.05) / n) (Rayleigh's approximation).

    Raises:
        InputError: the table has no rows.
    """
    if fits.empty:
        raise InputError("there is no filter to summarise")
    rows = []
    for name in SUMMARISED:
        low, median, high = fits[name].quantile([0.25, 0.5, 0.75])
        rows.append({"quantity": name, "median": median, "low": low, "high": high, "n": len(fits)})
    bias = np.abs(np.exp(2j * fits.orientation.to_numpy()).mean())
    limit = np.sqrt(-np.log(0.05) / len(fits))
    rows.append({"quantity": "orientation bias", "median": bias, "high": limit, "n": len(fits)})
    return pd.DataFrame(rows)


def field_correlation(
    projective: np.ndarray, receptive: np.ndarray, receptive_se: np.ndarray | None = None
) -> pd.DataFrame:
    """How much each unit's receptive field (U, D) looks like its projective field (U, D).

    Returns:
        columns ``unit``; ``correlation``, sum p r / sqrt( sum p^2 sum r^2 ), about zero, so that it
        is the same for pixels and principal components; ``other``, its mean absolute value with the
        receptive fields of all other units, the chance level; and ``ceiling``, the value that two
        equal fields would reach given the receptive field's standard errors (NaN without them).

    Raises:
        InputError: shapes that differ, or fewer than two units.
    """
    projective, receptive = np.asarray(projective, float), np.asarray(receptive, float)
    if projective.shape != receptive.shape or projective.ndim != 2 or len(projective) < 2:
        raise InputError(
            "projective and receptive fields must have one shape (U, D) with U >= 2, got "
            f"{projective.shape} and {receptive.shape}"
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        table = _unit_rows(projective) @ _unit_rows(receptive).T
    own = table.diagonal().copy()
    np.fill_diagonal(table, np.nan)
    ceiling = np.full(len(own), np.nan)
    if receptive_se is not None:
        noise = (np.asarray(receptive_se, float) ** 2).sum(axis=1) / (receptive**2).sum(axis=1)
        ceiling = np.sqrt(np.maximum(1 - noise, 0))
    return pd.DataFrame(
        {
            "unit": np.arange(len(own)),
            "correlation": own,
            "other": np.nanmean(np.abs(table), axis=1),
            "ceiling": ceiling,
        }
    )


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _check_columns(fits: pd.DataFrame, wanted: tuple[str, ...]) -> None:
    for name in wanted:
        if name not in fits.columns:
            raise InputError(f"the table of fits has no column {name!r}")
