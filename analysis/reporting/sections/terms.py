"""Terms of the bound on test data, natural and labelled (Vas 2024, 5.2, Figures 5.4 and 5.5)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.measures.seeds import in_words, mean_and_spread, paired, summary
from analysis.pictures.panels import panels
from analysis.pictures.training import plot_by_model
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.over_patches import one_seed, over_patches
from analysis.reporting.over_runs import tables
from analysis.reporting.study import Study, Subject

TITLE = "Terms of the bound on test data"
NAMES = {
    "bound": "bound at own k",
    "reconstruction": "reconstruction E log p(x | z)",
    "log_likelihood": "bound at equal K",
    "elbo": "ELBO",
    "kl_to_posterior": "bound at K - ELBO",
    "ess": "effective sample size",
}
LEVEL = "kl_z"  # how columns begin that models of fewer levels lack


def entries(study: Study) -> list[Entry]:
    """Terms and equal-K bounds on natural and on labelled test rows."""
    found = []
    sources = {"natural": "Vas 2024, Figure 5.4", "labelled": "Vas 2024, Figure 5.5"}
    for which, source in sources.items():
        found += [
            Entry(f"terms-{which}", source, lambda w=which: _terms(study, w)),
            Entry(f"bounds-at-equal-k-{which}", BEYOND, lambda w=which: _equal(study, w)),
        ]
    return found


def per_run(study: Study, which: str) -> pd.DataFrame:
    """Means over test data, a row per run: model, seed, k, num_data, every column of ``terms_*``.

    Nats per datum but for ``ess`` (particles of the model's own k) and ``khat``. Runs that cannot
    be measured are left out.

    Raises:
        InputError: no run can be measured; with the reasons.
    """

    def row(subject: Subject) -> dict:
        terms = subject.measured(f"terms_{which}")
        # k-hat is infinite or NaN where it cannot be told.
        means = {
            name: float(np.mean(values)) if np.isfinite(values).all() else np.nan
            for name, values in terms.items()
        }
        return {"k": subject.k, "num_data": len(terms.elbo)} | means

    return tables(study.subjects, row)[0]


def differences(table: pd.DataFrame, values: list[str], baseline: str) -> pd.DataFrame:
    """Means and spreads over seeds, and paired differences to a model, a row per model and value.

    Args:
        table: of :func:`per_run`.
        baseline: that others are compared with; of a level that it lacks, the first model that has
            it. Models have no row for a level that they lack.

    Returns:
        model, quantity, mean, sd, n; and of the difference to ``baseline`` over seeds: difference,
        standard_error_of_difference, low, high, p, p_holm (adjusted over the models, not over the
        quantities), note. All in the quantity's unit, NaN where there is none.
    """
    found = summary(table, values)[["model", "quantity", "mean", "sd", "n"]]
    found = found[(found.n > 0) | ~found.quantity.str.startswith(LEVEL)]
    tests = [test for value in values if (test := _tests(table, value, baseline)) is not None]
    if not tests:
        return found
    wanted = [
        "model",
        "quantity",
        "difference",
        "standard_error",
        "low",
        "high",
        "p",
        "p_holm",
        "note",
    ]
    tests = pd.concat(tests, ignore_index=True)[wanted].rename(
        columns={"standard_error": "standard_error_of_difference"}
    )
    found = found.merge(tests, on=["model", "quantity"], how="left")
    return found.assign(note=found.note.fillna("baseline"))


def _tests(table: pd.DataFrame, value: str, baseline: str) -> pd.DataFrame | None:
    """Differences to the baseline, or to the first model that has the level; None without any."""
    if value.startswith(LEVEL):
        table = table.dropna(subset=value)
    models = list(dict.fromkeys(table.model))
    if len(models) < 2:
        return None
    return paired(table, value, baseline if baseline in models else models[0]).assign(
        quantity=value
    )


def data_terms(study: Study, which: str, values: list[str]) -> pd.DataFrame:
    """Some of the terms, with errors and differences over test data: see :func:`over_patches`."""

    def of(subject: Subject) -> dict[str, np.ndarray]:
        found = subject.measured(f"terms_{which}")
        return {name: found[name] for name in values if name in found}  # its own levels alone

    return over_patches(study, of)


def _terms(study: Study, which: str) -> Item:
    table = per_run(study, which)
    levels = sorted(name for name in table if name.startswith(LEVEL))
    values = ["bound", "reconstruction", *levels]
    figure = _draw(study, table, values)
    baseline = table.model.iloc[0]
    found = _found(study, which, table, values)
    lacking = [name for name in levels if table[name].isna().any()]
    of_levels = (
        f"; {', '.join(lacking)}: of the models that have the level, to the first of them"
        if lacking
        else ""
    )
    return Item(
        f"Terms on {_data(table, which)} per model, in nats (dots: seeds; bars: mean and sd over "
        "seeds; Vas 2024 draws the negative bound and reconstruction as losses): bound at own k "
        f"{_in_words(found, 'bound')}. L_k rises with k for one and the same model too, so this "
        "panel confounds the bound with the model; the next entry compares at equal K. "
        f"Differences in the table are to {baseline}, paired by {_unit(study)} (no effect: 0)"
        f"{of_levels}.",
        figure,
        found,
    )


def _equal(study: Study, which: str) -> Item:
    table = per_run(study, which)
    values = ["log_likelihood", "elbo", "kl_to_posterior", "ess"]
    figure = _draw(study, table, values)
    baseline = table.model.iloc[0]
    found = _found(study, which, table, values)
    return Item(
        f"The same K particles for all models on {_data(table, which)}: L_K with K = "
        f"{study.settings.eval_particles}, a lower estimate of log p(x): "
        f"{_in_words(found, 'log_likelihood')} nats; the ELBO; their difference, a low estimate of "
        "KL(q || posterior); and the effective sample size of the model's own k weights (k for a "
        f"perfect guide). Differences in the table are to {baseline}, paired by "
        f"{_unit(study)} (no effect: 0).",
        figure,
        found,
    )


def _found(study: Study, which: str, table: pd.DataFrame, values: list[str]) -> pd.DataFrame:
    """What the table of an entry has: over seeds, or over patches where there is one of each."""
    if one_seed(study):
        return data_terms(study, which, values)
    return differences(table, values, table.model.iloc[0])


def _unit(study: Study) -> str:
    return "patch" if one_seed(study) else "seed"


def _draw(study: Study, table: pd.DataFrame, values: list[str]) -> Figure:
    figure, axes = panels(len(values), (3.2, 3.6), per_row=len(values))
    for ax, value in zip(axes, values, strict=True):
        name = NAMES.get(value, f"KL of {value.removeprefix('kl_')}")
        unit = "particles" if value == "ess" else "nats per datum"
        plot_by_model(ax, table, value, name, unit, study.labels)
    return figure


def _data(table: pd.DataFrame, which: str) -> str:
    return f"{table.num_data.iloc[0]} {which} test rows"


def _in_words(found: pd.DataFrame, quantity: str) -> str:
    rows = found[found.quantity == quantity]
    if "patches" not in rows:
        return in_words(rows, 2)
    return (
        ", ".join(
            f"{mean_and_spread(row.mean, row.standard_error, digits=2)} ({row.model})"
            for row in rows.itertuples(index=False)
        )
        + ", ± standard errors over patches"
    )
