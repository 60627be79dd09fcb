"""Chains along an annealing path: temperatures, step sizes from a pilot run, weighed runs.

The sigmoid schedule is that of Wu et al. 2017 (https://arxiv.org/abs/1611.04273); the aim of the
pilot run is that of Neal 2011 (https://arxiv.org/abs/1206.1901).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pyro
import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vae.errors import check_choice, check_count
from pyro_vae.evaluation.ais.hamiltonian import Point, transition
from pyro_vae.evaluation.ais.path import STARTS, AnnealingPath
from pyro_vae.rows import pieces

SCHEDULES = ("linear", "sigmoid")

# Temperatures are those of sigmoid(4 s), s from -1 to 1 (Wu et al. 2017).
_SIGMOID_REACH = 4.0

_TARGET_ACCEPTANCE = 0.65  # near the best for Hamiltonian dynamics (Neal 2011, section 5.4.4)
_PILOT_CHAINS = 8
_PILOT_TEMPERATURES = 100
_PILOT_TRANSITIONS = 200  # in all, and no more than ten at a temperature
_WARM_UP_TRANSITIONS = 40
_FIRST_GAIN, _GAIN = 0.5, 0.2  # of the log step size, while warming up and afterwards


@dataclass(frozen=True)
class Plan:
    """How chains are run. InputError for what cannot be.

    Attributes:
        num_particles: chains K per datum.
        num_temperatures: T.
        num_leapfrog: per transition.
        start: "guide" or "prior".
        schedule: "linear" or "sigmoid"; None chooses by the start.
        chunk_size: chains times data run at once.
    """

    num_particles: int
    num_temperatures: int
    num_leapfrog: int
    start: str
    schedule: str | None
    chunk_size: int

    def __post_init__(self) -> None:
        for name in ("num_particles", "num_temperatures", "num_leapfrog", "chunk_size"):
            check_count(name, getattr(self, name))
        check_choice("start", self.start, STARTS)
        if self.schedule is not None:
            check_choice("schedule", self.schedule, SCHEDULES)

    @property
    def rows(self) -> int:
        """Data run at once."""
        return max(1, self.chunk_size // max(self.num_particles, _PILOT_CHAINS))

    @property
    def temperatures(self) -> list[float]:
        """t_0 = 0, ..., t_T = 1."""
        # The best schedule is dense where the slope's spread is large. From a trained guide that is
        # nearly constant; from the prior it falls by a factor of thirty (burda1 and burda2).
        schedule = self.schedule or ("linear" if self.start == "guide" else "sigmoid")
        return temperatures(self.num_temperatures, schedule).tolist()


def temperatures(num_temperatures: int, schedule: str = "linear") -> Tensor:
    """t_0 = 0 < ... < t_T = 1, shape (T + 1,), float64.

    "linear": i / T. "sigmoid": sigmoid(4 (2 i / T - 1)), shifted and stretched to [0, 1]: denser at
    both ends (Wu et al. 2017).
    """
    check_choice("schedule", schedule, SCHEDULES)
    check_count("num_temperatures", num_temperatures)
    even = torch.linspace(0, 1, num_temperatures + 1, dtype=torch.float64)
    if schedule == "linear":
        return even
    raw = torch.sigmoid(_SIGMOID_REACH * (2 * even - 1))
    return (raw - raw[0]) / (raw[-1] - raw[0])


@dataclass(frozen=True)
class Chains:
    """What weighed runs leave, on the CPU in float64.

    Attributes:
        log_w: (K, B), nats.
        acceptance: (T - 1, B), mean over the chains.
    """

    log_w: Tensor
    acceptance: Tensor


def pilot(path: AnnealingPath, plan: Plan) -> Tensor:
    """Step sizes for t_1, ..., t_{T-1}, (T - 1, B), that accept about 0.65 of the proposals.

    A few chains go forward over at most a hundred temperatures, and each datum's log step size
    follows its acceptance (Robbins and Monro's rule with a constant gain); between those
    temperatures it is interpolated. The pilot knows x alone: steps learnt from the exact posterior
    draw would bias the backward chains that begin at it.
    """
    inner = plan.temperatures[1:-1]
    count = min(len(inner), _PILOT_TEMPERATURES)
    visited = torch.linspace(0, len(inner) - 1, count).round().long().tolist()
    found = []
    with pyro.validation_enabled(False):
        point = path.draw(_PILOT_CHAINS)
        log_step = torch.zeros_like(point.start[0])
        for turn, index in enumerate(visited):
            repeats = min(10, -(-_PILOT_TRANSITIONS // count))
            gains = [_GAIN] * repeats if turn else [_FIRST_GAIN] * _WARM_UP_TRANSITIONS
            for gain in gains:
                t = inner[index]
                point, probability = transition(
                    path.at, point, t, log_step.exp(), path.scale(t), plan.num_leapfrog
                )
                log_step = log_step + gain * (probability.mean(0) - _TARGET_ACCEPTANCE)
            found.append(log_step)
    if not inner:
        return log_step.new_empty(0, path.num_data)
    table = torch.stack(found, -1)[None]  # (1, B, count)
    return F.interpolate(table, len(inner), mode="linear", align_corners=True)[0].T.exp()


def weigh(
    path: AnnealingPath,
    plan: Plan,
    steps: Tensor,
    latents: Mapping[str, Tensor] | None = None,
    on_step: Callable[[float], None] = lambda share: None,
) -> Chains:
    """log w of K chains per datum.

    Args:
        steps: frozen step sizes (T - 1, B).
        latents: None: forward chains, from draws of f_0, E[w] = p(x). Exact draws of the posterior,
            (B, ...) each: backward chains that begin there, E[1 / w] = 1 / p(x).
        on_step: called after each temperature with its share of the work; the shares add up to 1.
    """
    log_w, acceptance = [], torch.zeros_like(steps, dtype=torch.float64)
    with pyro.validation_enabled(False):
        for count in pieces(plan.num_particles, plan.chunk_size):
            share = count / plan.num_particles
            done = partial(on_step, share / plan.num_temperatures)
            point = path.draw(count) if latents is None else path.at_latents(latents, count)
            weights, probability = _run(path, plan, steps, point, latents is not None, done)
            log_w.append(weights)
            acceptance += share * probability
    return Chains(torch.cat(log_w).cpu(), acceptance.cpu())


def _run(
    path: AnnealingPath,
    plan: Plan,
    steps: Tensor,
    point: Point,
    backwards: bool,
    on_step: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    """log w (K, B) and the mean acceptance (T - 1, B), float64, of chains run at once."""
    t = plan.temperatures
    log_w = torch.zeros_like(point.start, dtype=torch.float64)
    acceptance = torch.zeros_like(steps, dtype=torch.float64)
    order = range(1, len(t))
    for i in reversed(order) if backwards else order:
        log_w += (t[i] - t[i - 1]) * point.slope.double()
        # Backward chains meet the forward ones' transitions and weights in reverse.
        turn = i - 1 if backwards else i
        if 0 < turn < len(t) - 1:
            step, scale = steps[turn - 1], path.scale(t[turn])
            point, probability = transition(path.at, point, t[turn], step, scale, plan.num_leapfrog)
            acceptance[turn - 1] = probability.mean(0)
        on_step()
    return log_w, acceptance
