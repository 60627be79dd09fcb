"""Means and covariances of large float32 or uint8 tables, accumulated in float64 by chunks.

Chunks keep the memory small (640,000 patches in float64 are 2 GB; rows may stay in their file, see
``far_rows.Part``) and the order of summation fixed, so that the scale of a dataset does not depend
on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pyro_vae.datasets.far_rows import Part

CHUNK = 8192


def pieces(rows: np.ndarray | Part) -> Iterator[np.ndarray]:
    """Yield ``rows``, at most ``CHUNK`` at a time."""
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def chunks(rows: np.ndarray | Part) -> Iterator[np.ndarray]:
    """The same in float64."""
    return (piece.astype(np.float64) for piece in pieces(rows))


def low_and_high(tables: Iterable[np.ndarray | Part]) -> tuple[float, float]:
    """The least and the largest number of tables of rows (N, ...)."""
    ends = [(float(part.min()), float(part.max())) for rows in tables for part in pieces(rows)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def only_value(rows: np.ndarray | Part) -> np.generic | None:
    """The value that all numbers of the rows (N, ...) have, or None; reads up to another one."""
    first = rows[:1].flat[0]
    return first if all((part == first).all() for part in pieces(rows)) else None


def mean_and_scale(rows: np.ndarray | Part) -> tuple[float, float]:
    """Mean and standard deviation over all entries of ``rows`` (N, ...): one number each."""
    mean = sum(chunk.sum() for chunk in chunks(rows)) / rows.size
    variance = sum(np.square(chunk - mean).sum() for chunk in chunks(rows)) / rows.size
    return float(mean), float(np.sqrt(variance))


def covariance(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D), normalised by N, of ``rows`` (N, D)."""
    mean = sum(chunk.sum(axis=0) for chunk in chunks(rows)) / len(rows)
    products = sum((chunk - mean).T @ (chunk - mean) for chunk in chunks(rows))
    return mean, products / len(rows)
