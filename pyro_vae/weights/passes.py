"""One loop over rows and particles: every estimate from many particles runs the pair in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import pyro
import torch
from torch import Tensor

from pyro_vae.errors import check_positive
from pyro_vae.rows import Data, count_rows, pieces, split_rows
from pyro_vae.torch_state import evaluating
from pyro_vae.weights.log_weights import LogWeights
from pyro_vae.weights.preconditions import check_all_rows
from pyro_vae.weights.replayed import WeightRuns

CHUNK_SIZE = 2_500


def passes(x: Data, per_datum: int, chunk_size: int) -> Iterator[tuple[Data, list[int]]]:
    """Rows of x, with the numbers of particles that they are run with one after the other.

    The numbers add up to ``per_datum``, and no run takes more than ``chunk_size`` particles times
    data. A run takes several rows where all their particles fit in, else one row.
    """
    check_positive("chunk_size", chunk_size)
    for rows in split_rows(x, max(1, chunk_size // per_datum)):
        yield rows, pieces(per_datum, chunk_size)


def count_runs(x: Data, per_datum: int, chunk_size: int) -> int:
    """How many runs :func:`passes` makes."""
    together = max(1, chunk_size // per_datum)
    return -(-count_rows(x) // together) * len(pieces(per_datum, chunk_size))


def checked_once() -> Iterator[contextlib.AbstractContextManager]:
    """A context for every run of one pair: shapes and supports are checked in the first alone.

    In all of them the checks would take a quarter to half of the time.
    """
    yield contextlib.nullcontext()
    while True:
        yield pyro.validation_enabled(False)


def weight_tables(
    model: Callable, guide: Callable, x: Data, num_particles: int, chunk_size: int
) -> Iterator[LogWeights]:
    """Terms of all K particles for some data at a time, in float64 on the CPU, without latents.

    Holds 8 (1 + 2 L) bytes for each particle of a datum and L levels, twice while they are joined.
    """
    for runs in weight_passes(model, guide, x, num_particles, chunk_size):
        yield _stack(list(runs))


def weight_passes(
    model: Callable, guide: Callable, x: Data, num_particles: int, chunk_size: int
) -> Iterator[Iterator[LogWeights]]:
    """For some data at a time, the terms of their K particles run by run, as they are drawn."""
    check_positive("num_particles", num_particles)
    checks = checked_once()
    runs = WeightRuns(model, guide, count_runs(x, num_particles, chunk_size))
    for rows, sizes in passes(x, num_particles, chunk_size):
        yield _runs(runs, rows, sizes, checks)


@torch.no_grad()
def _runs(
    runs: WeightRuns,
    rows: Data,
    sizes: list[int],
    checks: Iterator[contextlib.AbstractContextManager],
) -> Iterator[LogWeights]:
    for size in sizes:
        with next(checks), evaluating(runs.model, runs.guide):
            terms = runs(rows, size)
        check_all_rows(terms.log_likelihood.shape[1], count_rows(rows))
        yield terms.map(_wide)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double().cpu()


def _stack(runs: list[LogWeights]) -> LogWeights:
    """The particles of all runs in one table."""

    def stacked(*parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    return LogWeights(
        stacked(*(terms.log_likelihoods for terms in runs)),
        stacked(*(terms.log_prior for terms in runs)),
        stacked(*(terms.log_guide for terms in runs)),
        latents={},
    )
