"""Gabor functions fitted to filters: where they lie, how large they are, which way they point."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from analysis.measures.footprint import footprints
from pyro_vae.errors import InputError

PARAMETERS = ("amplitude", "x", "y", "size", "length", "orientation", "wavelength", "phase")
STEPS = 60  # of one refinement: several times what one that converges takes
# An atom of another envelope is refined too, unless it explains this much less than the best one.
START_MARGIN = 0.8
ENVELOPES = ((0.06, 1.0), (0.1, 1.0), (0.1, 2.0), (0.2, 1.0), (0.4, 1.0))  # sigma / side, aspect


def gabor_images(fits: pd.DataFrame, image_shape: tuple[int, int]) -> np.ndarray:
    """Gabor functions with the parameters of a table, images (U, H, W); zero where they are NaN.

        g = A exp( -x'^2 / (2 size^2) - y'^2 / (2 length^2) ) cos(2 pi x' / wavelength + phase)
        x' =  (x - x0) cos(orientation) + (y - y0) sin(orientation)
        y' = -(x - x0) sin(orientation) + (y - y0) cos(orientation)

    x counts columns to the right and y rows downwards, in pixels from the centre of the first one.
    The orientation is that of the wave vector, so across the bars.
    """
    amplitude, x0, y0, size, length, orientation, wavelength, phase = (
        fits[name].to_numpy(float)[:, None] for name in PARAMETERS
    )
    x, y = _pixels(image_shape)
    cos, sin = np.cos(orientation), np.sin(orientation)
    across = (x - x0) * cos + (y - y0) * sin
    along = (y - y0) * cos - (x - x0) * sin
    envelope = np.exp(-((across / size) ** 2) / 2 - (along / length) ** 2 / 2)
    images = amplitude * envelope * np.cos(2 * np.pi * across / wavelength + phase)
    return np.nan_to_num(images).reshape(-1, *image_shape)


def fit_gabors(filters: np.ndarray) -> pd.DataFrame:
    """The least-squares Gabor function of every filter (Vas 2024, Figure 5.19), a row each.

    Amplitude and phase are linear in the pair (cos, sin) and are solved for at each step of the six
    others (variable projection). These start from the best atoms of a dictionary, one for each size
    of its envelope, so that neither a wrong lobe nor a wrong harmonic is where the fit ends.
    Wavelengths lie between 2 pixels (Nyquist) and twice the patch, sizes between half a pixel and
    the patch, centres on the patch or within a tenth of it.

    Args:
        filters: (U, H, W), at least 4 x 4 pixels.

    Returns:
        columns ``unit``; ``amplitude`` in the filters' unit; ``x``, ``y``, centre in pixels from
        that of the first pixel; ``size`` and ``length``, the standard deviation across and along
        the bars, and ``scale``, their geometric mean, pixels; ``orientation`` of the wave vector in
        [0, pi), see :func:`gabor_images`; ``wavelength`` in pixels and ``frequency`` in cycles per
        pixel; ``phase`` at the centre in (-pi, pi]; ``r2``, the share of the filter's sum of
        squares (about zero) that the fit explains; ``coverage``, the effective area of the fitted
        envelope, ( sum e^2 )^2 / sum e^4 over the pixels, as a share of the patch; and the columns
        of :func:`analysis.measures.footprint.footprints`, which no fit enters.
        A filter that is zero or not finite has NaN in all of them.

    Raises:
        InputError: the array is not (U, H, W), or its images are smaller than 4 x 4.
    """
    filters = np.asarray(filters, dtype=float)
    if filters.ndim != 3 or len(filters) == 0 or min(filters.shape[1:]) < 4:
        raise InputError(
            f"filters must have shape (U, H, W) with U >= 1 and H, W >= 4, got {filters.shape}"
        )
    shape = filters.shape[1:]
    rows = filters.reshape(len(filters), -1)
    peaks = np.abs(rows).max(axis=1)
    usable = np.flatnonzero(np.isfinite(peaks) & (peaks > 0))
    columns = [*PARAMETERS, "r2", "coverage"]
    found = np.full((len(rows), len(columns)), np.nan)
    if len(usable):
        scaled = rows[usable] / peaks[usable, None]  # tiny filters would stop at once
        for unit, target, starts in zip(usable, scaled, _starts(scaled, shape), strict=True):
            found[unit] = _fit(target, starts, shape)
            found[unit, 0] *= peaks[unit]
    table = pd.DataFrame(found, columns=columns)
    table.insert(0, "unit", np.arange(len(rows)))
    table.insert(6, "scale", np.sqrt(table.get("size") * table.length))
    table.insert(9, "frequency", 1 / table.wavelength)
    return pd.concat([table, footprints(filters)], axis=1)


def _pixels(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x (columns) and y (rows) of all pixels, row by row."""
    y, x = np.indices(shape, dtype=float).reshape(2, -1)
    return x, y


def _bounds(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Of x, y, log size, log length, orientation, log frequency."""
    height, width = shape
    side = max(shape)
    low = [-0.1 * width, -0.1 * height, np.log(0.5), np.log(0.5), -np.inf, np.log(0.5 / side)]
    high = [1.1 * width - 1, 1.1 * height - 1, np.log(side), np.log(side), np.inf, np.log(0.5)]
    return np.array(low), np.array(high)


def _basis(parameters: np.ndarray, x: np.ndarray, y: np.ndarray):
    """x', y', envelope, and the pair envelope * (cos, sin)(2 pi f x') as (..., 2, P)."""
    x0, y0, log_size, log_length, angle, log_frequency = (
        parameters[..., index, None] for index in range(6)
    )
    cos, sin = np.cos(angle), np.sin(angle)
    across = (x - x0) * cos + (y - y0) * sin
    along = (y - y0) * cos - (x - x0) * sin
    envelope = np.exp(
        -0.5 * (across * np.exp(-log_size)) ** 2 - 0.5 * (along * np.exp(-log_length)) ** 2
    )
    wave = 2 * np.pi * np.exp(log_frequency) * across
    pair = envelope[..., None, :] * np.stack([np.cos(wave), np.sin(wave)], axis=-2)
    return across, along, envelope, pair


def _starts(rows: np.ndarray, shape: tuple[int, int]) -> list[np.ndarray]:
    """For each row (U, P) the atoms to refine, (n, 6) each: the best one of every envelope."""
    x, y = _pixels(shape)
    side = min(shape)
    places = [np.linspace(0, length - 1, 8) for length in shape[::-1]]
    angles = np.arange(12) * np.pi / 12
    frequencies = np.log(np.geomspace(1 / side, 0.45, 6))
    scores, atoms = [], []
    for size, aspect in ENVELOPES:
        log_size = np.log(max(size * side, 0.6))
        grid = np.meshgrid(
            *places, [log_size], [log_size + np.log(aspect)], angles, frequencies, indexing="ij"
        )
        candidates = np.stack(grid, axis=-1).reshape(-1, 6)
        first, second = np.moveaxis(_basis(candidates, x, y)[3], -2, 0)
        # Orthonormal pairs: the energy that a pair explains is the sum of two squares.
        first = first / np.linalg.norm(first, axis=1, keepdims=True)
        second = second - (first * second).sum(axis=1, keepdims=True) * first
        second = second / np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-3)
        explained = (rows @ first.T) ** 2 + (rows @ second.T) ** 2
        best = explained.argmax(axis=1)
        scores.append(np.take_along_axis(explained, best[:, None], axis=1)[:, 0])
        atoms.append(candidates[best])
    score, atom = np.array(scores), np.array(atoms)
    kept = score >= START_MARGIN * score.max(axis=0)
    return [atom[kept[:, unit], unit] for unit in range(len(rows))]


def _fit(target: np.ndarray, starts: np.ndarray, shape: tuple[int, int]) -> list[float]:
    """PARAMETERS, r2 and coverage of the best refinement."""
    problem = _Projection(target, shape)
    low, high = _bounds(shape)
    solutions = [
        least_squares(
            problem.residual,
            np.clip(start, low + 1e-6, high - 1e-6),
            problem.jacobian,
            bounds=(low, high),
            x_scale=[1.0, 1.0, 0.3, 0.3, 0.3, 0.2],
            max_nfev=STEPS,
        )
        for start in starts
    ]
    best = min(solutions, key=lambda solution: solution.cost)
    problem.residual(best.x)
    x0, y0, log_size, log_length, angle, log_frequency = best.x
    phase = np.arctan2(-problem.weights[1], problem.weights[0])
    if angle % (2 * np.pi) >= np.pi:
        phase = -phase  # x' changes its sign when the axis is turned by half a turn
    energy = problem.envelope**2
    return [
        np.hypot(*problem.weights),
        x0,
        y0,
        np.exp(log_size),
        np.exp(log_length),
        angle % np.pi,
        np.exp(-log_frequency),
        phase,
        1 - 2 * best.cost / (target @ target),
        energy.sum() ** 2 / (energy @ energy) / len(target),
    ]


class _Projection:
    """Residual of a filter after its projection on the pair (cos, sin), and its Jacobian."""

    def __init__(self, target: np.ndarray, shape: tuple[int, int]) -> None:
        self.target = target
        self.x, self.y = _pixels(shape)
        self.at: np.ndarray | None = None

    def residual(self, parameters: np.ndarray) -> np.ndarray:
        self.at = parameters.copy()
        self.across, self.along, self.envelope, self.pair = _basis(parameters, self.x, self.y)
        gram = self.pair @ self.pair.T
        # Of a wave much longer than its envelope the sine is next to nothing: keep it solvable.
        gram[[0, 1], [0, 1]] += 1e-9 * np.trace(gram)
        self.inverse = np.linalg.inv(gram)
        self.weights = self.inverse @ (self.pair @ self.target)
        return self.target - self.weights @ self.pair

    def jacobian(self, parameters: np.ndarray) -> np.ndarray:
        """-(1 - P) d(pair)/dp weights: Kaufman's form, exact where the residual is zero."""
        if self.at is None or not np.array_equal(parameters, self.at):
            self.residual(parameters)
        _, _, log_size, log_length, angle, log_frequency = parameters
        cos, sin = np.cos(angle), np.sin(angle)
        slope_across = -self.across * np.exp(-2 * log_size)
        slope_along = -self.along * np.exp(-2 * log_length)
        rate = 2 * np.pi * np.exp(log_frequency)
        model = self.weights @ self.pair
        turned = self.weights[1] * self.pair[0] - self.weights[0] * self.pair[1]
        derivatives = np.stack(
            [
                model * (slope_along * sin - slope_across * cos) - turned * rate * cos,
                model * (-slope_along * cos - slope_across * sin) - turned * rate * sin,
                -model * slope_across * self.across,
                -model * slope_along * self.along,
                model * (slope_across * self.along - slope_along * self.across)
                + turned * rate * self.along,
                turned * rate * self.across,
            ]
        )
        inside = derivatives @ self.pair.T @ self.inverse @ self.pair
        return (inside - derivatives).T
