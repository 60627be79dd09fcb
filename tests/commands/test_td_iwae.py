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
from experiments.campaign import budget, runner
from experiments.campaign.cell import Place
from experiments.campaign.plan import Request, read_plan
from experiments.campaign.runner import Work, workers
from experiments.study import study_campaign
from experiments.study.study_campaign import StudyCampaign
from experiments.study.study_models import Models, cell_of
from pyro_vae.errors import InputError
from pyro_vae.runs import RunDirectory, job, load_run
from tests.commands.studies import cheap_studies, command, rows_of, same_training
from tests.conftest import few_units

SMALL = ["--models", "vanilla", "1", "2", "--epochs", "2", "--batch-size", "10"]
COMMON = ["--test-size", "5", "--eval-particles", "20", "--init", "random"]


@pytest.fixture(scope="module")
def small():
    """Cheap evaluation, no compiler and no pictures, in all runs of this file."""
    with pytest.MonkeyPatch.context() as patch:
        cheap_studies(patch, latent=(12, 4), hidden=("16",))
        yield


@pytest.fixture
def reported(monkeypatch):
    """The arguments of the calls that would build a report."""
    calls = []
    stub = SimpleNamespace(main=lambda arguments: calls.append(arguments) or 0)
    monkeypatch.setattr(analysis, "report", stub, raising=False)
    return calls


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


def test_a_study_is_trained_and_its_table_is_that_of_its_runs(whole):
    rows = rows_of(whole)
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
        objective = config.objective
        assert objective.name == ("elbo-analytic" if name == "vanilla" else "iwae")
        assert (objective.num_particles, config.training.epochs) == (int(row["num_particles"]), 2)
        assert config.training.annealing == {"z2": (0.1, 1.0, 0.5)}
        assert directory.read_summary()["settings"]["bound_particles"] == objective.num_particles
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
    train, calls = job.fit, []

    def stops(*args, **given):
        calls.append(given["resume"])
        write = given["on_epoch"]

        def on_epoch(history):
            write(history)
            if len(calls) == 2 and len(history) == 2:
                signal.raise_signal(signal.SIGTERM)

        return train(*args, **given | {"on_epoch": on_epoch})

    monkeypatch.setattr(job, "fit", stops)
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
    mine += ["--valid-size", "5", "--posterior-data", "2", "--posterior-draws", "3", "--no-compile"]
    mine += few_units([])
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
    train = job.fit

    def breaks(*args, objective, **given):
        if objective.num_particles == 2:
            raise ValueError("the disk is full\nsecond line")
        return train(*args, objective=objective, **given)

    monkeypatch.setattr(job, "fit", breaks)
    code, out, err = run(*run.new, "--models", 1, 2, "--seeds", 1, "--quiet")
    assert code == 1
    assert "td_iwae.py: k2-seed0 failed: the disk is full (see " in err
    assert "- k = 2, seed 0: failed" in out
    failure = run.folder / "runs" / "k2-seed0" / "failure.txt"
    assert "ValueError: the disk is full" in failure.read_text()
    assert [call[:2] for call in reported] == [[str(failure.parents[1] / "k1-seed0"), "--out"]]
    assert reported[0][-1] == "--quiet"
    monkeypatch.setattr(job, "fit", train)
    # It never began: what it left is no run.
    config = RunDirectory(failure.parents[1] / "k1-seed0").read_config()
    objective = dataclasses.replace(config.objective, num_particles=2)
    RunDirectory(failure.parent).write_config(dataclasses.replace(config, objective=objective))
    code, out, _ = run("--resume")
    assert code == 0
    assert "k2-seed0: finished" in out
    assert not failure.exists()
    assert load_run(failure.parent).config.objective.num_particles == 2


def test_a_cell_that_diverged_is_told_and_left_out_of_the_report(run, monkeypatch, reported):
    train = job.fit

    def breaks(model, guide, *args, objective, **given):
        if objective.num_particles == 2:
            with torch.no_grad():
                next(guide.parameters()).fill_(float("nan"))
        return train(model, guide, *args, objective=objective, **given)

    monkeypatch.setattr(job, "fit", breaks)
    code, out, _ = run(*run.new, "--models", 1, 2, "--seeds", 1)
    assert code == 0
    assert "k2-seed0: diverged: step 1" in out
    assert "- k = 2, seed 0: diverged" in out
    assert [Path(path).name for path in reported[0][:1]] == ["k1-seed0"]
    monkeypatch.setattr(job, "fit", train)
    assert "k2-seed0: diverged before" in run("--resume")[1]


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


