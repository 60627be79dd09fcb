"""Mutual information between single units and the label, in nats.

The unit is cut into bins that hold equally many data, and the information of the resulting table of
counts is corrected for its bias (Miller 1955). Compared with nearest-neighbour estimators this
does not change under monotone maps of a unit, is below the true information but for the error of
estimation (data processing), and is quick enough for hundreds of units with their nulls.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures.decoding import check_classes, check_labelled
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.disentanglement.binned import (
    corrected_information,
    entropy,
    quantile_bins,
)

SHUFFLES = 100
MIN_PER_CELL = 5  # data per cell of the table, on average


def unit_information(
    values: np.ndarray,
    labels: np.ndarray,
    *,
    bins: int | None = None,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> pd.DataFrame:
    """I(z_u; label) of every unit with its null under shuffled labels (beyond Vas 2024).

    By :func:`corrected_information`, which is not cut off at zero: the null has mean zero. A
    constant unit has I = 0.

    Args:
        values: (N, U), posterior means, say. labels: (N,).
        bins: per unit; by default N^(1/3), at most so many that a cell holds 5 data on average.
        shuffles: of the labels, shared by the units. seed: of the shuffles.

    Returns:
        a row per unit: ``unit``, ``information``, ``null`` and ``null_sd`` (mean and standard
        deviation over the shuffles), ``null_high`` (their 0.95 quantile), ``label_entropy`` (the
        most that a unit can tell); nats.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, fewer than two classes, too
            few data for two bins.
    """
    values, labels = check_labelled("labelled", values, labels)
    classes = check_classes(labels, 1)
    check_count("number of shuffles", shuffles, 2)
    codes = np.searchsorted(classes, labels)
    most = len(values) // (MIN_PER_CELL * len(classes))
    if most < 2:
        raise InputError(
            f"{len(values)} data in {len(classes)} classes are too few for mutual information; "
            f"wanted are {2 * MIN_PER_CELL * len(classes)} or more"
        )
    bins = min(most, round(len(values) ** (1 / 3))) if bins is None else bins
    binned = quantile_bins(values, check_count("number of bins", bins, 2))
    information = corrected_information(binned, codes, len(classes))
    generator = np.random.default_rng(seed)
    null = np.stack(
        [
            corrected_information(binned, generator.permutation(codes), len(classes))
            for _ in range(shuffles)
        ]
    )
    return pd.DataFrame(
        {
            "unit": np.arange(values.shape[1]),
            "information": information,
            "null": null.mean(axis=0),
            "null_sd": null.std(axis=0, ddof=1),
            "null_high": np.quantile(null, 0.95, axis=0, method="weibull"),
            "label_entropy": float(entropy(np.bincount(codes))),
        }
    )
