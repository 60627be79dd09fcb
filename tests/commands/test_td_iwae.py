"""td_iwae.py on tiny images: plans, resumes, claims, runs of fit.py taken over, and failures."""

import csv
import dataclasses
import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

import analysis
import pyro_vae
from experiments import fit, td_iwae
from experiments.side_by_side import workers
from experiments.study import budget, cells, plan
from experiments.study.plan import Cell
from pyro_vae.cli import pictures
from pyro_vae.errors import InputError
from pyro_vae.runs import RunConfig, RunDirectory, load_run

SMALL = ["--models", "vanilla", "1", "2", "--epochs", "2", "--batch-size", "10"]
COMMON = ["--test-size", "5", "--eval-particles", "20"]


@pytest.fixture(scope="module")
def small():
    """Cheap evaluation, no compiler and no pictures, in all runs of this file."""
    cheap = {"valid_size": 5, "posterior_data": 2, "posterior_draws": 3, "compile": False}
    with pytest.MonkeyPatch.context() as patch:
        chosen = Cell.settings
        patch.setattr(Cell, "settings", lambda cell, made: cheap | chosen(cell, made))
        patch.setattr(pictures, "draw", lambda *args: None)
        yield


@pytest.fixture
def reported(monkeypatch):
    """The arguments of the calls that would build a report."""
    calls = []
    stub = SimpleNamespace(main=lambda arguments: calls.append(arguments) or 0)
    monkeypatch.setattr(analysis, "report", stub, raising=False)
    return calls


def command(*flags):
    threads = torch.get_num_threads()
    try:
        return td_iwae.main([*map(str, flags), "--jobs", "1"])
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, images, small):
    """An unbroken study of three models with two seeds."""
    folder = tmp_path_factory.mktemp("whole")
    flags = (*SMALL, *COMMON, "--dataset", images, "--seeds", 2, "--no-report", "--quiet")
    assert command(*flags, "--run-dir", folder) == 0
    return folder


@pytest.fixture
def run(images, small, tmp_path, capsys, reported):
    """The command in a folder of its own; returns exit code, stdout, stderr."""
    threads = torch.get_num_threads()

    def call(*flags, folder=tmp_path / "study"):
        code = command(*flags, "--run-dir", folder)
        return code, *capsys.readouterr()

    call.new = (*SMALL, *COMMON, "--dataset", images)
    call.folder = tmp_path / "study"
    yield call
    torch.set_num_threads(threads)


def figures(folder):
    with (folder / "study.csv").open() as stream:
        return list(csv.DictReader(stream))


def same_training(one, two):
    first, second = (RunDirectory(path) for path in (one, two))
    states = [torch.load(d.checkpoint, weights_only=True) for d in (first, second)]
    for part in ("model", "guide"):
        for name, tensor in states[0][part].items():
            assert torch.equal(tensor, states[1][part][name]), name
    assert first.metrics.read_bytes() == second.metrics.read_bytes()
    assert first.read_summary()["test"] == second.read_summary()["test"]


def test_a_study_is_trained_and_its_table_is_that_of_its_runs(whole):
    rows = figures(whole)
    assert [(r["model"], r["seed"], r["status"]) for r in rows] == [
        (model, seed, "finished") for model in ("vanilla", "k = 1", "k = 2") for seed in "01"
    ]
    for row in rows:
        name = row["model"].replace(" = ", "")
        directory = RunDirectory(whole / "runs" / f"{name}-seed{row['seed']}")
        test = directory.read_summary()["test"]
        for quantity in ("bound", "log_likelihood", "reconstruction", "kl_z1", "kl_z2"):
            assert float(row[quantity]) == test[quantity]["mean"]
        config = load_run(directory.path).config
        assert config["objective"] == ("elbo-analytic" if name == "vanilla" else "iwae")
        assert (config["num_particles"], config["epochs"]) == (int(row["num_particles"]), 2)
        assert config["annealing"] == {"z2": (0.1, 1.0, 0.5)}
        assert directory.read_summary()["settings"]["bound_particles"] == config["num_particles"]
    bounds = {m: [float(r["bound"]) for r in rows if r["model"] == m] for m in ("vanilla", "k = 2")}
    assert len({row["bound"] for row in rows}) == 6  # nothing was trained twice
    markdown = (whole / "study.md").read_text()
    mean, sd = np.mean(bounds["k = 2"]), np.std(bounds["k = 2"], ddof=1)
    assert f"| k = 2 | 2 | {mean:.2f} ± {sd:.2f} |" in markdown
    differences = np.subtract(bounds["k = 2"], bounds["vanilla"])
    p = stats.ttest_1samp(differences, 0).pvalue
    spread = f"{differences.mean():.2f} ± {differences.std(ddof=1):.2f} (n = 2)"
    assert f"| k = 2 | L_k at own k | {spread} |" in markdown
    assert f"| {p:.3g} |" in markdown
    kl = {m: [float(r["kl_z1"]) for r in rows if r["model"] == m] for m in ("vanilla", "k = 1")}
    difference = np.mean(np.subtract(kl["k = 1"], kl["vanilla"]))
    assert f"| k = 1 | KL(z1) | {difference:.2f} ± " in markdown
    assert f"the models were trained with pyro_vae {pyro_vae.__version__}, for 0." in markdown
    for text in (
        "L_20",
        "seeds 0 to 1",
        "minutes of this call (no budget)",
        pyro_vae.__version__,
        "command: `python experiments/td_iwae.py --models vanilla 1 2",
    ):
        assert text in markdown, text


