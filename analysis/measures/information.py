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

        I = sum_bc p_bc log( p_bc / (p_b p_c) ) - (m_bc - m_b - m_c + 1) / (2 N)

    with the numbers m of bins b, classes c and cells that are not empty. Not cut off at zero: the
    null has mean zero. A constant unit has I = 0.

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
    information = _information(binned, codes, len(classes))
    generator = np.random.default_rng(seed)
    null = np.stack(
        [_information(binned, generator.permutation(codes), len(classes)) for _ in range(shuffles)]
    )
    share = np.bincount(codes) / len(codes)
    return pd.DataFrame(
        {
            "unit": np.arange(values.shape[1]),
            "information": information,
            "null": null.mean(axis=0),
            "null_sd": null.std(axis=0, ddof=1),
            "null_high": np.quantile(null, 0.95, axis=0, method="weibull"),
            "label_entropy": -(share * np.log(share)).sum(),
        }
    )


def quantile_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """Bin (N, U) of every value, 0, 1, ..., cut at the quantiles of its unit.

    Equal values share a bin, so that a unit with ties has fewer bins.
    """
    edges = np.quantile(values, np.arange(1, bins) / bins, axis=0)
    columns = [
        np.searchsorted(np.unique(edge), column, side="left")
        for edge, column in zip(edges.T, values.T, strict=True)
    ]
    return np.stack(columns, axis=1)


def _information(binned: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """Corrected information (U,) of bins (N, U) and class codes (N,)."""
    data, units = binned.shape
    bins = int(binned.max()) + 1
    cells = (np.arange(units) * bins + binned) * classes + codes[:, None]
    counts = np.bincount(cells.ravel(), minlength=units * bins * classes)
    joint = counts.reshape(units, bins, classes)
    by_bin, by_class = joint.sum(axis=2), joint.sum(axis=1)
    plug_in = _entropy(by_bin) + _entropy(by_class) - _entropy(joint.reshape(units, -1))
    occupied = [(table > 0).sum(axis=1) for table in (joint.reshape(units, -1), by_bin, by_class)]
    return plug_in - (occupied[0] - occupied[1] - occupied[2] + 1) / (2 * data)


def _entropy(counts: np.ndarray) -> np.ndarray:
    """Plug-in entropy of each row of counts (U, cells), nats."""
    share = counts / counts.sum(axis=1, keepdims=True)
    return -np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), 0.0).sum(axis=1)
