"""The page of all combinations, in Markdown: what takes its step, and what is refused and why."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.combining.combination import Outcome, Trial
from experiments.combining.pairwise import Values, values_of

Outcomes = Mapping[Trial, Outcome]
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
    axes_of_all = next(iter(outcomes)).axes
    alike = defaultdict(list)
    for cause, reason in causes.items():
        for pattern, text in DETAILS:
            reason = re.sub(pattern, text, reason)
        alike[reason, frozenset(axis for axis, _ in cause)].append(cause)
    found = []
    for (reason, axes), group in alike.items():
        held = frozenset().union(*group)
        values = {
            axis: [value for value in some if (axis, value) in held]
            for axis, some in axes_of_all.items()
            if axis in axes
        }
        number = sum(any(one <= values_of(c) for one in group) for c in outcomes)
        found.append(Refusal(reason, values, number))
    return sorted(found, key=lambda refusal: -refusal.combinations)


@dataclass(frozen=True)
class Tried:
    """Products of one kind of combinations, taken whole.

    Attributes:
        products: "prior x ..." -> its outcomes.
        causes: of all refusals.
    """

    products: Mapping[str, Outcomes]
    causes: Mapping[Values, str]

    @property
    def outcomes(self) -> Outcomes:
        """Of all combinations."""
        return {one: what for some in self.products.values() for one, what in some.items()}

    def refused(self) -> list[str]:
        """A table of what is refused."""
        return _table(
            ["together", "combinations", "the line that says so"],
            [
                [_words(r.values), r.combinations, r.reason]
                for r in refusals(self.outcomes, self.causes)
            ],
        )


def page(hierarchies: Tried, of_images: Tried, command: str, made: str) -> str:
    """Markdown.

    Args:
        hierarchies: a product over priors and objectives, and one over likelihoods and decoders.
        of_images: one product, of self-supervised VAEs.
        command: that makes this page. made: by what, and in which time.
    """
    first, second = hierarchies.products.values()
    (third,) = of_images.products.values()
    products = {**hierarchies.products, **of_images.products}
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
            *hierarchies.refused(),
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
            "## Self-supervised VAEs",
            "",
            "The model `ssvae`, whose levels are images in colour, with networks of few channels "
            "and its only guide. The plainest is `downscale:2`, `logistic`, `standard`, `elbo`.",
            "",
            *of_images.refused(),
            "",
            f"Steps taken, of {_of(third, 'likelihood', 'transforms')}: all priors, objectives and "
            "estimators.",
            "",
            *_matrix(third, "likelihood", "transforms"),
            "",
            f"Steps taken, of {_of(third, 'loss', 'prior')}: all likelihoods and transforms.",
            "",
            *_matrix(third, "loss", "prior"),
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
    axes = next(iter(outcomes)).axes
    return len(outcomes) // (len(axes[row]) * len(axes[column]))


def _matrix(outcomes: Outcomes, row: str, column: str) -> list[str]:
    axes = next(iter(outcomes)).axes
    taken = defaultdict(int)
    for one, outcome in outcomes.items():
        taken[getattr(one, row), getattr(one, column)] += outcome.taken
    rows = [[f"`{r}`", *(taken[r, c] for c in axes[column])] for r in axes[row]]
    return _table([row, *(f"`{c}`" for c in axes[column])], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    ]
