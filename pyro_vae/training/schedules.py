"""Schedules over the share of training done: of an annealed level's beta, and of the learning rate.

Burda et al. 2016 (https://arxiv.org/abs/1509.00519) train in eight stages of 3^i epochs, i = 0 to
7, which are 3280 in all, at learning rates of 1e-4 round(10^(1 - i/7), 1). Arnal et al. 2021 keep
the lengths and take 1e-4 10^(-i/7). A function of the share of training done, in [0, 1], fits any
length.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from pyro_vae.errors import InputError, check_count, check_positive
from pyro_vae.weights.handlers import anneal

__all__ = [
    "BURDA_RATES",
    "MLMI4_RATES",
    "Cosine",
    "Decay",
    "LinearWarmUp",
    "LrSchedule",
    "Schedule",
    "Stages",
    "anneal",  # pyro_vae.annealing is this module
    "default_annealing",
    "stages",
]

# The share of training done, in [0, 1] -> beta of a level, or the learning rate.
Schedule = Callable[[float], float]
# Of the learning rate; of the number of steps where its attribute ``counts_steps`` is true.
LrSchedule = Schedule | Callable[[int], float]

BURDA_RATES = (1e-3, 7.2e-4, 5.2e-4, 3.7e-4, 2.7e-4, 1.9e-4, 1.4e-4, 1e-4)
MLMI4_RATES = tuple(1e-4 * 10 ** (-i / 7) for i in range(8))
# Shares are quotients of whole numbers. One step is more than this in any run that can end.
ROUNDING = 1e-12


@dataclass(frozen=True)
class LinearWarmUp:
    """beta from ``start`` to ``end``, linear over the first ``fraction`` of training, then ``end``.

    Called with the share of training that is done, in [0, 1].
    """

    start: float = 0.1
    end: float = 1.0
    fraction: float = 0.5

    def __post_init__(self) -> None:
        finite = 0 <= self.start < math.inf and 0 <= self.end < math.inf
        if not (finite and 0 <= self.fraction <= 1):
            raise InputError(
                f"annealing wants finite start, end >= 0 and a share in [0, 1], got {self.start}, "
                f"{self.end}, {self.fraction}"
            )

    def __call__(self, progress: float) -> float:
        if progress >= self.fraction:
            return self.end
        return self.start + (self.end - self.start) * progress / self.fraction


def default_annealing(num_levels: int) -> dict[str, LinearWarmUp]:
    """z2 from 0.1 to 1 over the first half, the other levels untouched (Vas 2024, section 5.2)."""
    return {"z2": LinearWarmUp()} if num_levels >= 2 else {}


@dataclass(frozen=True)
class Stages:
    """Learning rate that is constant within each stage of training.

    Called with the share of training that is done, in [0, 1]. A step at a boundary belongs to the
    stage that begins there.

    Attributes:
        rates: learning rate of each stage.
        ends: share of training at which each stage ends, rising to 1.

    Raises:
        InputError: rates or ends that are none.
    """

    rates: tuple[float, ...]
    ends: tuple[float, ...]

    def __post_init__(self) -> None:
        for rate in self.rates:
            check_positive("learning rate of a stage", rate)
        rising = all(low < high for low, high in zip((0.0, *self.ends), self.ends, strict=False))
        if not self.rates or len(self.ends) != len(self.rates) or not rising or self.ends[-1] != 1:
            raise InputError(
                f"{len(self.rates)} stages want as many ends, rising from above 0 to 1, got "
                f"{self.ends}"
            )

    def __call__(self, progress: float) -> float:
        stage = bisect_right(self.ends, progress + ROUNDING)
        return self.rates[min(stage, len(self.rates) - 1)]


@dataclass(frozen=True)
class Cosine:
    """Learning rate that rises linearly from 0, and falls back to 0 along half a cosine.

        rate * p / w                                     for p < w
        rate * (1 + cos(pi (p - w) / (1 - w))) / 2       from there on

    Called with the share p of training that is done, in [0, 1] (Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1608.03983, without restarts).

    Attributes:
        rate: the largest learning rate.
        warm_up: w, the share of training over which it is reached.

    Raises:
        InputError: a rate that is not positive, or a share outside [0, 1).
    """

    rate: float
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        check_positive("learning rate", self.rate)
        if not 0 <= self.warm_up < 1:
            raise InputError(f"warm-up wants a share in [0, 1), got {self.warm_up}")

    def __call__(self, progress: float) -> float:
        if progress < self.warm_up:
            return self.rate * progress / self.warm_up
        falling = (progress - self.warm_up) / (1 - self.warm_up)
        return self.rate * (1 + math.cos(math.pi * min(falling, 1.0))) / 2

    def __str__(self) -> str:
        return f"{self.rate:g} along cosine:{self.warm_up:g}"


@dataclass(frozen=True)
class Decay:
    """Learning rate that every step multiplies, down to a floor: ``max(floor, rate factor^step)``.

    Called with the number of steps taken so far, and not with the share of training done: what a
    step does to the rate does not depend on how long training will last. Gatopoulos 2020 (chapter
    6) has 2e-3, a factor of 0.999999 and a floor of 1e-4.

    Attributes:
        rate: of the first step.
        factor: in (0, 1].
        floor: least rate, from 0 up to ``rate``.

    Raises:
        InputError: a rate, a factor or a floor that is none.
    """

    rate: float
    factor: float
    floor: float = 0.0

    counts_steps: ClassVar = True

    def __post_init__(self) -> None:
        check_positive("learning rate", self.rate)
        if not 0 < self.factor <= 1:
            raise InputError(f"a decay wants a factor in (0, 1], got {self.factor}")
        if not 0 <= self.floor <= self.rate:
            raise InputError(f"a decay's floor must lie in [0, {self.rate:g}], got {self.floor}")

    def __call__(self, step: int) -> float:
        return max(self.floor, self.rate * self.factor**step)

    def __str__(self) -> str:
        return f"{self.rate:g} along decay:{self.factor!r}:{self.floor:g}"


LR_SHAPES = "constant, cosine, cosine:SHARE, decay:FACTOR or decay:FACTOR:FLOOR"


def shaped(shape: str | None, rate: float) -> Cosine | Decay | None:
    """The schedule that one of :data:`LR_SHAPES` names; None for a constant.

    Raises:
        InputError: another word, or a share that is none.
    """
    name, colon, share = (shape or "constant").partition(":")
    try:
        if name == "constant" and not colon:
            return None
        if name == "cosine":
            return Cosine(rate, float(share) if colon else 0.0)
        if name == "decay" and colon:
            return Decay(rate, *map(float, share.split(":", 1)))
    except ValueError as error:
        raise InputError(f"--lr-shape {shape}: {error}; allowed: {LR_SHAPES}") from error
    raise InputError(f"unknown --lr-shape {shape!r}; allowed: {LR_SHAPES}")


def stages(num_epochs: int, rates: Sequence[float] = BURDA_RATES) -> Stages:
    """Stages of r^0, r^1, r^2, ... epochs at these ``rates``, which last ``num_epochs`` together.

    With eight rates r is 3 for the published 3280 epochs, and smaller for fewer: the first stage
    lasts one epoch, and all are run through. Where there are no more epochs than stages, these
    are of equal length (r = 1), parts of an epoch.
    """
    number = len(rates)
    ratio = _ratio(check_count("epochs", num_epochs), number)
    ends = list(accumulate(ratio**stage for stage in range(number)))
    return Stages(tuple(map(float, rates)), tuple(end / ends[-1] for end in ends))


def _ratio(total: float, number: int) -> float:
    """r >= 1 with r^0 + ... + r^(number - 1) = total, or 1 where total <= number."""
    if total <= number or number == 1:
        return 1.0
    low, high = 1.0, float(total)
    while low < (middle := (low + high) / 2) < high:
        if math.fsum(middle**stage for stage in range(number)) < total:
            low = middle
        else:
            high = middle
    return high
