"""Means and covariances of large float32 or uint8 tables, accumulated in float64 by chunks.

Chunks keep the memory small (640,000 patches in float64 are 2 GB) and the order of summation
fixed, so that the scale of a dataset does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CHUNK = 8192


def chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield ``rows`` in float64, at most ``CHUNK`` at a time."""
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK].astype(np.float64)


def mean_and_scale(rows: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation over all entries of ``rows`` (N, ...): one number each."""
    mean = sum(chunk.sum() for chunk in chunks(rows)) / rows.size
    variance = sum(np.square(chunk - mean).sum() for chunk in chunks(rows)) / rows.size
    return float(mean), float(np.sqrt(variance))


def covariance(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D), normalised by N, of ``rows`` (N, D)."""
    mean = sum(chunk.sum(axis=0) for chunk in chunks(rows)) / len(rows)
    products = sum((chunk - mean).T @ (chunk - mean) for chunk in chunks(rows))
    return mean, products / len(rows)