def test_interrupted_and_resumed_is_uninterrupted(run, whole, monkeypatch, reported):
    train, calls = pyro_vae.fit, []

    def stops(*args, **given):
        calls.append(given["resume"])
        write = given["on_epoch"]

        def on_epoch(history):
            write(history)
            if len(calls) == 2 and len(history) == 2:
                signal.raise_signal(signal.SIGTERM)

        return train(*args, **given | {"on_epoch": on_epoch})

    monkeypatch.setattr(pyro_vae, "fit", stops)
    code, out, err = run(*run.new, "--seeds", 1)
    assert code == 130
    assert "k2-seed0: finished" in out
    assert "k2-seed0: epoch 2 of 2, validation ELBO" in err
    assert "stopped" in out
    assert "td_iwae.py: stopped; with --resume it goes on" in err
    assert reported == []
    code, _, err = run(*run.new, "--seeds", 1)
    assert code == 2
    assert "holds a study already; go on with --resume" in err
    calls[:] = [None, None]
    code, out, _ = run("--resume")  # nothing else is needed
    assert code == 0
    assert calls[2:] == [True, False]
    assert out.count("done before") == 1
    names = ["vanilla-seed0", "k1-seed0", "k2-seed0"]
    for name in names:
        same_training(whole / "runs" / name, run.folder / "runs" / name)
    runs = [str(run.folder / "runs" / name) for name in names]
    assert reported == [[*runs, "--out", str(run.folder / "report"), "--jobs", "1"]]
    assert "one seed: no spread and no test" in out
    assert run("--resume")[1].count("done before") == 3


def test_a_run_of_fit_by_hand_is_taken_over(run, whole, images):
    """With the plan's settings it is done; with others it fails, and the rest goes on."""
    _, threads = workers(1, torch.device("cpu"))  # sums of as many parts have the same bits
    torch.set_num_threads(threads)
    mine = ["--objective", "iwae", "--dataset", str(images), *SMALL[4:], *COMMON, "--quiet"]
    for kind, seed in ((["1"], 0), (["2", "--lr", "0.01"], 1)):
        path = run.folder / "runs" / f"k{kind[0]}-seed{seed}"
        flags = [*mine, "--num-particles", *kind, "--seed", str(seed), "--run-dir", str(path)]
        assert fit.main(flags) == 0
    byhand = run.folder / "runs" / "k1-seed0"
    same_training(whole / "runs" / "k1-seed0", byhand)  # fit.py's run is the command's
    before = (byhand / "summary.json").stat().st_mtime_ns
    code, out, err = run(*run.new, "--models", 1, 2, "--seeds", 2, "--data-dir", run.folder)
    assert code == 1
    assert "k1-seed0: done before" in out
    assert (byhand / "summary.json").stat().st_mtime_ns == before
    assert "k2-seed1 holds a run with lr = 0.01, the plan has 0.001; move it away" in err
    assert "k1-seed1: finished" in out
    assert "No differences: they want vanilla" in out


