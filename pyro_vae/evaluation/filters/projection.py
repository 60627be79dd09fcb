"""Least-squares Gabor functions of many filters at once, by variable projection.

A filter w is approximated by a pair of functions whose shape is not linear in six parameters p,

    w ~ a_1 e(p) cos(2 pi f x') + a_2 e(p) sin(2 pi f x'),

and whose weights a are linear: they are solved for at every p, and Levenberg and Marquardt's steps
move p alone (Golub and Pereyra 1973, https://doi.org/10.1137/0710036; the Jacobian without its
second term is Kaufman's 1975, https://doi.org/10.1007/BF01932995). All problems of a set take their
steps side by side, as arrays: one after the other they would spend their time in calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PARAMETERS = 6  # x, y, log size, log length, orientation, log frequency
SCALES = np.array([1.0, 1.0, 0.3, 0.3, 0.3, 0.2])  # pixels, logarithms, radians: of a usual step
STEPS = 80  # tried; several times what a problem that converges takes
FALL = 1e-8  # relative fall of the squared error below which a problem has converged
FIRST_DAMPING, LARGEST_DAMPING = 1e-3, 1e10
ROWS = 256  # problems at once, so that their arrays stay near the processor


def pixels(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x (columns) and y (rows) of all pixels, row by row."""
    y, x = np.indices(shape, dtype=float).reshape(2, -1)
    return x, y


@dataclass(frozen=True)
class Basis:
    """The pair at parameters (..., 6), and what its derivatives are made of.

    Attributes:
        across, along: x' and y' of every pixel, (..., P).
        envelope: e, (..., P).
        pair: e cos and e sin, (..., 2, P).
    """

    across: np.ndarray
    along: np.ndarray
    envelope: np.ndarray
    pair: np.ndarray

    @classmethod
    def at(cls, parameters: np.ndarray, x: np.ndarray, y: np.ndarray) -> Basis:
        """At parameters (..., 6) on pixels (P,)."""
        x0, y0, log_size, log_length, angle, log_frequency = (
            parameters[..., index, None] for index in range(PARAMETERS)
        )
        cos, sin = np.cos(angle), np.sin(angle)
        across = (x - x0) * cos + (y - y0) * sin
        along = (y - y0) * cos - (x - x0) * sin
        envelope = np.exp(
            -0.5 * (across * np.exp(-log_size)) ** 2 - 0.5 * (along * np.exp(-log_length)) ** 2
        )
        wave = 2 * np.pi * np.exp(log_frequency) * across
        pair = np.stack([envelope * np.cos(wave), envelope * np.sin(wave)], axis=-2)
        return cls(across, along, envelope, pair)


@dataclass(frozen=True)
class Projection:
    """Filters (M, P) projected on the pairs at parameters (M, 6).

    Attributes:
        parameters: (M, 6).
        basis: the pairs.
        inverse: of their Gram matrices, (M, 2, 2).
        weights: a, (M, 2).
        residual: what they leave of the filters, (M, P).
        cost: half the sum of the residual's squares, (M,).
    """

    parameters: np.ndarray
    basis: Basis
    inverse: np.ndarray
    weights: np.ndarray
    residual: np.ndarray
    cost: np.ndarray

    @classmethod
    def of(
        cls, targets: np.ndarray, parameters: np.ndarray, x: np.ndarray, y: np.ndarray
    ) -> Projection:
        """Of filters (M, P) at parameters (M, 6)."""
        basis = Basis.at(parameters, x, y)
        pair = basis.pair
        gram = pair @ pair.swapaxes(-1, -2)
        # Of a wave much longer than its envelope the sine is next to nothing: keep it solvable.
        gram[:, [0, 1], [0, 1]] += 1e-9 * np.trace(gram, axis1=-2, axis2=-1)[:, None]
        inverse = np.linalg.inv(gram)
        weights = (inverse @ (pair @ targets[..., None]))[..., 0]
        residual = targets - (weights[:, None] @ pair)[:, 0]
        return cls(parameters, basis, inverse, weights, residual, (residual**2).sum(-1) / 2)

    def jacobian(self) -> np.ndarray:
        """-(1 - P) d(pair)/dp weights, (M, 6, P): exact where the residual is zero."""
        basis, pair = self.basis, self.basis.pair
        _, _, log_size, log_length, angle, log_frequency = self.parameters.T[..., None]
        first, second = self.weights.T[..., None]
        cos, sin = np.cos(angle), np.sin(angle)
        slope_across = -basis.across * np.exp(-2 * log_size)
        slope_along = -basis.along * np.exp(-2 * log_length)
        rate = 2 * np.pi * np.exp(log_frequency)
        model = first * pair[:, 0] + second * pair[:, 1]
        turned = second * pair[:, 0] - first * pair[:, 1]
        derivatives = np.stack(
            [
                model * (slope_along * sin - slope_across * cos) - turned * rate * cos,
                model * (-slope_along * cos - slope_across * sin) - turned * rate * sin,
                -model * slope_across * basis.across,
                -model * slope_along * basis.along,
                model * (slope_across * basis.along - slope_along * basis.across)
                + turned * rate * basis.along,
                turned * rate * basis.across,
            ],
            axis=1,
        )
        inside = derivatives @ pair.swapaxes(-1, -2) @ self.inverse @ pair
        return inside - derivatives


