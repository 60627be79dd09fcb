"""The page of all combinations, in Markdown: what takes its step, and what is refused and why."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.combining.combination import AXES, Combination, Outcome
from experiments.combining.pairwise import Values, values_of

Outcomes = Mapping[Combination, Outcome]
# A level's name, settings of a part, and whose analytic KL it is: what reasons differ in only.
DETAILS = ((r"\bz\d\b", "zL"), (r"(?<=\w):\w+=\S+?(?=;)", ""), (r"\bKL of \w+ELBO\b", "KL of ELBO"))


@dataclass(frozen=True)
class Refusal:
    """A reason, with the causes that have it: values of these axes together.

    Attributes:
        values: axis -> its values in the causes.
        combinations: that hold one of the causes.
    """

    reason: str
    values: Mapping[str, Sequence]
    combinations: int


def refusals(outcomes: Outcomes, causes: Mapping[Values, str]) -> list[Refusal]:
    """Reasons, the most frequent first; causes of one reason and the same axes stand together."""
    alike = defaultdict(list)
    for cause, reason in causes.items():
        for pattern, text in DETAILS:
            reason = re.sub(pattern, text, reason)
        alike[reason, frozenset(axis for axis, _ in cause)].append(cause)
    found = []
    for (reason, axes), group in alike.items():
        held = frozenset().union(*group)
        values = {
            axis: [value for value in AXES[axis] if (axis, value) in held]
            for axis in AXES
            if axis in axes
        }
        number = sum(any(one <= values_of(c) for one in group) for c in outcomes)
        found.append(Refusal(reason, values, number))
    return sorted(found, key=lambda refusal: -refusal.combinations)


def page(
    products: Mapping[str, Outcomes], causes: Mapping[Values, str], command: str, made: str
) -> str:
    """Markdown.

    Args:
        products: "prior x ..." -> its outcomes; the first over priors and objectives, the second
            over likelihoods and decoders.
        causes: of all refusals.
        command: that makes this page. made: by what, and in which time.
    """
    whole = {one: outcome for outcomes in products.values() for one, outcome in outcomes.items()}
    first, second = products.values()
    return "\n".join(
        [
            "# Which parts train together",
            "",
            "Each combination of registered parts takes one training step as a command would: "
            "configuration, pair, objective, gradient, optimiser. Taken means that parameters of "
            "model and guide moved and are finite.",
            "",
            *_table(
                ["product", "combinations", "taken", "refused", "failed"],
                [[name, *_counts(outcomes)] for name, outcomes in products.items()],
            ),
            "",
            "## What is refused",
            "",
            "The least that a refusal needs: with any of these values put back to the plainest "
            "(topdown guide, one level, `locscale`, `standard`, `elbo`, `gaussian`, `mlp`, Normal "
            "units), the combination is taken. Every refused combination holds one of them.",
            "",
            *_table(
                ["together", "combinations", "the line that says so"],
                [[_words(r.values), r.combinations, r.reason] for r in refusals(whole, causes)],
            ),
            "",
            "## Priors and objectives",
            "",
            f"Steps taken, of {_of(first, 'prior', 'loss')}: three guides, one and two levels, and "
            "three posteriors.",
            "",
            *_matrix(first, "loss", "prior"),
            "",
            "## Likelihoods and decoders",
            "",
            f"Steps taken, of {_of(second, 'likelihood', 'decoder')} objectives and estimators.",
            "",
            *_matrix(second, "likelihood", "decoder"),
            "",
            "```",
            command,
            "```",
            "",
            made,
            "",
        ]
    )


def _counts(outcomes: Outcomes) -> list[int]:
    found = outcomes.values()
    refused = sum(one.refused is not None for one in found)
    failed = sum(one.failed is not None for one in found)
    return [len(found), len(found) - refused - failed, refused, failed]


def _words(values: Mapping[str, Iterable]) -> str:
    return "; ".join(
        f"{axis}: {', '.join(f'`{value}`' for value in some)}" for axis, some in values.items()
    )


def _of(outcomes: Outcomes, row: str, column: str) -> int:
    return len(outcomes) // (len(AXES[row]) * len(AXES[column]))


def _matrix(outcomes: Outcomes, row: str, column: str) -> list[str]:
    taken = defaultdict(int)
    for one, outcome in outcomes.items():
        taken[getattr(one, row), getattr(one, column)] += outcome.taken
    rows = [[f"`{r}`", *(taken[r, c] for c in AXES[column])] for r in AXES[row]]
    return _table([row, *(f"`{c}`" for c in AXES[column])], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    ]
