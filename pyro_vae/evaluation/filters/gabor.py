"""Gabor functions fitted to filters: where they lie, how large they are, which way they point."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.footprint import footprints
from pyro_vae.evaluation.filters.projection import Basis, Projection, pixels, refined

PARAMETERS = ("amplitude", "x", "y", "size", "length", "orientation", "wavelength", "phase")
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
    x, y = pixels(image_shape)
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
        of :func:`pyro_vae.evaluation.filters.footprint.footprints`, which no fit enters.
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
        found[usable] = _fit(scaled, shape)
        found[usable, 0] *= peaks[usable]
    table = pd.DataFrame(found, columns=columns)
    table.insert(0, "unit", np.arange(len(rows)))
    table.insert(6, "scale", np.sqrt(table.get("size") * table.length))
    table.insert(9, "frequency", 1 / table.wavelength)
    return pd.concat([table, footprints(filters)], axis=1)


def _starts(rows: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Atoms to refine, (M, 6), and the row of (U, P) that each belongs to: the best ones."""
    x, y = pixels(shape)
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
        first, second = np.moveaxis(Basis.at(candidates, x, y).pair, -2, 0)
        # Orthonormal pairs: the energy that a pair explains is the sum of two squares.
        first = first / np.linalg.norm(first, axis=1, keepdims=True)
        second = second - (first * second).sum(axis=1, keepdims=True) * first
        second = second / np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-3)
        explained = (rows @ first.T) ** 2 + (rows @ second.T) ** 2
        best = explained.argmax(axis=1)
        scores.append(np.take_along_axis(explained, best[:, None], axis=1)[:, 0])
        atoms.append(candidates[best])
    score, atom = np.array(scores), np.array(atoms)
    envelope, unit = np.nonzero(score >= START_MARGIN * score.max(axis=0))
    return atom[envelope, unit], unit


def _fit(rows: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """PARAMETERS, r2 and coverage of the best refinement of every row (U, P)."""
    starts, unit = _starts(rows, shape)
    x, y = pixels(shape)
    solved = Projection.of(rows[unit], refined(rows[unit], starts, shape), x, y)
    # The best of each unit's refinements is the last one in falling order of their costs.
    best = np.empty(len(rows), dtype=int)
    falling = np.argsort(-solved.cost, kind="stable")
    best[unit[falling]] = falling
    x0, y0, log_size, log_length, angle, log_frequency = solved.parameters[best].T
    first, second = solved.weights[best].T
    phase = np.arctan2(-second, first)
    # x' changes its sign when the axis is turned by half a turn.
    phase = np.where(angle % (2 * np.pi) >= np.pi, -phase, phase)
    energy = solved.basis.envelope[best] ** 2
    return np.column_stack(
        [
            np.hypot(first, second),
            x0,
            y0,
            np.exp(log_size),
            np.exp(log_length),
            angle % np.pi,
            np.exp(-log_frequency),
            phase,
            1 - 2 * solved.cost[best] / (rows**2).sum(axis=1),
            energy.sum(axis=1) ** 2 / (energy**2).sum(axis=1) / rows.shape[1],
        ]
    )