def test_a_cell_that_fails_is_told_and_tried_again(run, monkeypatch, reported):
    train = pyro_vae.fit

    def breaks(*args, objective, **given):
        if objective.num_particles == 2:
            raise ValueError("the disk is full\nsecond line")
        return train(*args, objective=objective, **given)

    monkeypatch.setattr(pyro_vae, "fit", breaks)
    code, out, err = run(*run.new, "--models", 1, 2, "--seeds", 1, "--quiet")
    assert code == 1
    assert "td_iwae.py: k2-seed0 failed: the disk is full (see " in err
    assert "- k = 2, seed 0: failed" in out
    failure = run.folder / "runs" / "k2-seed0" / "failure.txt"
    assert "ValueError: the disk is full" in failure.read_text()
    assert [call[:2] for call in reported] == [[str(failure.parents[1] / "k1-seed0"), "--out"]]
    assert reported[0][-1] == "--quiet"
    monkeypatch.setattr(pyro_vae, "fit", train)
    # It never began: what it left is no run.
    config = RunDirectory(failure.parents[1] / "k1-seed0").read_config()
    RunDirectory(failure.parent).write_config(config | {"num_particles": 2})
    code, out, _ = run("--resume")
    assert code == 0
    assert "k2-seed0: finished" in out
    assert not failure.exists()
    assert load_run(failure.parent).config["num_particles"] == 2


def test_a_claimed_cell_is_left_to_who_has_it(run, reported):
    flags = (*run.new, "--models", 1, 2, "--seeds", 1)
    with (
        RunDirectory(run.folder / "claims" / "k1-seed0").locked(),  # by this command
        RunDirectory(run.folder / "runs" / "k2-seed0").locked(),  # by fit.py
    ):
        code, out, _ = run(*flags)
    assert code == 0
    assert out.count("another process is at it") == 2
    assert "no report yet: another process is at k1-seed0, k2-seed0" in out
    assert reported == []
    code, out, _ = run("--resume", "--no-report")
    assert code == 0
    assert out.count("-seed0: finished") == 2
    assert reported == []


def test_a_process_whose_parent_is_gone_stops_with_a_checkpoint(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "LOOK_EVERY_SECONDS", 0.05)
    long = dataclasses.replace(plan.read_plan(whole / "plan.json"), epochs=40)
    late = []  # a signal that comes when nothing is trained
    before = signal.signal(signal.SIGTERM, lambda *args: late.append(args))
    try:
        found = cells.run_cell(tmp_path, long, Cell("1", 0), None, None, True, parent=1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found == [("k1-seed0", "stopped")]
    assert late == []
    assert (tmp_path / "runs" / "k1-seed0" / "checkpoint.pt").is_file()


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--epochs", "3"], "was planned with epochs = 2, not 3; go on with the same"),
        (["--budget", "3"], "was planned with budget_minutes = None, not 3"),
        (["--lr", "0.1"], "was planned with lr = 0.001, not 0.1"),
        (["--batch-size", "7"], "was planned with batch_size = 10, not 7"),
        (["--preset", "paper"], "was planned with preset = small, not paper"),
        (["--dataset", "bsds"], "was planned with dataset = "),
        (["--num-train", "9"], "was planned with num_train = None, not 9"),
        (["--eval-particles", "21"], "was planned with eval_particles = 20, not 21"),
        (["--device", "cuda"], "was planned with device = cpu, not cuda"),
        (["--seeds", "1"], "was planned with 2 seeds; a resume may add some"),
        (["--models", "1", "2", "4"], "a resume may add some, not leave out vanilla"),
        (["--models", "vanilla", "1", "2", "50"], "--eval-particles 20 is fewer"),
    ],
)
def test_a_resume_refuses_another_setting(whole, capsys, flags, match):
    before = (whole / "plan.json").read_text()
    assert command("--run-dir", whole, "--resume", *flags) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert match in err
    assert (whole / "plan.json").read_text() == before


