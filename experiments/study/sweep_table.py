"""Learning rates of vanilla and k = 1, and the two compared at the rate that suits each best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.measures import seeds
from experiments.campaign.plan import Plan
from experiments.study.study_models import VANILLA, cell_of, written
from experiments.study.trained import QUANTITIES, Trained, over_seeds, pipes

JUDGED_BY = ("log_likelihood", "bound")

# Rate -> a row of study.csv for each finished seed.
Rates = Mapping[float, list[dict[str, Any]]]


def sweep(found: Sequence[Trained], plan: Plan) -> list[str]:
    """Lines of the section on learning rates; none where no other rate was asked for."""
    if not plan.selection.rates:
        return []
    rates = sorted({plan.shared["lr"], *plan.selection.rates})
    labels = [cell_of(model).label for model in plan.selection.swept]
    groups = {label: _rows(found, label, rates) for label in labels}
    best = {
        (label, name): best_rate(groups[label], name, plan.seeds)
        for label in labels
        for name in JUDGED_BY
    }
    lines = [
        [
            written(rate),
            *(
                _estimate(groups[label][rate], name, plan.seeds, rate == winner)
                for (label, name), winner in best.items()
            ),
        ]
        for rate in rates
    ]
    titles = [f"{label}: {QUANTITIES.get(name)}" for label, name in best]
    return [
        "## Learning rates",
        "",
        "Mean ± standard deviation over seeds; the other tables are at "
        f"{written(plan.shared['lr'])}. Each model has the same {len(rates)} rates, its best "
        "in bold: chosen on the test data that it is judged on, among rates of which all "
        f"{plan.seeds} seeds are finished.",
        "",
        *pipes(["learning rate", *titles], lines),
        "",
        *_differences(groups, best),
        *_at_an_end(rates, best),
        "",
    ]


def best_rate(groups: Rates, name: str, planned: int) -> float | None:
    """The rate with the largest mean, of those whose planned seeds are all finished; or None.

    With fewer seeds a mean would be over other data, and a rate at which one diverged is none to
    take.
    """
    means = {
        rate: sum(row.get(name) for row in rows) / planned
        for rate, rows in groups.items()
        if len(rows) == planned
    }
    return max(means, key=means.get, default=None)


def _rows(found: Sequence[Trained], label: str, rates: Sequence[float]) -> Rates:
    done = [
        one
        for one in found
        if one.summary is not None and (one.main or one.swept) and one.place.cell.label == label
    ]
    return {rate: [one.columns() for one in done if one.lr == rate] for rate in rates}


def _estimate(rows: list[dict[str, Any]], name: str, planned: int, best: bool) -> str:
    text = over_seeds(rows, name, digits=2)
    text += f" (n = {len(rows)})" if len(rows) < planned else ""
    return f"**{text}**" if best else text


def _differences(
    groups: Mapping[str, Rates], best: Mapping[tuple[str, str], float | None]
) -> Iterator[str]:
    """The other model minus vanilla, each at its best rate, paired over seeds."""
    for (label, name), rate in best.items():
        of_vanilla = best.get((VANILLA, name))
        if label == VANILLA or rate is None or of_vanilla is None:
            continue
        table = pd.DataFrame([*groups[VANILLA][of_vanilla], *groups[label][rate]])
        (row,) = seeds.paired(table, name, VANILLA).itertuples()
        spread = seeds.mean_and_spread(row.difference, row.sd, row.n, digits=2)
        yield (
            f"- {QUANTITIES.get(name)}, each at its best rate ({written(rate)} and "
            f"{written(of_vanilla)}): {label} minus {VANILLA} {spread}, "
            + (row.note or f"p {row.p:.3g}")
        )


def _at_an_end(
    rates: Sequence[float], best: Mapping[tuple[str, str], float | None]
) -> Iterator[str]:
    ends = [
        f"{label} by {QUANTITIES.get(name)}"
        for (label, name), rate in best.items()
        if rate in (rates[0], rates[-1])
    ]
    if ends:
        yield f"- at an end of the rates, so that a better one may lie beyond: {'; '.join(ends)}"
