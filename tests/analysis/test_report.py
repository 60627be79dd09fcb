"""The report: which runs it takes, what it keeps on disk, and a page that stands alone."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_vae
from analysis import report
from analysis.probes.image_rows import first_rows
from analysis.reporting import page
from analysis.reporting.finished import FinishedRun
from analysis.reporting.measurements import MEASUREMENTS
from analysis.reporting.sections import SECTIONS, filters
from analysis.reporting.store import Measurement, Store
from analysis.reporting.study import Settings, Subject, load_study
from pyro_vae.cli import pictures as cli_pictures
from pyro_vae.errors import InputError
from pyro_vae.objectives import OBJECTIVES, num_proposals
from pyro_vae.objectives.catalogue import CATALOGUE
from pyro_vae.runs import RunConfig
from pyro_vae.storage import load_checkpoint, save_checkpoint
from tests.conftest import changed_by_hand, run_fit

PATCHES = ("--patch-size", "6", "--components", "16", "--num-train", "200", "--batch-size", "50")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Finished runs on tiny natural patches: vanilla and k = 3, two seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_pictures, "draw", lambda *args: None)
        for name, objective, k in (("vanilla", "elbo-analytic", 1), ("k3", "iwae", 3)):
            for seed in (0, 1):
                path = folder / f"{name}-seed{seed}"
                flags = ("--objective", objective, "--num-particles", str(k), "--seed", str(seed))
                assert run_fit(*PATCHES, *flags, "--run-dir", str(path)) == 0
                found[path.name] = path
    return found


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Of the runs; what a report shows is drawn anew."""
    monkeypatch.setattr(cli_pictures, "draw", lambda *args: None)


@pytest.fixture
def coarse(monkeypatch):
    """Fewer filters of noise, and figures of few dots."""
    monkeypatch.setattr(filters, "NULL_FILTERS", 12)
    monkeypatch.setattr(page, "DPI", 40)


def study_of(paths, tmp_path, measurements=None, **settings):
    store = Store(tmp_path / "measured", measurements or {})
    return load_study([*paths], Settings(**settings), store)


def test_runs_are_models_by_seed(runs, tmp_path):
    order = ("k3-seed1", "vanilla-seed0", "k3-seed0", "vanilla-seed1")
    study = study_of([runs[name] for name in order], tmp_path)
    assert study.labels == ["k = 3", "vanilla"]
    assert [s.seed for s in study.of("k = 3")] == [0, 1]
    assert [s.name for s in study.examples()] == ["k = 3, seed 0", "vanilla, seed 0"]
    assert [s.weighted for s in study.examples()] == [True, False]
    assert study.left_out == {}


def test_other_data_and_unfinished_runs_are_left_out_with_the_reason(runs, tmp_path):
    other = tmp_path / "other"
    assert run_fit(*PATCHES, "--components", "9", "--run-dir", str(other)) == 0
    unfinished = tmp_path / "unfinished"
    shutil.copytree(runs["k3-seed0"], unfinished)
    (unfinished / "summary.json").unlink()
    first = runs["vanilla-seed0"]
    study = study_of([first, other, unfinished, tmp_path / "none", first], tmp_path)
    assert [s.run.path for s in study.subjects] == [first]
    reasons = study.left_out
    assert "components is 16" in reasons[str(other)]
    assert "there is no" in reasons[str(unfinished)]
    assert str(tmp_path / "none") in reasons
    assert reasons[str(first)] == "the run is named twice"
    with pytest.raises(InputError, match="there is no run to report on"):
        study_of([unfinished], tmp_path)


