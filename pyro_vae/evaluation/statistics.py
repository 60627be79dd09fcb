"""Means over data with their standard errors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Mean:
    """A mean over independent data.

    Attributes:
        mean: of the values.
        standard_error: sd / sqrt(n), with n - 1 in the variance: of data and Monte Carlo together.
            NaN for one datum or values that are not finite.
        monte_carlo_error: the part of it that more particles would take away, where it is known.
    """

    mean: float
    standard_error: float
    monte_carlo_error: float | None = None

    def as_dict(self) -> dict[str, float]:
        """What ``summary.json`` holds: without the Monte Carlo error where there is none."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def mean_and_error(values: np.ndarray, errors: np.ndarray | None = None) -> Mean:
    """Mean over the data (n,) and its standard error; ``errors`` (n,): Monte Carlo, of each."""
    known = len(values) > 1 and np.isfinite(values).all()  # an infinite k-hat has no spread
    error = values.std(ddof=1) / np.sqrt(len(values)) if known else math.nan
    return Mean(
        float(values.mean()), float(error), None if errors is None else error_of_mean(errors)
    )


def error_of_mean(errors: np.ndarray) -> float:
    """Monte Carlo error of a mean over data whose errors (B,) are independent."""
    return float(np.sqrt(np.square(errors).sum()) / len(errors))
