"""The Frechet distance between two Gaussians, from their moments or from samples."""

from __future__ import annotations

import numpy as np

from pyro_vae.errors import InputError


def frechet_distance_of_moments(
    mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray
) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)): squared 2-Wasserstein distance of two Gaussians.

    Dowson and Landau 1982 (https://doi.org/10.1016/0047-259X(82)90077-X). In float64 and in the
    symmetric form ``tr (R C' R)^(1/2)``, R = C^(1/2), whose eigenvalues are real and not negative
    for covariances of any rank; square roots of C C' itself leave imaginary parts where one is
    singular.

    Args:
        mean, other_mean: (d,). covariance, other_covariance: (d, d), symmetric.
    """
    mean, other_mean = np.asarray(mean, np.float64), np.asarray(other_mean, np.float64)
    first = np.asarray(covariance, np.float64)
    second = np.asarray(other_covariance, np.float64)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    inner = root @ second @ root
    cross = np.sqrt(np.linalg.eigvalsh((inner + inner.T) / 2).clip(0)).sum()
    shift = np.square(mean - other_mean).sum()
    return float(max(shift + np.trace(first) + np.trace(second) - 2 * cross, 0.0))


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """The Frechet distance between the Gaussians that fit two samples (Heusel et al. 2017).

    ``FID`` where the features are those of an Inception network
    (https://arxiv.org/abs/1706.08500). Covariances have n - 1 in their denominator, and may be of
    lower rank than d.

    **It is not 0 for two samples of one law**, and grows with the number of features: of n draws
    each of N(0, I_d) it is (d^2 + 5 d) / (2 n) on average, to first order in 1 / n (2.2 for d = 64,
    n = 1000). Read it beside the distance between two real samples of the same size.

    Args:
        features: (n, d).
        others: (m, d).

    Raises:
        InputError: fewer than two rows, other widths, numbers that are not finite.
    """
    tables = [np.asarray(table, np.float64) for table in (features, others)]
    for table in tables:
        if table.ndim != 2 or len(table) < 2 or not np.isfinite(table).all():
            raise InputError(
                f"features must be a finite table of at least two rows, got shape {table.shape}"
            )
    if tables[0].shape[1] != tables[1].shape[1]:
        raise InputError(
            f"{tables[0].shape[1]} features cannot be compared with {tables[1].shape[1]}"
        )
    moments = [(table.mean(0), np.atleast_2d(np.cov(table, rowvar=False))) for table in tables]
    return frechet_distance_of_moments(*moments[0], *moments[1])