def test_a_resume_may_add_models_seeds_and_runs_without_annealing(whole, tmp_path):
    planned = plan.read_plan(whole / "plan.json")
    flags = td_iwae.parser().parse_args(
        ["--models", "2", "vanilla", "1", "4", "--seeds", "3", "--also-without-annealing"]
    )
    more = plan.resumed_plan(planned, flags, tmp_path)
    assert (more.models, more.seeds) == (("vanilla", "1", "2", "4"), 3)
    assert len(more.cells) == 4 * 3 + 4
    assert more.cells[:2] == planned.cells[:2]
    *_, without = more.cells
    assert without.name == "k4-noanneal-seed0"
    assert without.config(more)["annealing"] == {}
    assert planned.cells[0].config(more)["annealing"] != {}
    with pytest.raises(InputError, match=r"holds a run with annealing = .'z2': "):
        without.check_run(more, Cell("4", 0).config(more))
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(InputError, match=r"plan.json is damaged: KeyError\('models'\)"):
        plan.read_plan(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ([], "give either --budget MINUTES or --epochs N"),
        (["--epochs", "1", "--budget", "1"], "give either --budget MINUTES or --epochs N"),
        (["--epochs", "0"], "--epochs must be a whole number of at least 1, got 0"),
        (["--epochs", "1", "--models", "1", "k4"], "unknown model 'k4'; allowed: vanilla, or a"),
        (["--epochs", "1", "--models", "0"], "unknown model '0'"),
        (["--epochs", "1", "--seeds", "0"], "--seeds must be"),
        (["--epochs", "1", "--preset", "big"], "unknown preset 'big'"),
        (["--epochs", "1", "--jobs", "0"], "--jobs must be"),
        (["--epochs", "1", "--eval-particles", "40"], "is fewer than --num-particles 50"),
        (["--budget", "-1"], "--budget must be positive"),
        (["--budget", "1"], "is too small for one epoch of 15 cells with --jobs 1: that takes"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_plan(tmp_path, capsys, flags, match):
    assert td_iwae.main(["--run-dir", str(tmp_path), "--jobs", "1", *flags]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert match in err
    assert not (tmp_path / "plan.json").exists()
    assert td_iwae.main(["--resume"]) == 2


def test_the_budget_decides_the_epochs_of_all_cells_alike():
    """With known times the plan is a sum that can be done by hand."""
    flags = ["--models", "vanilla", "1", "10", "--seeds", "2", "--budget", "60", *COMMON]
    made = plan.new_plan(td_iwae.parser().parse_args(flags), "cpu", 2)
    assert made.shared["num_train"] == RunConfig().data.num_train  # written down
    times = budget.Times({"vanilla": 1.0, "1": 2.0, "10": 10.0}, 0.4)
    draws = RunConfig().evaluation.posterior_data * RunConfig().evaluation.posterior_draws

    def evaluation(k):
        return budget.START_SECONDS + 5 * 0.4 + draws * k * 0.4 / 20

    assert budget.evaluation_seconds(made, Cell("10", 0), 0.4) == pytest.approx(evaluation(10))
    # Two at a time: both cells of k = 10, then both of k = 1, then both of vanilla.
    seconds = 60 * 60 * (1 - budget.SLACK) - evaluation(10) - 2 * evaluation(1)
    assert budget.with_epochs(made, times).epochs == seconds // 13
    tenth = dataclasses.replace(made, budget_minutes=1e6)
    assert budget.with_epochs(tenth, times).epochs == 5_000
    slow = budget.Times({"vanilla": 1e3, "1": 1e3, "10": 1e3}, 0.4)
    wanted = math.ceil((3e3 + evaluation(10) + 2 * evaluation(1)) / (1 - budget.SLACK) / 60)
    with pytest.raises(InputError, match=f"6 cells with --jobs 2: that takes about {wanted} min"):
        budget.with_epochs(made, slow)
    both = budget.slowest([times, budget.Times({"vanilla": 3.0, "1": 1.0, "10": 10.0}, 0.1)])
    assert both == ({"vanilla": 3.0, "1": 2.0, "10": 10.0}, 0.4)


def test_a_budget_is_planned_with_measured_times(run, monkeypatch):
    monkeypatch.setattr(budget, "START_SECONDS", 0.0)
    monkeypatch.setattr(budget, "MOST_EPOCHS", 3)
    flags = ["--models", "1", "--seeds", "1", "--budget", "2", *COMMON, "--batch-size", "10"]
    code, out, err = run(*flags, *run.new[-2:])
    assert code == 0, err
    assert "measuring the time of a step" in out
    made = json.loads((run.folder / "plan.json").read_text())
    assert made["budget_minutes"] == 2
    assert 1 <= made["epochs"] <= 3
    assert "(budget 2)" in out
    assert Path(made["shared"]["dataset"]).is_file()
