"""What a reader of the report meets first: names, titles, the start, what lies beyond chance."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from analysis.measures.by_name import Named
from analysis.reporting import findings, naming, over_patches
from analysis.reporting.finished import read_run
from analysis.reporting.sections import SECTIONS, correlation, information, start, terms
from analysis.reporting.store import Store
from analysis.reporting.study import Settings, load_study
from analysis.reporting.titles import TITLES, title_of
from pyro_vae.cli import pictures as cli_pictures
from pyro_vae.errors import InputError
from pyro_vae.runs import RunConfig
from tests.conftest import changed_by_hand, run_fit

FLAGS = ("--patch-size", "6", "--components", "16", "--num-train", "200", "--batch-size", "50")
FLAGS += ("--objective", "iwae", "--num-particles", "3", "--recipe", "minutes-patches")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """The same run from the data and from random weights."""
    folder = tmp_path_factory.mktemp("twins")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_pictures, "draw", lambda *args: None)
        for init in ("data", "random"):
            assert run_fit(*FLAGS, "--init", init, "--run-dir", str(folder / init)) == 0
    return folder / "data", folder / "random"


def study_of(paths, tmp_path, measurements=None, **settings):
    store = Store(tmp_path / "measured", measurements or {})
    return load_study([*paths], Settings(**settings), store)


def retrained(run, folder, **settings):
    """A copy of a finished run with other entries in ``config.json``, and other steps."""
    shutil.copytree(run, folder)
    changed_by_hand(folder)
    config, summary = folder / "config.json", folder / "summary.json"
    found = json.loads(summary.read_text())
    found["run"]["steps"] = settings.pop("steps", found["run"]["steps"])
    summary.write_text(json.dumps(found))
    config.write_text(json.dumps(json.loads(config.read_text()) | settings))
    return folder


def twin_in(study):
    return naming.random_twin(study.subjects[0].run, [one.run for one in study.subjects])


def test_runs_are_named_by_what_differs_and_a_twin_is_found(twins, tmp_path):
    data, random = twins
    study = study_of(twins, tmp_path)
    assert study.labels == ["k = 3, start from the data", "k = 3, random start"]
    assert twin_in(study) == naming.Twin(study.subjects[1].run, "")
    assert twin_in(study_of([random, data], tmp_path)) is None
    # One run alone has nothing to be told apart from.
    assert study_of([data], tmp_path).labels == ["k = 3"]
    # Another learning rate stands in the name of runs that share all else.
    other = retrained(random, tmp_path / "other", lr=0.125)
    labels = study_of([random, other], tmp_path).labels
    assert labels[1] == "k = 3 (lr 0.125)"
    assert labels[0].startswith("k = 3 (lr 0.0")


def test_a_twin_that_was_trained_otherwise_says_how(twins, tmp_path):
    data, random = twins
    trained = {"recipe": "vas", "lr": 0.125, "epochs": 7, "batch_size": 25, "steps": 2400}
    trained["annealing"] = {"z2": [0.5, 1.0, 0.25]}
    other = retrained(random, tmp_path / "other", **trained)
    words = "recipe vas, lr 0.125, annealing z2: 0.5 to 1 in 25%, batch size 25, 2400 steps"
    study = study_of([data, other], tmp_path)
    assert twin_in(study) == naming.Twin(study.subjects[1].run, words)
    assert study.labels == ["k = 3, start from the data", "k = 3, random start"]
    table = start.stages(study.subjects[0], study)
    assert table.stage.iloc[-1] == f"{start.TWIN} ({words})"
    (sentence, entry) = findings._training(study)
    assert f"its {start.TWIN} ({words}) ends at {table.elbo.iloc[-1]:.1f}" in sentence
    assert entry == "start-and-training"
    assert sentence.count(" nats, from ") == 1  # what the twin gained is not the start's
    # Of two twins the one that differs in less, wherever it stands.
    nearer = retrained(random, tmp_path / "nearer", lr=0.125)
    assert twin_in(study_of([data, other, nearer], tmp_path)).differs == "lr 0.125"


@pytest.mark.parametrize(
    "settings",
    [
        {"num_particles": 4},
        {"objective": "dreg"},
        {"guide": "meanfield"},
        {"prior": "learned"},
        {"seed": 1},
        {"preset": "paper"},
    ],
)
def test_a_run_of_another_pair_objective_or_seed_is_no_twin(twins, tmp_path, settings):
    data, random = twins
    runs = [naming_only(run) for run in (data, random)]
    assert naming.random_twin(runs[0], runs).run is runs[1]
    runs[1] = naming_only(random, **settings)
    assert naming.random_twin(runs[0], runs) is None


def naming_only(path, **settings):
    """A run with other settings, of which nothing is asked but these."""
    run = read_run(path)
    return dataclasses.replace(
        run, config=RunConfig.from_settings(run.config.settings | settings, run.config.facts)
    )


def test_the_start_stands_beside_the_trained_run_and_its_twin(twins, tmp_path):
    study = study_of(twins, tmp_path)
    table = start.stages(study.subjects[0], study)
    alone = f"{start.ALONE} (start from the data)"
    assert table.stage.tolist() == [alone, start.TRAINED, start.TWIN]
    for stage, run in zip(table.itertuples(), (0, 0, 1), strict=True):
        own = start.summary_of(study.subjects[run].run)
        found = own.start if stage.stage == alone else own
        estimate = found.estimate("elbo")
        assert (stage.elbo, stage.elbo_error) == (estimate.mean, estimate.standard_error)
        assert stage.active_z1 == found.active_units["z1"].active
    assert table.elbo.nunique() == 3


def test_errors_are_over_patches_where_there_is_one_seed(tmp_path):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=30), rng.normal(size=30), rng.normal(size=30)]
    subjects = [
        SimpleNamespace(label=name, name=name, seed=seed, measured=lambda _, v=value: Named(elbo=v))
        for name, seed, value in zip("abc", (0, 0, 1), values, strict=True)
    ]
    study = SimpleNamespace(subjects=subjects, labels=[*"abc"], examples=lambda: subjects)
    assert over_patches.one_seed(study)
    table = terms.data_terms(study, "natural", ["elbo"])
    for row, own in zip(table.itertuples(), values, strict=True):
        assert row.mean == pytest.approx(own.mean())
        assert row.standard_error == pytest.approx(own.std(ddof=1) / 30**0.5)
    difference = values[1] - values[0]
    assert table.difference[1] == pytest.approx(difference.mean())
    error = difference.std(ddof=1) / 30**0.5
    assert table.standard_error_of_difference[1] == pytest.approx(error)
    # Not to itself, nor to a run of another seed, which has other patches.
    assert table.difference.isna().tolist() == [True, False, True]
    study.subjects = [*subjects, subjects[0]]
    assert not over_patches.one_seed(study)


def test_every_item_has_a_title_in_words(twins, tmp_path):
    names = [e.name for _, entries in SECTIONS for e in entries(study_of(twins, tmp_path))]
    for name in names:
        assert title_of(name).startswith(tuple(TITLES.values())), name
    assert title_of("samples-2") == "Samples beside data (2)"
    assert title_of("z2-moments-ew").endswith(", under q_EW")


def one_seed_each(**found):
    """A study of one run of every model, each with its own arrays of any measurement."""
    runs = {
        name: SimpleNamespace(
            label=name,
            name=name,
            seed=0,
            weighted=False,
            settings=Settings(),
            measured=lambda _, own=own: own,
        )
        for name, own in found.items()
    }
    return SimpleNamespace(
        subjects=[*runs.values()],
        labels=[*runs],
        examples=lambda: [*runs.values()],
        of=lambda name: [runs[name]],
    )


def test_with_one_seed_accuracies_have_binomial_errors():
    def decoded(accuracy):
        return Named(
            z2_accuracy=np.full(5, accuracy),
            z2_units=np.array(4),
            chance=np.array(0.2),
            num_test=np.array(400),
        )

    study = one_seed_each(a=decoded(0.5), b=decoded(0.8))
    (row,) = entry(information, study, "decoding-models-paired").table.itertuples()
    assert (row.model, row.baseline) == ("b", "a")
    assert row.difference == pytest.approx(0.3)
    assert row.standard_error == pytest.approx((0.25 / 400 + 0.16 / 400) ** 0.5)


def test_with_one_seed_correlations_are_paired_by_patch():
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(30, 1))  # what a patch has in every model

    def found(more, count):
        r = np.hstack([0.3 + more + 0.01 * patches[:count]] * 10)
        return Named(strongest=-r, shuffled=np.full((count, 10), 0.1))

    study = one_seed_each(a=found(0.0, 30), b=found(0.2, 20))  # the first 20 of the same patches
    table = entry(correlation, study, "correlation-paired").table
    assert table["mean"].to_numpy() == pytest.approx(
        [0.2 + 0.01 * patches.mean(), 0.4 + 0.01 * patches[:20].mean()]
    )
    assert table.difference[1] == pytest.approx(0.2)
    assert table.standard_error_of_difference[1] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(InputError, match="there is one model"):
        entry(correlation, one_seed_each(a=found(0.0, 30)), "correlation-paired")


def entry(section, study, name):
    """An item of a section by its name."""
    (found,) = [one for one in section.entries(study) if one.name == name]
    return found.build()
