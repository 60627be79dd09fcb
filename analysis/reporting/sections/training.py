"""Courses of training: KL(z2) with and without annealing, and the bounds (Vas 2024, 5.2)."""

from __future__ import annotations

import pandas as pd

from analysis.measures.seeds import mean_and_spread, paired, words
from analysis.measures.training import courses, ends
from analysis.pictures.panels import panel, panels
from analysis.pictures.training import plot_bound_curves, plot_kl_curves
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.naming import NO_ANNEALING
from analysis.reporting.over_runs import refuse_none, run_or_reason, without
from analysis.reporting.study import Study, Subject
from pyro_vae.errors import InputError
from pyro_vae.runs import RunDirectory

TITLE = "Training"
KL = "kl_z2"


def entries(study: Study) -> list[Entry]:
    """KL(z2) with and without annealing, their difference, and the bounds."""
    return [
        Entry("kl-z2-annealed", "Vas 2024, Figure 5.3", lambda: _kl(study, annealed=True)),
        Entry("kl-z2-not-annealed", "Vas 2024, Figure 5.2", lambda: _kl(study, annealed=False)),
        Entry("kl-z2-effect-of-annealing", "Vas 2024, section 5.2", lambda: _effect(study)),
        Entry("bounds-in-training", BEYOND, lambda: _bounds(study)),
    ]


def _chosen(study: Study, annealed: bool) -> list[Subject]:
    """Runs with annealing, or without; InputError where there are none."""
    found = [s for s in study.subjects if bool(s.run.config.training.annealing) == annealed]
    if not found:
        raise InputError(
            "no run was trained with annealing; train one without --no-anneal"
            if annealed
            else "no run was trained without annealing; train one with --no-anneal"
        )
    return found


def _with_z2(subjects: list[Subject]) -> tuple[list[Subject], dict[str, str]]:
    """The runs that wrote down a KL of z2, and name -> reason of the others.

    Raises:
        InputError: no run did.
    """

    def metrics(subject: Subject) -> None:
        if KL not in RunDirectory(subject.run.path).read_metrics():
            raise InputError("its model has no level z2")

    found, left_out = run_or_reason(subjects, metrics)
    refuse_none(found, left_out)
    return [subject for subject, _ in found], left_out


def _courses(subjects: list[Subject], columns: list[str]) -> pd.DataFrame:
    return courses(
        [(s.label, s.seed, RunDirectory(s.run.path).read_metrics()) for s in subjects], columns
    )


def _kl(study: Study, *, annealed: bool) -> Item:
    subjects, left_out = _with_z2(_chosen(study, annealed))
    table = _courses(subjects, [KL])
    word = "with" if annealed else "without"
    figure, ax = panel(8, 4)
    title = f"KL of z2 on held-out data, {word} annealing"
    plot_kl_curves(ax, table, KL, title, study.labels)
    found = ends(table, KL)
    sentence = (
        f"KL(q(z2 | x) || p(z2)) on held-out data while training {word} annealing of z2 (mean over "
        f"seeds; bands from smallest to largest seed); a collapsed z2 would have 0 nats. "
        f"At the end: {words(found, 'end', 2)}; at the peak: {words(found, 'peak', 2)} nats."
        f"{without(left_out)}"
    )
    return Item(sentence, figure, found)


def _effect(study: Study) -> Item:
    """Models that were trained both with and without annealing, paired by seed."""
    both = [label for label in study.labels if label + NO_ANNEALING in study.labels]
    if not both:
        raise InputError(
            "no model was trained both with and without annealing; train one with --no-anneal too"
        )
    rows = []
    for label in both:
        runs = [*study.of(label), *study.of(label + NO_ANNEALING)]
        found = ends(_courses(runs, [KL]), KL)
        rows.append(paired(found, "end", baseline=label + NO_ANNEALING))
    table = pd.concat(rows, ignore_index=True)
    told = "; ".join(
        f"{row.model}: {mean_and_spread(row.difference, row.sd, row.n, 2)} nats"
        for row in table.itertuples()
    )
    return Item(
        "What annealing adds to KL(z2) at the end of training, paired by seed (mean ± sd over "
        f"seeds; no effect: 0): {told}.",
        table=table,
    )


def _bounds(study: Study) -> Item:
    table = _courses(list(study.subjects), ["elbo", "bound"])
    figure, axes = panels(2, (5.5, 4))
    plot_bound_curves(axes[0], table, "elbo", "ELBO on held-out data", study.labels)
    plot_bound_curves(axes[1], table, "bound", "bound at the model's own k", study.labels)
    found = pd.concat(
        [ends(table, name).assign(quantity=name) for name in ("elbo", "bound")], ignore_index=True
    )
    of_elbo = found[found.quantity == "elbo"]
    return Item(
        "ELBO and bound at the model's own number of particles on held-out data (never annealed; "
        "higher is better; only the ELBO is the same quantity for all models). ELBO at the end: "
        f"{words(of_elbo, 'end', 2)} nats.",
        figure,
        found,
    )
