"""Latent units over a data set: their moments, which of them are active, and how clearly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from analysis.measures.by_name import Named
from pyro_vae.errors import InputError, check_positive
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD
from pyro_vae.evaluation.activity_gap import largest_gap

NORM_FLOOR = 1e-3  # field norms below this share of the largest are counted as equal


def levels_of(moments: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the levels in a table of posterior moments, from the data upward."""
    return sorted(name.removesuffix("_mean") for name in moments if name.endswith("_mean"))


def unit_moments(
    moments: Mapping[str, np.ndarray], level: str, threshold: float = ACTIVITY_THRESHOLD
) -> pd.DataFrame:
    """Posterior moments of a level's units, aggregated over the data (Vas 2024, Figures 5.6-18).

    A_u = Var_x( E[z_u | x] ) - Monte Carlo variance of these means; active is A_u > threshold
    (Vas 2024 says "standard deviation different from 0").

    Args:
        moments: of ``pyro_vae.evaluation.posterior_moments``: ``<level>_mean``, ``_sd`` (N, U),
            ``_noise`` (U,) and, for q, ``_scale`` (N, U).

    Returns:
        a row per unit, all in units of the latent: unit; activity (variance); activity_error, its
        standard error over independent data; active; mean_of_means, sd_of_means, mean_of_sds,
        sd_of_sds over the data (sd_of_means keeps its Monte Carlo noise); scale and sd_of_scales,
        of the conditional scale parameter, where there is one.

    Raises:
        InputError: no such level; fewer than 2 data; values not finite; shapes that do not fit.
    """
    check_positive("threshold", threshold)
    allowed = levels_of(moments)
    if level not in allowed:
        raise InputError(f"unknown level {level!r}; allowed: {', '.join(allowed)}")
    mean, sd = (_checked(moments, f"{level}_{name}") for name in ("mean", "sd"))
    if sd.shape != mean.shape:
        raise InputError(f"{level}_sd has shape {sd.shape}, {level}_mean {mean.shape}")
    noise = np.asarray(moments[f"{level}_noise"], float)
    if noise.shape != mean.shape[1:]:
        raise InputError(f"{level}_noise has shape {noise.shape}, not {mean.shape[1:]}")
    variance = mean.var(0, ddof=1)
    table = pd.DataFrame(
        {
            "unit": np.arange(mean.shape[1]),
            "activity": variance - noise,
            "activity_error": _error_of_variance(mean),
            "active": variance - noise > threshold,
            "mean_of_means": mean.mean(0),
            "sd_of_means": np.sqrt(variance),
            "mean_of_sds": sd.mean(0),
            "sd_of_sds": sd.std(0, ddof=1),
        }
    )
    if f"{level}_scale" in moments:
        scale = _checked(moments, f"{level}_scale")
        table = table.assign(scale=scale.mean(0), sd_of_scales=scale.std(0, ddof=1))
    return table


def activity(moments: Mapping[str, np.ndarray], threshold: float = ACTIVITY_THRESHOLD) -> Named:
    """Of every level ``<level>_activity`` (U,) and ``<level>_active`` (U,) booleans."""
    found = Named()
    for level in levels_of(moments):
        table = unit_moments(moments, level, threshold)
        found[f"{level}_activity"] = table.activity.to_numpy()
        found[f"{level}_active"] = table.active.to_numpy()
    return found


def active_units(found: Mapping[str, np.ndarray], level: str, at_least: int = 1) -> np.ndarray:
    """Indices of a level's active units, most active first.

    Args:
        found: of :func:`activity`.

    Raises:
        InputError: no such level, or fewer than ``at_least`` active units (a dead model).
    """
    if f"{level}_active" not in found:
        raise InputError(f"unknown level {level!r}; there is no {level}_active")
    active, values = found[f"{level}_active"], found[f"{level}_activity"]
    if active.sum() < at_least:
        raise InputError(
            f"{active.sum()} of {len(active)} units of {level} are active (the largest activity is "
            f"{values.max():.2g}); {at_least} or more are wanted"
        )
    order = np.argsort(-values, kind="stable")
    return order[active[order]]


