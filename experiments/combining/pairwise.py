"""Few combinations that hold every pair of parts, and the least that each refusal needs.

A test of every combination would take the product of all axes. Errors nearly always need two parts
that meet (Kuhn et al. 2004, https://doi.org/10.1109/TSE.2004.24), so it is enough that each value
of an axis meets each value of every other axis in a combination that takes its step. One that is
refused says nothing of the pairs in it but those that it is refused for. So its values are put back
to the plainest one after the other, as long as it is still refused (delta debugging: Zeller and
Hildebrandt 2002, https://doi.org/10.1109/32.988498): what is left is the cause, and no later
combination holds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

from experiments.combining.combination import AXES, Combination, Outcome, Trial

Value = tuple[str, Any]  # of an axis
Values = frozenset[Value]


@dataclass(frozen=True)
class Covering:
    """What became of the combinations that were tried.

    Attributes:
        outcomes: of every combination, in the order in which they were tried.
        causes: the least values that are refused beside the plainest of all other axes -> reason.
        failures: the least values that fail -> what went wrong.
    """

    outcomes: Mapping[Trial, Outcome]
    causes: Mapping[Values, str]
    failures: Mapping[Values, str]

    def seen(self) -> set[Values]:
        """Pairs of the combinations that took their step."""
        return {
            pair
            for one, outcome in self.outcomes.items()
            if outcome.taken
            for pair in pairs_in(values_of(one))
        }


def values_of(combination: Trial) -> Values:
    return frozenset((axis, getattr(combination, axis)) for axis in combination.axes)


def pairs_in(values: Values) -> list[Values]:
    return [frozenset(pair) for pair in combinations(values, 2)]


def all_pairs(axes: Mapping[str, Sequence]) -> list[Values]:
    """Of values of different axes."""
    return [
        frozenset({(one, value), (other, another)})
        for one, other in combinations(axes, 2)
        for value, another in product(axes[one], axes[other])
    ]


def cause_of(combination: Trial, attempt: Callable[[Trial], Outcome]) -> tuple[Values, Outcome]:
    """The values that a combination is refused for, or fails for, and what becomes of them alone.

    With one of them put back to the plainest it would not be refused (or not fail).
    """
    found, plainest = attempt(combination), type(combination)()
    for axis in combination.axes:
        simpler = replace(combination, **{axis: getattr(plainest, axis)})
        outcome = found if simpler == combination else attempt(simpler)
        if not outcome.taken and bool(outcome.failed) == bool(found.failed):
            combination, found = simpler, outcome
    return values_of(combination) - values_of(plainest), found


def cover(
    attempt: Callable[[Trial], Outcome],
    axes: Mapping[str, Sequence] = AXES,
    kind: type[Trial] = Combination,
) -> Covering:
    """Try combinations until every pair has taken a step or holds what is refused or fails.

    Greedy: each combination begins with a pair that is left, and takes on every other axis the
    value that meets most of those that are left and completes nothing known to be refused.

    Args:
        attempt: of a combination. axes: values of some of the axes; the plainest of the others.
        kind: what is tried, whose axes these are.
    """
    outcomes: dict[Trial, Outcome] = {}
    causes: dict[Values, str] = {}
    failures: dict[Values, str] = {}
    left = dict.fromkeys(all_pairs(axes))
    used: Counter[Value] = Counter()

    def tried(combination: Trial) -> Outcome:
        if combination not in outcomes:
            outcomes[combination] = attempt(combination)
            used.update(values_of(combination))
        if outcomes[combination].taken:
            for pair in pairs_in(values_of(combination)):
                left.pop(pair, None)
        return outcomes[combination]

    while left:
        pair = next(iter(left))
        combination = kind(**_around(pair, axes, left, [*causes, *failures], used))
        if tried(combination).taken:
            continue
        cause, outcome = cause_of(combination, tried)
        if outcome.refused:
            causes[cause] = outcome.refused
        else:
            failures[cause] = outcome.failed
        for other in [one for one in left if cause <= one]:
            left.pop(other)
    return Covering(outcomes, causes, failures)


def _around(
    pair: Values,
    axes: Mapping[str, Sequence],
    left: Mapping[Values, None],
    causes: Sequence[Values],
    used: Counter[Value],
) -> dict[str, Any]:
    """A value of every axis, with those of the pair; the rarer one where others are as good.

    The plainest value completes no cause, so one is always allowed.
    """
    chosen = dict(pair)
    for axis in axes:
        if axis in chosen:
            continue
        here = frozenset(chosen.items())
        allowed = [
            value
            for value in axes[axis]
            if not any(cause <= here | {(axis, value)} for cause in causes)
        ]
        chosen[axis] = max(
            allowed,
            key=lambda value: (
                sum(frozenset({(axis, value), one}) in left for one in here),
                -used[axis, value],
            ),
        )
    return chosen
