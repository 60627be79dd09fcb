"""The posterior of a linear decoder with Gaussian noise, which a guide of z1 starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyro_vae.errors import InputError, check_positive


@dataclass(frozen=True)
class LinearPosterior:
    """Location G (x - centre) and variance of each unit.

    Attributes:
        gain: (r, D), G.
        variance: (r,), 1 / Lambda_ii.
    """

    gain: np.ndarray
    variance: np.ndarray

    def locations(self, centred: np.ndarray) -> np.ndarray:
        """G (x - centre) of centred rows (N, D): (N, r)."""
        return centred @ self.gain.T


def linear_posterior(columns: np.ndarray, noise: float, prior_variance: float) -> LinearPosterior:
    """q(z | x) for x = A z + noise, z of independent units, as if z were normal.

        Lambda = A'A / noise^2 + I / v,  G = Lambda^{-1} A' / noise^2,  Var(z_i) = 1 / Lambda_ii

    G (x - centre) is the posterior mean under a normal prior of variance v (Bishop 2006, equation
    2.116, https://www.microsoft.com/en-us/research/publication/pattern-recognition-machine-learning),
    and 1 / Lambda_ii, the variance of a unit given all others, is that of the best posterior with
    independent units. For Laplace units of the same variance the reconstruction term is the same:
    it knows mean and variance of q alone.

    Args:
        columns: A (D, r), in units of x per unit of z.
        noise: standard deviation of a pixel.
        prior_variance: v, of every unit: 1 for Normal(0, 1), 2 for Laplace(0, 1).

    Raises:
        InputError: a noise or a variance that is not positive, or columns that are no table.
    """
    columns = np.asarray(columns, dtype=np.float64)
    if columns.ndim != 2:
        raise InputError(f"columns must have shape (D, r), got {columns.shape}")
    check_positive("noise", noise)
    check_positive("prior_variance", prior_variance)
    precision = columns.T @ columns / noise**2 + np.eye(columns.shape[1]) / prior_variance
    gain = np.linalg.solve(precision, columns.T) / noise**2
    return LinearPosterior(gain, 1 / np.diag(precision))
