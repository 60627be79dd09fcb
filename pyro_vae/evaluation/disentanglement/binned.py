"""Mutual information of single units with a factor or a label, from bins; nats."""

from __future__ import annotations

import numpy as np


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


def corrected_information(binned: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """I(unit; class) of every unit, (U,), without the bias of first order (Miller 1955).

        I = sum_bc p_bc log( p_bc / (p_b p_c) ) - (m_bc - m_b - m_c + 1) / (2 N)

    with the numbers m of bins b, classes c and cells that are not empty. Not cut off at zero.

    Args:
        binned: (N, U), from :func:`quantile_bins`.
        codes: (N,), the class of each datum, below ``classes``.
    """
    joint = _counts(binned, codes, classes)
    by_bin, by_class = joint.sum(axis=2), joint.sum(axis=1)
    cells = joint.reshape(len(joint), -1)
    plug_in = entropy(by_bin) + entropy(by_class) - entropy(cells)
    occupied = [(table > 0).sum(axis=1) for table in (cells, by_bin, by_class)]
    return plug_in - (occupied[0] - occupied[1] - occupied[2] + 1) / (2 * len(binned))


def pointwise_information(binned: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """log( p_bc / (p_b p_c) ) at the bin and the class of each datum, (N, U).

    Its mean over the data is the information before it is corrected; its spread gives the standard
    error of either, to first order in 1 / N.
    """
    joint = _counts(binned, codes, classes)
    units = np.arange(binned.shape[1])
    both = joint[units, binned, codes[:, None]]
    by_bin = joint.sum(axis=2)[units, binned]
    by_class = joint[0].sum(axis=0)[codes]
    return np.log(both * len(binned) / (by_bin * by_class[:, None]))


def entropy(counts: np.ndarray) -> np.ndarray:
    """Plug-in entropy of each row of counts (..., cells), nats."""
    share = counts / counts.sum(axis=-1, keepdims=True)
    return -np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), 0.0).sum(axis=-1)


def _counts(binned: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """(U, bins, classes), how many data each cell holds."""
    units = binned.shape[1]
    bins = int(binned.max()) + 1
    cells = (np.arange(units) * bins + binned) * classes + codes[:, None]
    counts = np.bincount(cells.ravel(), minlength=units * bins * classes)
    return counts.reshape(units, bins, classes)
