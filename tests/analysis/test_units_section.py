"""The report's sections on training, terms and units, on runs that were never trained."""

from types import SimpleNamespace

import numpy as np
import pytest

from analysis.measures.by_name import Named
from analysis.reporting.sections import terms as terms_section
from analysis.reporting.sections import training as training_section
from analysis.reporting.sections import units as units_section
from pyro_vae.errors import InputError
from pyro_vae.programs.priors import StandardPrior
from pyro_vae.runs import RunConfig, RunDirectory
from tests.units import METRICS, SLOPES, planted, scaled

# The sections, on runs that were never trained.


class Run:
    """What the sections read of a subject."""

    def __init__(self, folder, label, seed, measured, metrics=METRICS, annealing=True):
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            dict(zip(metrics, values, strict=True))
            for values in zip(*metrics.values(), strict=True)
        ]
        RunDirectory(folder).write_metrics(rows)
        model = SimpleNamespace(latent_names=("z1", "z2"), prior=StandardPrior(5))
        config = RunConfig.from_settings(
            {"annealing": {"z2": [0.1, 1.0, 0.5]} if annealing else {}}
        )
        self.run = SimpleNamespace(path=folder, model=model, config=config)
        self.label, self.seed, self.k, self._measured = label, seed, 10, measured
        self.name = f"{label}, seed {seed}"

    def measured(self, name):
        found = self._measured.get(name)
        if found is None:
            raise InputError(f"no {name}")
        return Named(found)


class Study:
    def __init__(self, subjects):
        self.subjects = subjects
        self.labels = list(dict.fromkeys(s.label for s in subjects))
        self.settings = SimpleNamespace(eval_particles=100)

    def of(self, label):
        return [s for s in self.subjects if s.label == label]

    def examples(self):
        return [self.of(label)[0] for label in self.labels]


def terms_around(level, number=40):
    rng = np.random.default_rng(0)
    names = [
        "elbo",
        "bound",
        "log_likelihood",
        "reconstruction",
        "kl_z1",
        "kl_z2",
        "kl_to_posterior",
        "ess",
    ]
    return {name: level + rng.normal(size=number) for name in names} | {
        "khat": np.full(number, np.inf)
    }


@pytest.fixture
def study(tmp_path):
    moments = planted(number=60)
    alive = {"moments_natural": moments, "moments_natural_ew": moments}
    alive["filters"] = {"projective": np.diag(SLOPES)}
    subjects = [
        Run(
            tmp_path / f"{label}{seed}",
            label,
            seed,
            alive | {"terms_natural": terms_around(offset + seed)},
            scaled(offset + seed + 1),
        )
        for label, offset in (("vanilla", 0.0), ("k = 10", 5.0))
        for seed in (0, 1, 2)
    ]
    return Study(subjects)


def built(section, study):
    """Items by name, and the reasons of those that cannot be shown."""
    items, reasons = {}, {}
    for entry in section.entries(study):
        try:
            items[entry.name] = entry.build()
        except InputError as error:
            reasons[entry.name] = str(error)
    return items, reasons


def test_the_training_section(study, tmp_path):
    items, reasons = built(training_section, study)
    assert sorted(items) == ["bounds-in-training", "kl-z2-annealed"]
    assert "train one with --no-anneal" in reasons["kl-z2-not-annealed"]
    assert "both with and without" in reasons["kl-z2-effect-of-annealing"]
    table = items["kl-z2-annealed"].table
    np.testing.assert_allclose(table["end"], [3, 6, 9, 18, 21, 24])
    assert "6.00 ± 3.00 (vanilla, n = 3)" in items["kl-z2-annealed"].sentence
    for seed in (0, 1, 2):
        study.subjects.append(
            Run(tmp_path / f"n{seed}", "vanilla, no annealing", seed, {}, scaled(0.5), False)
        )
    items, reasons = built(training_section, Study(study.subjects))
    assert not reasons
    assert len(items["kl-z2-not-annealed"].table) == 3
    effect = items["kl-z2-effect-of-annealing"].table
    assert list(effect["model"]) == ["vanilla"]
    assert effect["difference"][0] == pytest.approx(6 - 1.5)


def test_the_terms_section(study):
    items, reasons = built(terms_section, study)
    assert sorted(reasons) == ["bounds-at-equal-k-labelled", "terms-labelled"]
    table = items["terms-natural"].table
    quantities = ["bound", "reconstruction", "kl_z1", "kl_z2"]
    assert list(table["quantity"]) == 2 * quantities
    ours = table[table["model"] == "k = 10"]
    np.testing.assert_allclose(ours["difference"], 5.0)
    of_baseline = table[table["model"] == "vanilla"]
    assert of_baseline["difference"].isna().all()
    assert set(of_baseline["note"]) == {"baseline"}
    assert len(items["terms-natural"].figure.axes) == 4
    assert "confounds" in items["terms-natural"].sentence
    assert "K = 100" in items["bounds-at-equal-k-natural"].sentence
    alone = Study(study.of("vanilla")[:1])
    assert "difference" not in built(terms_section, alone)[0]["terms-natural"].table


def test_the_units_section(study):
    items, reasons = built(units_section, study)
    assert not reasons
    assert len(items) == 8
    assert items["z1-moments"].table.groupby("model").size().tolist() == [5, 5]
    assert "k = 10: 3 of 5 active" in items["z1-moments"].sentence
    counts = items["z1-active-units"].table
    assert len(counts) == 12
    assert (counts["active"] == 3).all()
    assert counts["agreement"].notna().all()
    assert "agreement" not in items["z2-active-units"].table
    assert "3.0 ± 0.0 (vanilla, n = 3)" in items["z1-active-units"].sentence
    assert "0 of 5 active" in items["z2-moments"].sentence  # this guide ignores x at z2
    assert len(items["z2-densities-ew"].table) == 10


def test_one_run_that_cannot_be_shown_leaves_the_others(study):
    study.subjects[0]._measured = {}
    items, _ = built(units_section, study)
    assert items["z1-moments"].table["model"].unique().tolist() == ["k = 10"]
    assert len(items["z1-active-units"].table) == 10
    words = [text.get_text() for ax in items["z1-moments"].figure.axes for text in ax.texts]
    assert words == 2 * ["vanilla, seed 0: no moments_natural"]
    for subject in study.subjects:
        subject._measured = {}
    items, reasons = built(units_section, study)
    assert not items
    assert reasons["z2-densities"] == "no moments_natural"