def bounds(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x, y, log size, log length, orientation, log frequency."""
    height, width = shape
    side = max(shape)
    low = [-0.1 * width, -0.1 * height, np.log(0.5), np.log(0.5), -np.inf, np.log(0.5 / side)]
    high = [1.1 * width - 1, 1.1 * height - 1, np.log(side), np.log(side), np.inf, np.log(0.5)]
    return np.array(low), np.array(high)


def refined(targets: np.ndarray, starts: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Parameters (M, 6) of a local minimum of the squared error within the bounds.

    Args:
        targets: (M, P), filters of ``shape``.
        starts: (M, 6), where each begins.
    """
    chunks = range(0, len(targets), ROWS)
    return np.concatenate(
        [_refined(targets[at : at + ROWS], starts[at : at + ROWS], shape) for at in chunks]
    )


def _refined(targets: np.ndarray, starts: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    x, y = pixels(shape)
    low, high = bounds(shape)
    found = np.clip(starts, low, high)
    left = np.arange(len(targets))  # problems that have not converged
    damping = np.full(len(targets), FIRST_DAMPING)
    here = Projection.of(targets, found, x, y)
    fresh = np.ones(len(left), dtype=bool)  # whose Jacobian is to be computed
    gradient, hessian = np.empty((len(left), PARAMETERS)), np.empty((len(left), *2 * (PARAMETERS,)))
    for _ in range(STEPS):
        gradient[fresh], hessian[fresh] = _slopes(_rows(here, fresh))
        step = _steps(gradient, hessian, damping, here.parameters, low, high)
        there = Projection.of(targets[left], np.clip(here.parameters + step, low, high), x, y)
        better = there.cost < here.cost
        fall = np.where(better, here.cost - there.cost, np.inf)
        here = _chosen(better, there, here)
        found[left] = here.parameters
        damping = np.where(better, damping / 5, damping * 4)
        done = (fall <= FALL * here.cost) | (damping > LARGEST_DAMPING)
        done |= here.cost <= 1e-20 * (targets[left] ** 2).sum(-1)
        if done.all():
            break
        kept = ~done
        left, damping, here = left[kept], damping[kept], _rows(here, kept)
        gradient, hessian, fresh = gradient[kept], hessian[kept], better[kept]
    return found


def _slopes(here: Projection) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (M, 6) of the cost and Gauss and Newton's Hessian (M, 6, 6), in units of SCALES."""
    jacobian = here.jacobian() * SCALES[:, None]
    gradient = (jacobian @ here.residual[..., None])[..., 0]
    return gradient, jacobian @ jacobian.swapaxes(-1, -2)


def _steps(gradient, hessian, damping, at, low, high) -> np.ndarray:
    """Damped steps (M, 6); a parameter at a bound that would leave it stands still."""
    stuck = ((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0))
    free = ~stuck
    matrix = hessian * (free[:, None, :] & free[:, :, None])
    size = np.einsum("mii->mi", hessian)
    floor = 1e-9 * size.max(axis=1, keepdims=True) + np.finfo(float).tiny
    diagonal = damping[:, None] * np.maximum(size, floor) + stuck * np.maximum(size, floor)
    matrix = matrix + diagonal[:, None] * np.eye(PARAMETERS)
    step = np.linalg.solve(matrix, -(gradient * free)[..., None])[..., 0]
    return np.clip(step, -3, 3) * SCALES


def _rows(here: Projection, chosen: np.ndarray) -> Projection:
    if chosen.all():
        return here
    basis = Basis(**{name: value[chosen] for name, value in vars(here.basis).items()})
    rest = {name: value[chosen] for name, value in vars(here).items() if name != "basis"}
    return Projection(basis=basis, **rest)


def _chosen(better: np.ndarray, there: Projection, here: Projection) -> Projection:
    """Row by row ``there`` where better, else ``here``."""
    if better.all():
        return there

    def pick(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        return np.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    basis = Basis(
        **{name: pick(new, getattr(here.basis, name)) for name, new in vars(there.basis).items()}
    )
    rest = {
        name: pick(new, getattr(here, name)) for name, new in vars(there).items() if name != "basis"
    }
    return Projection(basis=basis, **rest)
