"""The filters of a model's decoder with their Gabor fits, and noise in the same space beside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity_gap import above_clear_gap
from pyro_vae.evaluation.filters.classes import CLASS, CLASSES, classify
from pyro_vae.evaluation.filters.counts import FilterCounts
from pyro_vae.evaluation.filters.gabor import fit_gabors
from pyro_vae.programs import Generative
from pyro_vae.torch_state import evaluating

MIN_SIDE = 8  # pixels; on fewer a function of eight parameters fits noise as well
NUM_NOISE = 100
_PROBES = 8  # points at which a decoder is tested for being linear


@dataclass(frozen=True)
class Classified:
    """Filters (U, H, W) and the table of their fits and classes, a row each."""

    images: np.ndarray
    fits: pd.DataFrame

    def rows(self, chosen: slice) -> Classified:
        """Some of the filters, with their rows of the table."""
        return Classified(self.images[chosen], self.fits[chosen].reset_index(drop=True))

    def number(self, name: str, chosen: np.ndarray | None = None) -> int:
        """Filters of a class, of all or of ``chosen`` (U,) ones."""
        members = (self.fits[CLASS] == name).to_numpy()
        return int((members if chosen is None else members & chosen).sum())


@dataclass(frozen=True)
class DecoderFilters:
    """A decoder's filters, and those of noise; None where the latter were not asked for.

    Attributes:
        above_gap: (U,) booleans, units above the gap of activity; None where none is clear.
    """

    units: Classified
    noise: Classified | None
    above_gap: np.ndarray | None

    def counts(self) -> FilterCounts:
        """The numbers for ``summary.json``."""
        localised, non_localised, unresolved = CLASSES
        gap, noise = self.above_gap, self.noise
        return FilterCounts(
            units=len(self.units.images),
            localised=self.units.number(localised),
            non_localised=self.units.number(non_localised),
            unresolved=self.units.number(unresolved),
            above_gap=None if gap is None else int(gap.sum()),
            localised_above_gap=None if gap is None else self.units.number(localised, gap),
            noise=0 if noise is None else len(noise.images),
            noise_localised=0 if noise is None else noise.number(localised),
        )


def decoder_filters(
    model: Generative,
    data: Dataset,
    activity: np.ndarray,
    *,
    num_noise: int = NUM_NOISE,
    seed: int = 0,
) -> DecoderFilters:
    """Fit Gabor functions to the columns of a linear decoder, and to noise of the same space.

    What the fit calls localised in noise is what its thresholds give by chance.

    Args:
        model: with a linear p(x | z1).
        data: the rows that it was trained on, grey images.
        activity: (U,), of z1's units; the counts above its gap are given where it is clear.
        num_noise: filters of noise; 0 for none.
        seed: of the noise.

    Raises:
        InputError: the rows are no grey images of 8 x 8 pixels or more, or the decoder is not
            linear: filters are not one thing then.
    """
    shape = data.picture_shape
    if shape is None:
        raise InputError(f"rows of {data.name} have no image shape")
    if len(shape) != 2:
        raise InputError("Gabor functions are fitted to grey images, and these are in colour")
    if min(shape) < MIN_SIDE:
        raise InputError(
            f"on patches of {shape[0]} x {shape[1]} pixels a Gabor function fits noise as well "
            f"(from {MIN_SIDE} x {MIN_SIDE} on)"
        )
    images = data.preprocessing.shown(linear_columns(model), effects=True)
    if num_noise:
        images = np.concatenate([images, noise_filters(data, num_noise, seed=seed)])
    both, number = Classified(images, classify(fit_gabors(images))), model.latent_sizes[0]
    noise = both.rows(slice(number, None)) if num_noise else None
    return DecoderFilters(both.rows(slice(number)), noise, above_clear_gap(activity))


@torch.no_grad()
def linear_columns(model: Generative) -> np.ndarray:
    """Columns of a linear decoder, (U, D): E[x | e_u] - E[x | 0].

    Raises:
        InputError: E[x | z1] is not linear in z1 at random points.
    """
    units = model.latent_sizes[0]
    like = next(model.likelihood.parameters())
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(_PROBES, units, generator=generator).to(like)
    with evaluating(model):
        base = model.decode(torch.zeros(1, units).to(like))
        columns = model.decode(torch.eye(units).to(like)) - base
        moved = model.decode(points) - base
    error = (moved - points @ columns).abs().max()
    if not error <= 1e-3 * moved.abs().max():  # rounding, in bfloat16 too
        raise InputError("the decoder is not linear: what a unit adds depends on the other units")
    return columns.double().cpu().numpy()


def noise_filters(data: Dataset, count: int = NUM_NOISE, *, seed: int = 0) -> np.ndarray:
    """Filters (count, H, W) that are white noise in the space which the rows of the data fill.

    An untrained decoder has such filters: of data whitened with a low-pass cut, noise in the
    components that are kept.

    Raises:
        InputError: the rows are no images.
    """
    rows = np.random.default_rng(seed).normal(size=(count, data.test.shape[1]))
    subspace = None if data.whitening is None else data.whitening.subspace
    if subspace is not None:
        basis = subspace.numpy()
        rows = rows @ basis.T @ basis
    return data.preprocessing.shown(rows, effects=True)