def test_a_run_whose_data_changed_is_left_out_with_the_reason(runs, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(runs["k3-seed0"], changed)
    changed_by_hand(changed)
    config = changed / "config.json"
    entries = json.loads(config.read_text())
    other = {"data_checksum": "a" * 64, "data_sketch": [2 * x for x in entries["data_sketch"]]}
    config.write_text(json.dumps(entries | other))
    first = tmp_path / "first"
    shutil.copytree(runs["vanilla-seed0"], first)
    changed_by_hand(first)
    entries = json.loads((first / "config.json").read_text())
    del entries["data_checksum"]  # as runs of 0.4 are, of which the recorded facts are compared
    (first / "config.json").write_text(json.dumps(entries))
    study = study_of([first, changed], tmp_path)
    assert [s.run.path for s in study.subjects] == [first]
    assert "the data are not those that" in study.left_out[str(changed)]
    with pytest.raises(InputError, match="there is no run to report on"):
        study_of([changed], tmp_path)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_whether_a_run_is_weighted_is_what_the_catalogue_says(name):
    """The same number that chooses whether the draws of posterior.nc are from q or from q_EW."""
    inner = {"inner": 2} if "inner" in CATALOGUE[name].settings else {}
    for k in (1, 4):
        run = FinishedRun(
            "x",
            None,
            None,
            RunConfig.from_settings({"objective": name, "num_particles": k, **inner}),
        )
        subject = Subject(run, "label", Settings(), None)
        assert subject.proposals == num_proposals(name, k, inner)
        assert subject.weighted == (subject.proposals > 1)
    assert subject.weighted == CATALOGUE[name].weighted


def test_labels_name_the_folder_where_runs_share_model_and_seed(runs, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(runs["k3-seed0"], copy)
    plain = tmp_path / "plain"
    assert run_fit(*PATCHES, "--no-anneal", "--guide", "meanfield", "--run-dir", str(plain)) == 0
    study = study_of([runs["k3-seed0"], copy, plain], tmp_path)
    assert study.labels == [
        "top-down, k = 3 (k3-seed0)",
        "top-down, k = 3 (copy)",
        "mean-field, k = 2, no annealing",
    ]


def test_labelled_data_share_the_preprocessing_or_are_the_data_themselves(runs, images, tmp_path):
    (subject,) = study_of([runs["k3-seed1"]], tmp_path).subjects
    assert torch.equal(subject.labelled.whitening.components, subject.natural.whitening.components)
    assert len(subject.labelled.label_names) == 5
    plain = tmp_path / "plain"
    assert run_fit("--dataset", str(images), "--batch-size", "20", "--run-dir", str(plain)) == 0
    (subject,) = study_of([plain], tmp_path).subjects
    with pytest.raises(InputError, match="have no labels; --labelled names a file that has"):
        _ = subject.labelled
    rng = np.random.default_rng(0)
    own = tmp_path / "own.npz"
    arrays = {f"x_{part}": rng.random((40, 4, 4)).astype("f4") for part in ("train", "test")}
    labels = {f"y_{part}": np.arange(40) % 3 for part in ("train", "test")}
    np.savez(own, **arrays, **labels)
    (subject,) = study_of([plain], tmp_path, labelled=str(own)).subjects
    assert subject.labelled.labels["test"].unique().tolist() == [0, 1, 2]
    np.savez(own, **arrays)
    (subject,) = study_of([plain], tmp_path, labelled=str(own)).subjects
    with pytest.raises(InputError, match="has no labels"):
        _ = subject.labelled


def test_binary_training_rows_are_drawn_before_they_are_weighed(tmp_path):
    """They are kept as probabilities, which no Bernoulli pixel can have."""
    rng = np.random.default_rng(0)
    images = {f"x_{part}": rng.random((60, 4, 4)).astype("f4") for part in ("train", "test")}
    labels = {f"y_{part}": np.arange(60) % 3 for part in ("train", "test")}
    np.savez(tmp_path / "digits.npz", **images, **labels)
    flags = ("--model", "burda1", "--guide", "bottomup", "--batch-size", "20")
    run = tmp_path / "run"
    assert run_fit("--dataset", tmp_path / "digits.npz", *flags, "--run-dir", run) == 0
    (subject,) = study_of([run], tmp_path, MEASUREMENTS, moment_draws=2, weighted_groups=2).subjects
    assert subject.weighted
    assert subject.natural.train.unique().numel() > 2
    for split in ("train", "test"):
        rows = first_rows(subject.natural, split, 20)
        assert rows.unique().tolist() == [0, 1]
        assert subject.measured(f"moments_labelled_{split}_ew").z1_mean.shape[1] == 50


def test_settings_refuse_numbers_too_small():
    with pytest.raises(InputError, match="--draws must be"):
        Settings(draws=1)
    assert Settings(seed=0).seed == 0


def counting(calls):
    def compute(subject: Subject):
        calls.append(subject.name)
        return {"values": np.full(3, subject.settings.draws, "f4")}

    return {"draws": Measurement(compute, ("draws",))}


def test_measurements_are_kept_until_what_they_depend_on_changes(runs, tmp_path):
    calls = []
    path = tmp_path / "run"
    shutil.copytree(runs["k3-seed0"], path)

    def measured(**settings):
        (subject,) = study_of([path], tmp_path, counting(calls), **settings).subjects
        assert subject.store.missing(subject) in ([], ["draws"])
        return subject.measured("draws")["values"].tolist()

    assert measured(draws=5) == [5.0] * 3
    assert measured(draws=5, patches=7) == [5.0] * 3  # patches do not enter
    assert len(calls) == 1
    assert measured(draws=6) == [6.0] * 3
    assert len(calls) == 2
    content = load_checkpoint(path / "checkpoint.pt")
    save_checkpoint(path / "checkpoint.pt", {**content, "seconds": -1.0})
    assert measured(draws=5) == [5.0] * 3
    assert len(calls) == 3
    (subject,) = study_of([path], tmp_path, counting(calls)).subjects
    with pytest.raises(InputError, match="measurement 'other'"):
        subject.measured("other")


SMALL = (
    "--test-size",
    "12",
    "--eval-particles",
    "4",
    "--labelled-train",
    "60",
    "--labelled-test",
    "40",
    "--moment-draws",
    "4",
    "--weighted-groups",
    "2",
    "--patches",
    "6",
    "--weighted-patches",
    "3",
    "--draws",
    "30",
    "--stimuli",
    "4",
    "--refit-steps",
    "5",
    "--jobs",
    "1",
)


def reported(capsys, *arguments):
    """Exit code of the command, what it printed, and the text of its page without pictures."""
    code = report.main([str(word) for word in arguments])
    out, err = capsys.readouterr()
    folder = Path(arguments[arguments.index("--out") + 1])
    page = (folder / "report.html").read_text(encoding="utf-8")
    return code, out, err, re.sub(r'src="data:[^"]*"', "", page)


@pytest.mark.slow
def test_the_command_builds_every_entry_for_models_with_seeds(runs, tmp_path, capsys, coarse):
    out = tmp_path / "report"
    paths = (runs["vanilla-seed0"], runs["vanilla-seed1"], runs["k3-seed0"])
    words = (*paths, "--out", out, *SMALL)
    code, said, err, page = reported(capsys, *words)
    assert (code, err) == (0, "")
    assert "measured vanilla, seed 1 (" in said
    assert "Failed:" not in page
    study = study_of(paths, tmp_path)
    names = [entry.name for _, entries in SECTIONS for entry in entries(study)]
    assert len(names) == len(set(names))
    for name in names:  # an item, or the reason why there is none, under its heading
        assert f'id="{name}"' in page, name
    for fact in ("k3-seed0", "z2: 0.1 to 1 in 50%", "draws 30", f"pyro_vae {pyro_vae.__version__}"):
        assert fact in page
    # The summary comes first, and all that it and the contents link to is there.
    lead = page[page.index("What these runs show</h2>") : page.index("Runs and settings</h2>")]
    for words in (
        "The bound on log p(x) with 4 particles is",
        "Labels are decoded with an accuracy",
    ):
        assert words in lead
    assert "Training adds to the ELBO of the start: " in lead
    assert "The summary failed" not in page
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(re.findall(r'id="([^"]*)"', page))
    terms = pd.read_csv(out / "tables/terms-natural.csv")
    assert set(terms["model"]) == {"vanilla", "k = 3"}


@pytest.mark.slow
def test_the_command_says_what_one_run_without_labels_cannot_show(images, tmp_path, capsys, coarse):
    plain = tmp_path / "plain"
    one_level = ("--model", "burda1", "--guide", "bottomup", "--dataset", str(images))
    one_level += ("--latent", "8", "--hidden", "20")
    assert run_fit(*one_level, "--batch-size", "20", "--run-dir", str(plain)) == 0
    out = tmp_path / "report"
    code, said, err, page = reported(capsys, plain, tmp_path / "none", "--out", out, *SMALL)
    # A mistyped run does not go by: the report is built without it, and the command says so.
    assert code == 1
    assert f"left out: {tmp_path / 'none'}" in said
    assert err.startswith(f"report: left out: {tmp_path / 'none'}: there is no")
    assert err.count("\n") == 1
    assert "Failed:" not in page
    assert "have no labels; --labelled names a file that has" in page
    assert report.main([str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "there is no run to report on" in capsys.readouterr().err
    assert "not shown, with reasons on the page: " in said
    taken = tmp_path / "taken"
    taken.write_text("a file")
    for flags, message in (
        (("--draws", "1"), "--draws must be"),
        (("--labelled", "nonsense"), "unknown dataset 'nonsense'"),
        (("--out", str(taken)), str(taken)),
    ):  # all before anything is measured
        assert report.main([str(plain), "--out", str(out), *flags]) == 2
        out_lines, err = capsys.readouterr()
        assert message in err
        assert len(err.splitlines()) == 1
        assert out_lines == ""
