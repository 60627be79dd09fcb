"""Times of steps that are taken in turns, and what can be said about them.

A shared machine is slow for seconds at a time. Variants therefore take their steps in turns within
one process, in an order that moves by one every round, and the ratio of two variants is the median
over rounds of the ratio within a round: what slows a round slows both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass

WARM_UP = 3  # untimed steps of each: the first ones compile and allocate
FEW_ROUNDS = 3


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper)

    def scaled(self, factor: float) -> Spread:
        return Spread(factor * self.median, factor * self.lower, factor * self.upper)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Timing:
    """Seconds of every timed step, by variant, round by round.

    Attributes:
        rounds: as many as were timed, fewer than asked for where steps take long.
    """

    seconds: Mapping[Hashable, list[float]]
    rounds: int

    def spread(self, name: Hashable) -> Spread:
        return Spread.of(self.seconds[name])

    def ratio(self, name: Hashable, base: Hashable) -> Spread:
        """Paired: time of ``name`` over that of ``base`` in the same round."""
        pairs = zip(self.seconds[name], self.seconds[base], strict=True)
        return Spread.of([numerator / denominator for numerator, denominator in pairs])


def interleave(
    steps: Mapping[Hashable, Callable[[], object]],
    rounds: int,
    max_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Take ``rounds`` steps of every variant in turns; few where one takes over ``max_seconds``.

    Args:
        clock: seconds; of the wall, or of this process (``time.process_time``).
    """
    slowest = 0.0
    for step in steps.values():
        for index in range(WARM_UP):
            last = _seconds(step, clock)
            if index > 0 and last > max_seconds:
                break
        slowest = max(slowest, last)
    if slowest > max_seconds:
        rounds = min(rounds, FEW_ROUNDS)
    names = list(steps)
    seconds: dict[Hashable, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_seconds(steps[name], clock))
    return Timing(seconds, rounds)


def _seconds(step: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    step()
    return clock() - start
