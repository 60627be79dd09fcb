"""Which of many rows to show: spread evenly, or over the classes."""

from __future__ import annotations

import numpy as np


def evenly(rows: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of the rows in even steps from the first to the last."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def spread_rows(labels: np.ndarray | None, num_rows: int, count: int) -> np.ndarray:
    """Indices of at most ``count`` rows to show: one of every class in turn, sorted by class.

    Where there are more classes than ``count`` these are spread evenly over the classes, and
    without labels over the rows.
    """
    if labels is None:
        return evenly(np.arange(num_rows), count)
    # The n-th row of every class comes before the (n + 1)-th of any.
    place = np.empty(num_rows, dtype=int)
    for name in np.unique(labels):
        place[labels == name] = np.arange((labels == name).sum())
    order = np.lexsort((labels, place))
    firsts = order[place[order] == 0]
    chosen = evenly(firsts, count) if len(firsts) > count else order[:count]
    return chosen[np.argsort(labels[chosen], kind="stable")]