def field_gap(fields: np.ndarray, active: np.ndarray) -> dict[str, float]:
    """Active units counted from the decoder, as a check of the count by activity.

    A unit that the decoder ignores has a projective field of norm near 0. Units above the largest
    gap in log norm are counted; norms below 1/1000 of the largest count as equal.

    Args:
        fields: (U, D), projective fields. active: (U,) booleans, from the activity.

    Returns:
        norm_ratio, norm_second_ratio (as in ``pyro_vae.evaluation.activity_gap.activity_gap``);
        above_norm_gap, units above it; agreement, the share of units that both counts put on the
        same side; chance_agreement, its expectation for two unrelated counts of these sizes.

    Raises:
        InputError: shapes that do not fit; fields not finite.
    """
    fields, active = np.asarray(fields, float), np.asarray(active, bool)
    if fields.ndim != 2 or active.shape != fields.shape[:1]:
        raise InputError(
            f"fields {fields.shape} and active {active.shape} do not fit; allowed: (U, D) and (U,)"
        )
    norms = np.linalg.norm(fields, axis=1)
    largest = norms.max(initial=0.0)
    floor = NORM_FLOOR * largest if largest > 0 else 1.0
    _, high, ratio, second = largest_gap(norms, floor, "field norms")
    above = norms >= high
    both = above.mean() * active.mean() + (1 - above.mean()) * (1 - active.mean())
    return {
        "norm_ratio": ratio,
        "norm_second_ratio": second,
        "above_norm_gap": int(above.sum()),
        "agreement": float((above == active).mean()),
        "chance_agreement": float(both),
    }


def densities(draws: np.ndarray, prior, points: int = 201) -> pd.DataFrame:
    """Density of each unit's draws beside its prior's (Vas 2024, Figure 5.11).

    Args:
        draws: (N, U), one draw of z | x per datum: draws from the aggregated posterior.
        prior: frozen distribution of ``scipy.stats``, the same for all units.

    Returns:
        a row per unit and point: unit, value, density (Gaussian kernels of Scott's width), prior.

    Raises:
        InputError: fewer than 10 draws, entries that are not finite, or a unit that never moves.
    """
    draws = _draws(draws)
    if (draws.std(0) == 0).any():
        unit = int(np.argmin(draws.std(0)))
        raise InputError(f"unit {unit} has the same value in all draws; it has no density")
    reach = max(np.abs(draws).max(), prior.ppf(0.999))
    grid = np.linspace(-reach, reach, points)
    parts = [
        pd.DataFrame(
            {
                "unit": unit,
                "value": grid,
                "density": stats.gaussian_kde(column)(grid),
                "prior": prior.pdf(grid),
            }
        )
        for unit, column in enumerate(draws.T)
    ]
    return pd.concat(parts, ignore_index=True)


def prior_distance(draws: np.ndarray, prior) -> pd.DataFrame:
    """How far each unit's aggregated posterior lies from its prior.

    Kolmogorov and Smirnov's D = max |F_draws - F_prior|, in [0, 1]. Draws from the prior itself
    have an expected D of about 0.869 / sqrt(N) (``chance``).

    Args, Raises: as :func:`densities`.

    Returns:
        a row per unit: unit, mean, sd, distance, chance.
    """
    draws = _draws(draws)
    return pd.DataFrame(
        {
            "unit": np.arange(draws.shape[1]),
            "mean": draws.mean(0),
            "sd": draws.std(0, ddof=1),
            "distance": [stats.kstest(column, prior.cdf).statistic for column in draws.T],
            "chance": stats.kstwobign.mean() / np.sqrt(len(draws)),
        }
    )


def _error_of_variance(values: np.ndarray) -> np.ndarray:
    """Standard error of the variance over independent rows: sqrt((m4 - m2^2) / N)."""
    squares = (values - values.mean(0)) ** 2
    return squares.std(0) / np.sqrt(len(values))


def _checked(moments: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    values = np.asarray(moments[name], float)
    if values.ndim != 2 or len(values) < 2:
        raise InputError(f"{name} has shape {values.shape}; allowed: (N, U) with N >= 2 data")
    if not np.isfinite(values).all():
        raise InputError(f"{name} has values that are not finite")
    return values


def _draws(draws: np.ndarray) -> np.ndarray:
    draws = np.asarray(draws, float)
    if draws.ndim != 2 or len(draws) < 10 or not np.isfinite(draws).all():
        raise InputError(f"draws of shape {draws.shape}; allowed: (N, U) finite, N >= 10")
    return draws
