"""What is made of classified filters: counts, selections, medians, and fields that agree."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures.by_name import Named
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.filters.classes import CLASS, CLASSES, check_columns

SELECTION_SIDE = 20  # pixels of the patches that Vas 2024 gives its thresholds for
SUMMARISED = ("r2", "size", "length", "wavelength", "frequency")


def class_counts(classified: pd.DataFrame, active: np.ndarray | None = None) -> Named:
    """``active`` units, and those ``localised``, ``non_localised`` and ``unresolved`` of them.

    Args:
        classified: of :func:`pyro_vae.evaluation.filters.classes.classify`.
        active: (U,) booleans, the units that count; default: all.

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
        fits: of :func:`pyro_vae.evaluation.filters.gabor.fit_gabors`.
        side: of the patch in pixels. ``centre`` and ``size`` are given for 20 pixels and scaled in
            proportion; wavelength and frequency are not: they belong to the pixel grid.
    """
    check_columns(fits, ("x", "y", "scale", "wavelength", "frequency"))
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
