"""Factors of log-magnitude: how the scales of sources vary together, for p(z1 | z2) and q(z2 | x).

Karklin and Lewicki 2005 (https://doi.org/10.1162/0899766053011474) give every source of a patch a
scale whose logarithm is linear in a few independent variables. Factor analysis of the logarithms of
the sources' magnitudes is a quick estimate of that model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyro_vae.errors import InputError, check_count

SLOPES = np.linspace(0.1, 3.0, 30)  # that the one slope is chosen from


def expected_magnitudes(
    locations: np.ndarray, scales: np.ndarray, *, laplace: bool = True
) -> np.ndarray:
    """Magnitudes m (N, r) of sources that are known up to q(z_i | x) alone.

        Laplace(mu, b):  m = E|z| = |mu| + b exp(-|mu| / b)
        Normal(mu, s):   m = sqrt(E z^2) = sqrt(mu^2 + s^2)

    These are what the likelihood of a scale of the family is a function of. |mu| alone would make
    the scales of sources that are hidden in the noise too small.

    Args:
        locations: (N, r).
        scales: (r,), above zero.
    """
    size = np.abs(np.asarray(locations, dtype=np.float64))
    return size + scales * np.exp(-size / scales) if laplace else np.hypot(size, scales)


@dataclass(frozen=True)
class MagnitudeFactors:
    """log m = centre + loadings f + rest, f ~ N(0, I), rest ~ N(0, psi I).

    Attributes:
        centre: (r,).
        loadings: (r, q).
        eigenvalues: (q,), of the covariance of log m, falling.
        psi: mean of the others.
    """

    centre: np.ndarray
    loadings: np.ndarray
    eigenvalues: np.ndarray
    psi: float

    @property
    def number(self) -> int:
        """q, the number of factors."""
        return self.loadings.shape[1]

    @property
    def variance(self) -> np.ndarray:
        """Posterior variance of each factor, psi / lambda, (q,)."""
        return self.psi / self.eigenvalues

    def means(self, magnitudes: np.ndarray) -> np.ndarray:
        """Posterior means of the factors, (N, q).

        (I + L'L / psi)^{-1} L'(log m - centre) / psi, where L'L = diag(lambda - psi).
        """
        table = _logarithms(magnitudes) - self.centre
        return table @ self.loadings / self.eigenvalues


def magnitude_factors(magnitudes: np.ndarray, number: int) -> MagnitudeFactors:
    """Probabilistic principal components of log m, by maximum likelihood.

        psi = mean of the eigenvalues of Cov(log m) beyond the first q
        loadings = V_q (lambda_q - psi)^{1/2}

    (Tipping and Bishop 1999, equations 7 and 8, https://doi.org/10.1111/1467-9868.00196.)

    Args:
        magnitudes: m (N, r), of :func:`expected_magnitudes`.
        number: q. At most r - 1 are given back, since psi wants an eigenvalue, and fewer where the
            last of them is no larger than chance makes it: of r equal eigenvalues the largest that
            N rows show is about (1 + sqrt(r / N))^2 times their mean (Marchenko and Pastur 1967),
            and hardly ever above (1 + 1.1 sqrt(r / N))^2.

    Raises:
        InputError: fewer than two sources or rows.
    """
    magnitudes = np.asarray(magnitudes, dtype=np.float64)
    check_count("number of factors", number)
    if magnitudes.ndim != 2 or min(magnitudes.shape) < 2:
        raise InputError(
            f"factors want at least two rows of two sources, got the shape {magnitudes.shape}"
        )
    table = _logarithms(magnitudes)
    eigenvalues, vectors = np.linalg.eigh(np.cov(table.T))
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    rows, size = table.shape
    edge = (1 + 1.1 * np.sqrt(size / rows)) ** 2
    number = min(number, size - 1)
    while number and eigenvalues[number - 1] <= edge * eigenvalues[number - 1 :].mean():
        number -= 1
    psi = eigenvalues[number:].mean()
    eigenvalues, vectors = eigenvalues[:number], vectors[:, :number]
    vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1.0, 1.0)
    loadings = vectors * np.sqrt(eigenvalues - psi)
    return MagnitudeFactors(table.mean(axis=0), loadings, eigenvalues, float(psi))


@dataclass(frozen=True)
class ScaleModel:
    """log b_i(f) = slope (loadings f)_i + intercept_i, the scale of source i given the factors.

    Attributes:
        slope: one number.
        intercept: (r,).
        gain: nats per row that the factors add to the expected log-likelihood of the sources.
    """

    slope: float
    intercept: np.ndarray
    gain: float


def scale_model(
    magnitudes: np.ndarray, factors: MagnitudeFactors, *, laplace: bool = True
) -> ScaleModel:
    """The slope and the intercepts of largest likelihood of sources of magnitudes m (N, r).

    With t = slope loadings f at the factors' posterior means, whose uncertainty gives t_i the
    variance v_i = slope^2 sum_q loadings_iq^2 Var(f_q), the best intercepts are

        Laplace:  exp(c_i) = mean m_i exp(-t_i + v_i / 2)
        Normal:   exp(2 c_i) = mean m_i^2 exp(-2 t_i + 2 v_i)

    and the expected log-likelihood is -sum_i (c_i + mean t_i) beside what does not change. The
    slope is the best of :data:`SLOPES` and 0: it makes up for what log m and log b differ by.
    """
    magnitudes = np.asarray(magnitudes, dtype=np.float64)
    signal = factors.means(magnitudes) @ factors.loadings.T
    unsure = np.square(factors.loadings) @ factors.variance
    power = 1 if laplace else 2

    def fitted(slope: float) -> tuple[np.ndarray, float]:
        shrunk = np.mean(magnitudes**power * np.exp(-power * slope * signal), axis=0)
        intercept = np.log(shrunk) / power + power * slope**2 * unsure / 2
        return intercept, -float((intercept + slope * signal.mean(axis=0)).sum())

    alone = fitted(0.0)[1]
    slope = max((0.0, *SLOPES), key=lambda slope: fitted(slope)[1])
    intercept, best = fitted(slope)
    return ScaleModel(float(slope), intercept, best - alone)


def _logarithms(magnitudes: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(magnitudes, np.finfo(float).tiny))
