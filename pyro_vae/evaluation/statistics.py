"""Means over data with their standard errors."""

from __future__ import annotations

import numpy as np


def mean_and_error(values: np.ndarray) -> dict[str, float]:
    """Mean over the data and its standard error; NaN for one datum or values not finite."""
    known = len(values) > 1 and np.isfinite(values).all()  # an infinite k-hat has no spread
    error = values.std(ddof=1) / np.sqrt(len(values)) if known else np.nan
    return {"mean": float(values.mean()), "standard_error": float(error)}


def error_of_mean(errors: np.ndarray) -> float:
    """Monte Carlo error of a mean over data whose errors (B,) are independent."""
    return float(np.sqrt(np.square(errors).sum()) / len(errors))