def test_a_process_whose_parent_is_gone_stops_with_a_checkpoint(whole, tmp_path):
    long = dataclasses.replace(read_plan(whole / "plan.json", Models), epochs=40)
    late = []  # a signal that comes when nothing is trained
    before = signal.signal(signal.SIGTERM, lambda *args: late.append(args))
    try:
        work = Work(StudyCampaign(), long, tmp_path, quiet=True, parent=1)
        found = runner.train_chain(work, [Place(work.room, cell_of("1"), 0)])
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
    campaign = StudyCampaign()
    planned = campaign.read_plan(whole / "plan.json")
    flags = td_iwae.parser().parse_args(
        ["--models", "2", "vanilla", "1", "4", "--seeds", "3", "--also-without-annealing"]
    )
    more = planned.resumed(campaign.request(flags), tmp_path)
    assert (more.selection.models, more.seeds) == (("vanilla", "1", "2", "4"), 3)
    assert len(more.trainings) == 4 * 3 + 4
    assert more.trainings[:2] == planned.trainings[:2]
    *_, place = more.places(tmp_path / "runs")
    assert place.name == "k4-noanneal-seed0"
    config = campaign.config(more, place.cell, 0)
    assert config.training.annealing == {}
    assert campaign.config(more, planned.cells[0], 0).training.annealing != {}
    place.directory.path.mkdir(parents=True)
    place.directory.write_config(campaign.config(more, cell_of("4"), 0).with_facts(num_pixels=16))
    with pytest.raises(InputError, match=r"holds a run with annealing = .'z2': "):
        runner._train(Work(campaign, more, tmp_path), place)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(InputError, match=r"plan.json is damaged: KeyError\('models'\)"):
        campaign.read_plan(tmp_path / "plan.json")


def test_a_plan_of_0_4_is_read():
    folder = Path(td_iwae.__file__).parent / "results" / "td_iwae"
    found = StudyCampaign().read_plan(folder / "plan.json")
    assert found.selection == Models(("vanilla", "1", "10"), False)
    assert (found.seeds, found.epochs, found.version) == (3, 20, "0.4.0")
    more = found.resumed(Request(Models(None, True)), folder)
    with (folder / "study.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    known = {(row["model"], row["seed"], row["annealed"]) for row in rows}
    planned = {
        (cell.label, str(seed), str("annealing" not in cell.settings))
        for cell, seed in more.trainings
    }
    assert known <= planned


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
    campaign = StudyCampaign()
    flags = ["--models", "vanilla", "1", "10", "--seeds", "2", "--budget", "60", *COMMON]
    asked = campaign.request(td_iwae.parser().parse_args(flags))
    made = campaign.new_plan(asked, "cpu", 2, None)
    assert (made.shared["num_train"], made.shared["recipe"]) == (10_000, "minutes-patches")
    vanilla, one, ten = (cell.kind for cell in made.cells)
    times = budget.Times({vanilla: 1.0, one: 2.0, ten: 10.0}, {(): 0.4})
    kept = campaign.config(made, made.cells[0], 0).evaluation
    draws = kept.posterior_data * kept.posterior_draws

    def judging(k):
        return budget.START_SECONDS + 5 * 0.4 + draws * k * 0.4 / 20

    def fitted(made, times):
        return budget.with_epochs(campaign, made, times, 1_000)

    assert budget.judging_seconds(campaign, made, cell_of("10"), 0.4) == pytest.approx(judging(10))
    # Two at a time: both cells of k = 10, then both of k = 1, then both of vanilla.
    seconds = 60 * 60 * (1 - budget.SLACK) - judging(10) - 2 * judging(1)
    assert fitted(made, times).epochs == seconds // 13
    tenth = dataclasses.replace(made, budget_minutes=1e6)
    assert fitted(tenth, times).epochs == 5_000
    slow = budget.Times(dict.fromkeys(times.epoch, 1e3), {(): 0.4})
    wanted = math.ceil((3e3 + judging(10) + 2 * judging(1)) / (1 - budget.SLACK) / 60)
    with pytest.raises(InputError, match=f"6 cells with --jobs 2: that takes about {wanted} min"):
        fitted(made, slow)
    both = budget.slowest([times, budget.Times({vanilla: 3.0, one: 1.0, ten: 10.0}, {(): 0.1})])
    assert both == ({vanilla: 3.0, one: 2.0, ten: 10.0}, {(): 0.4})


def test_a_budget_is_planned_with_measured_times(run, monkeypatch):
    monkeypatch.setattr(budget, "START_SECONDS", 0.0)
    monkeypatch.setattr(study_campaign, "MOST_EPOCHS", 3)
    flags = ["--models", "1", "--seeds", "1", "--budget", "2", *COMMON, "--batch-size", "10"]
    code, out, err = run(*flags, *run.new[-2:])
    assert code == 0, err
    assert "measuring the time of a step" in out
    made = json.loads((run.folder / "plan.json").read_text())
    assert made["budget_minutes"] == 2
    assert 1 <= made["epochs"] <= 3
    assert "(budget 2)" in out
    assert Path(made["shared"]["dataset"]).is_file()


def test_the_command_is_told_by_the_name_it_was_typed_with(capsys):
    assert td_iwae.main(["--resume"], prog="pyro-vae study") == 2
    assert capsys.readouterr().err.startswith("pyro-vae study: --resume wants --run-dir DIR")
    with pytest.raises(SystemExit):
        td_iwae.main(["--help"], prog="pyro-vae study")
    out = capsys.readouterr().out
    assert "pyro-vae study --budget 120 --preset paper" in out
    assert "S0" not in out
