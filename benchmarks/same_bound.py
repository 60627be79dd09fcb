"""Does a variant compute the same bound? Asked before it is timed.

The reference is ``pyro_vae.weights.log_weights`` of the same parameters. Where the noise can be
injected numbers are compared on the same noise; else means of the bound over noise draws.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import pyro_vae
from benchmarks.cases import Case
from benchmarks.steps import compiled_loss, renyi

DRAWS = 20
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Check:
    """How far a variant is from the reference.

    Attributes:
        what: what was compared, in words.
        distance: relative difference, or the difference in standard errors.
        limit: largest distance at which the two agree.
    """

    what: str
    distance: float
    limit: float

    @property
    def agrees(self) -> bool:
        return self.distance <= self.limit  # false of NaN

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else "MISMATCH"
        return f"{verdict}: {self.what}, {self.distance:.2g} (limit {self.limit:g})"


def _reference(case: Case, num_particles: int, x: Tensor) -> pyro_vae.LogWeights:
    """Our log-weights at noise of seed 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        return pyro_vae.log_weights(*case.pair(), x, num_particles)


def _loss(log_w: Tensor) -> float:
    """Minus L_K, summed over the data."""
    return -(torch.logsumexp(log_w, 0) - math.log(len(log_w))).sum().item()


def _relative(what: str, found: float, expected: float) -> Check:
    return Check(what, abs(found / expected - 1), TOLERANCE)


def _in_standard_errors(what: str, found: Sequence[float], expected: Sequence[float]) -> Check:
    """Difference of two means of independent draws in its standard errors."""
    variance = statistics.variance(found) / len(found) + statistics.variance(expected) / len(
        expected
    )
    difference = abs(statistics.fmean(found) - statistics.fmean(expected))
    return Check(what, difference / math.sqrt(variance), 4.0)


@functools.lru_cache(maxsize=4)
def _reference_losses(case: Case, num_particles: int, num_data: int) -> list[float]:
    torch.manual_seed(1)
    pair, x = case.pair(), case.data(num_data)
    with torch.no_grad():
        return [_loss(pyro_vae.log_weights(*pair, x, num_particles).log_w) for _ in range(DRAWS)]


def bare(case: Case, num_particles: int, x: Tensor) -> list[Check]:
    expected = _loss(_reference(case, num_particles, x).log_w)
    twin = case.twin()  # before the seed: building a layer draws
    torch.manual_seed(0)
    with torch.no_grad():
        found = twin(x, num_particles).item()
    return [_relative("bound on the same noise", found, expected)]


def bare_compiled(case: Case, num_particles: int, x: Tensor) -> list[Check]:
    """Inductor draws its own noise."""
    loss = compiled_loss(case.twin())
    found = [loss(x, num_particles).item() for _ in range(DRAWS)]
    expected = _reference_losses(case, num_particles, len(x))
    return [_in_standard_errors("mean bound over noise, in s.e.", found, expected)]


def pyro_renyi(case: Case, num_particles: int, x: Tensor) -> list[Check]:
    expected = _loss(_reference(case, num_particles, x).log_w)
    torch.manual_seed(0)
    found = renyi(num_particles).loss(*case.pair(), x)
    return [_relative("bound on the same noise", found, expected)]


def numpyro(case: Case, num_particles: int, x: Tensor) -> list[Check]:
    from benchmarks.peers import numpyro_peer

    terms = _reference(case, num_particles, x)
    found = torch.from_numpy(numpyro_peer.log_weights(case, x, terms.latents).copy())
    distance = ((found - terms.log_w).abs() / terms.log_w.abs()).max().item()
    losses = numpyro_peer.losses(case, num_particles, x, DRAWS)
    expected = _reference_losses(case, num_particles, len(x))
    return [
        Check("log-weights at the same latents", distance, TOLERANCE),
        _in_standard_errors("mean bound over noise, in s.e.", losses, expected),
    ]


def pythae(case: Case, num_particles: int, x: Tensor) -> list[Check]:
    """pythae's value is the surrogate, and so is what it is compared with."""
    from benchmarks.peers import pythae_peer

    terms = _reference(case, num_particles, x)
    weights = torch.softmax(terms.log_w, 0)
    expected = -(weights * terms.log_w).sum(0).mean().item()
    found = pythae_peer.loss_at(case, x, terms.latents["z1"])
    return [_relative("surrogate sum(w~ log w), not the bound, same noise", found, expected)]


Checks = Callable[[Case, int, Tensor], list[Check]]
