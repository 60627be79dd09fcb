"""The log-weights of many particles, run in chunks: the tables that every held-out figure reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import pyro
import torch
from torch import Tensor

from pyro_vae.errors import check_positive
from pyro_vae.rows import Data, count_rows, pieces, split_rows
from pyro_vae.weights.log_weights import LogWeights, log_weights
from pyro_vae.weights.preconditions import check_all_rows

CHUNK_SIZE = 2_500


@torch.no_grad()
def weight_tables(
    model: Callable, guide: Callable, x: Data, num_particles: int, chunk_size: int
) -> Iterator[LogWeights]:
    """Terms of all K particles for some data at a time, in float64 on the CPU, without latents."""
    check_positive("num_particles", num_particles)
    check_positive("chunk_size", chunk_size)
    # Shapes and supports are checked in the first pass; in all of them that takes half the time.
    checks: contextlib.AbstractContextManager = contextlib.nullcontext()
    for rows in split_rows(x, max(1, chunk_size // num_particles)):
        passes = []
        for size in pieces(num_particles, chunk_size):
            with checks:
                passes.append(log_weights(model, guide, rows, size).map(_wide))
            checks = pyro.validation_enabled(False)
        check_all_rows(passes[0].log_likelihood.shape[1], count_rows(rows))
        yield _stack(passes)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double().cpu()


def _stack(passes: list[LogWeights]) -> LogWeights:
    """The particles of all passes in one table."""

    def stacked(*parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    return LogWeights(
        stacked(*(terms.log_likelihoods for terms in passes)),
        stacked(*(terms.log_prior for terms in passes)),
        stacked(*(terms.log_guide for terms in passes)),
        latents={},
    )
