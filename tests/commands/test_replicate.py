"""replicate.py on tiny digits: tables, plans, resumes, claims, and what goes wrong in a cell."""

import csv
import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae
from experiments import replicate
from experiments.campaign import budget, runner
from experiments.campaign.cell import Place
from experiments.campaign.command import Call
from experiments.campaign.plan import Plan, Request, read_plan
from experiments.campaign.runner import Work
from experiments.replication import results
from experiments.replication.burda_rows import RECIPES, cell_of
from experiments.replication.burda_tables import BURDA_TABLES
from experiments.replication.published_table import cells_of
from experiments.replication.table_campaign import Rows, TableCampaign
from experiments.replication.tables import TABLES
from pyro_vae.errors import InputError
from pyro_vae.runs import RunDirectory, job, load_run
from pyro_vae.training import fitting

BURDA1 = (("model", "burda1"),)  # what every pair of one level has of its own
ROOT = Path(replicate.__file__).resolve().parents[1]


SMALL = ("--table", "burda-mnist", "--levels", 1, "--num-particles", 1, 5)


def test_a_table_is_trained_evaluated_and_written(run, tmp_path):
    code, out, err = run(*SMALL, "--epochs", 2, "--seeds", 2)
    assert code == 0
    folder = tmp_path / "results"
    with (folder / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["cell"], r["seed"], r["status"]) for r in rows] == [
        (cell, str(seed), "finished")
        for cell in ("1L-elbo-k1", "1L-elbo-k5", "1L-iwae-k5")
        for seed in (0, 1)
    ]
    markdown = (folder / "table.md").read_text()
    assert markdown in out
    for text in (
        "2 of the recipe's 3280 epochs (0.061 %)",
        "86.47",
        "Burda et al.",
        "(sd ",
        "seed",
        pyro_vae.__version__,
        "the first 20 test images",
        "command: `python",
    ):
        assert text in markdown, text
    assert "1L-elbo-k5-seed1: epoch 2 of 2" in err
    # The estimates are those of the files, computed anew.
    for row in rows:
        path = folder / "cells" / f"{row['cell']}-seed{row['seed']}"
        per_datum = np.load(path / "per_datum.npz")
        assert float(row["nll"]) == pytest.approx(-per_datum["log_likelihood"].mean(), abs=1e-9)
        assert float(row["kl_to_posterior"]) == pytest.approx(
            (per_datum["log_likelihood"] - per_datum["elbo"]).mean(), abs=1e-9
        )
        published = {"1L-elbo-k1": 86.76, "1L-elbo-k5": 86.47, "1L-iwae-k5": 85.54}[row["cell"]]
        assert float(row["nll_difference"]) == pytest.approx(float(row["nll"]) - published)
        config = load_run(path).config
        assert config.training.recipe == "burda"
        assert config.objective.num_particles == int(row["num_particles"])
        assert config.objective.thin is None
        assert (config.data.data_seed, config.seed) == (0, int(row["seed"]))
        assert config.evaluation.test_size == 20
        summary = RunDirectory(path).read_summary()
        assert summary["settings"]["particles"] == int(row["particles"]) == 60
        assert summary["active_units"]["z1"]["active"] == int(row["active_test_z1"])
    # Other seeds are other trainings; the paired column is the difference on the same images.
    assert len({row["nll"] for row in rows}) == len(rows)
    gains = [
        np.load(folder / "cells" / f"1L-iwae-k5-seed{seed}" / "per_datum.npz")["log_likelihood"]
        - np.load(folder / "cells" / f"1L-elbo-k1-seed{seed}" / "per_datum.npz")["log_likelihood"]
        for seed in (0, 1)
    ]
    assert f"{np.mean(gains):+.2f} +-" in markdown


def test_resume_skips_what_is_done_and_goes_on_with_what_is_not(run, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    flags = (*SMALL, "--epochs", 3)
    whole = tmp_path / "whole"
    assert run(*flags, folder=whole)[0] == 0

    # Stopped in the second cell, after its first epoch.
    fit, calls = job.fit, []

    def stops(*args, **settings):
        calls.append(settings["resume"])
        write = settings["on_epoch"]

        def on_epoch(history):
            write(history)
            if len(calls) == 2 and len(history) == 2:
                signal.raise_signal(signal.SIGTERM)

        return fit(*args, **settings | {"on_epoch": on_epoch})

    monkeypatch.setattr(job, "fit", stops)
    code, _, err = run(*flags)
    assert code == 130
    assert "replicate.py: stopped; with --resume it goes on" in err
    assert "not finished" in (folder / "table.md").read_text()
    calls.clear()

    code, _, err = run(*flags)
    assert code == 2
    assert "holds a table already; go on with --resume" in err
    monkeypatch.setattr(job, "fit", lambda *a, **s: calls.append(s["resume"]) or fit(*a, **s))
    code, out, _ = run("--resume")  # nothing else is needed
    assert code == 0
    assert out.count("done before") == 1
    assert calls == [True, False]  # the one that was stopped goes on from its checkpoint
    for name in ("1L-elbo-k1", "1L-elbo-k5", "1L-iwae-k5"):
        found = [
            np.load(path / "cells" / f"{name}-seed0" / "per_datum.npz")["log_likelihood"]
            for path in (whole, folder)
        ]
        np.testing.assert_array_equal(*found)
    code, out, _ = run(*flags, "--resume")
    assert code == 0
    assert out.count("done before") == 3


def test_a_diverged_cell_leaves_the_others_alone(run, tmp_path, monkeypatch):
    fit = job.fit

    def breaks(model, guide, *args, objective, **given):
        if type(objective).__name__ == "ELBO" and objective.num_particles == 5:
            with torch.no_grad():
                next(guide.parameters()).fill_(float("nan"))
        return fit(model, guide, *args, objective=objective, **given)

    monkeypatch.setattr(job, "fit", breaks)
    code, out, _ = run(*SMALL, "--epochs", 1)
    assert code == 0
    assert "1L-elbo-k5-seed0: diverged: step 1" in out
    markdown = (tmp_path / "results" / "table.md").read_text()
    assert "| VAE | 86.47 | diverged |" in markdown
    assert "1L-elbo-k5-seed0 diverged: step 1 (epoch 1)" in markdown
    assert "1L-iwae-k5-seed0: finished" in out
    monkeypatch.setattr(job, "fit", fit)
    # It is not tried again.
    code, out, _ = run(*SMALL, "--epochs", 1, "--resume")
    assert code == 0
    assert "1L-elbo-k5-seed0: diverged before" in out


def test_estimates_that_are_not_finite_count_as_diverged(run, tmp_path, monkeypatch):
    evaluate = results.evaluate

    def breaks(*args, bound_particles, **given):
        found = evaluate(*args, bound_particles=bound_particles, **given)
        lost = np.where(np.arange(len(found.elbo)) == 3, -np.inf, found.log_likelihood)
        return dataclasses.replace(found, log_likelihood=lost) if bound_particles == 5 else found

    monkeypatch.setattr(results, "evaluate", breaks)
    code, out, _ = run("--table", "burda-mnist", "--levels", 1, "--num-particles", 5, "--epochs", 1)
    assert code == 0
    assert "1L-iwae-k5-seed0: diverged: its estimates on test images are not finite" in out
    assert "| VAE | 86.47 | diverged |" in out


def test_a_second_stage_whose_first_one_diverged_is_not_trained(run, tmp_path, monkeypatch):
    fit = job.fit

    def breaks(model, guide, *args, epochs, **given):
        if epochs == 3:
            with torch.no_grad():
                next(guide.parameters()).fill_(float("nan"))
        return fit(model, guide, *args, epochs=epochs, **given)

    monkeypatch.setattr(job, "fit", breaks)
    code, out, _ = run("--table", "switching", "--num-particles", 1, "--epochs", 3)
    assert code == 0
    line = "1L-iwae-k50-then-elbo-k1-seed0: diverged: 1L-iwae-k50-seed0, from which it starts, div"
    assert line in out


def test_a_cell_that_fails_is_told_and_tried_again(run, tmp_path, monkeypatch):
    train = runner.train

    def breaks(config, *args, **given):
        if (config.objective.name, config.objective.num_particles) == ("elbo", 5):
            raise ValueError("the disk is full\nsecond line")
        return train(config, *args, **given)

    monkeypatch.setattr(runner, "train", breaks)
    code, out, err = run(*SMALL, "--epochs", 1, "--quiet")
    assert code == 1
    assert "1L-elbo-k5-seed0 failed: the disk is full (see " in err
    assert "| VAE | 86.47 | failed |" in out
    failure = tmp_path / "results" / "cells" / "1L-elbo-k5-seed0" / "failure.txt"
    assert "ValueError: the disk is full" in failure.read_text()
    monkeypatch.setattr(runner, "train", train)
    code, out, err = run(*SMALL, "--epochs", 1, "--resume")
    assert code == 0
    assert "1L-elbo-k5-seed0: finished" in out
    assert "1L-iwae-k5-seed0: done before" in out


@pytest.mark.slow
def test_cells_side_by_side_and_more_seeds(run, tmp_path, monkeypatch):
    """Two processes find what one does; a resume may add seeds and fills in the reference."""
    monkeypatch.setattr(TableCampaign, "settings", run.settings)  # as other processes have them
    one, two = tmp_path / "one", tmp_path / "two"
    flags = ("--table", "burda-mnist", "--levels", 2, "--num-particles", 1, 5, "--epochs", 1)
    assert run(*flags, folder=one)[0] == 0
    code, out, _ = run(*flags, "--jobs", 2, folder=two)
    assert code == 0
    for name in ("2L-elbo-k1", "2L-iwae-k5"):
        found = [
            np.load(path / "cells" / f"{name}-seed0" / "per_datum.npz")["log_likelihood"]
            for path in (one, two)
        ]
        np.testing.assert_allclose(*found, atol=1e-3)
    assert "| 2 | 5 | IWAE | 83.89 |" in out
    code, out, _ = run(*flags, "--seeds", 2, "--resume", folder=one)
    assert code == 0
    assert "2L-iwae-k5-seed0: done before" in out
    assert "2L-iwae-k5-seed1: finished" in out
    assert "(sd " in out


def test_a_process_whose_parent_is_gone_stops_with_a_checkpoint(digits, tmp_path):
    small = planned(Rows("burda-mnist", (1,), (1,)), epochs=5, test_size=10)
    work = Work(TableCampaign(), small, tmp_path, str(digits), quiet=True, parent=1)
    place = Place(work.room, small.cells[0], 0)
    assert runner.train_chain(work, [place]) == [("1L-elbo-k1-seed0", "stopped")]
    assert place.directory.checkpoint.is_file()
    work = dataclasses.replace(work, parent=os.getppid())
    assert runner.train_chain(work, [place]) == [("1L-elbo-k1-seed0", "finished")]


def test_a_cell_that_another_process_has_claimed_is_left_to_it(run, tmp_path):
    folder = tmp_path / "results"
    places = [Place(folder / "cells", cell_of(1, name, 5), 0) for name in ("elbo", "iwae")]
    with places[0].claim.locked(), places[1].directory.locked():
        code, out, _ = run(*SMALL, "--epochs", 1)
    assert code == 0
    assert "1L-elbo-k5-seed0: another process is at it" in out
    assert "1L-iwae-k5-seed0: another process is at it" in out
    assert "1L-elbo-k1-seed0: finished" in out
    assert not any(place.finished for place in places)
    out = run(*SMALL, "--epochs", 1, "--resume")[1]
    assert out.count("k5-seed0: finished") == 2


def test_a_run_of_another_command_is_no_cell(run, tmp_path):
    flags = ("--table", "burda-mnist", "--levels", 1, "--num-particles", 1, "--epochs", 1)
    assert run(*flags)[0] == 0
    place = Place(tmp_path / "results" / "cells", cell_of(1, "elbo", 1), 0)
    config = place.directory.read_config()
    place.directory.write_config(
        dataclasses.replace(config, data=dataclasses.replace(config.data, binarise="epoch"))
    )
    code, _, err = run("--resume")
    assert code == 1
    assert "1L-elbo-k1-seed0 holds a run with binarise = epoch, the plan has access; move it" in err
    place.directory.write_config(config)
    content = place.directory.read_summary()
    del content["measured"]
    place.directory.write_summary(content)
    code, _, err = run("--resume")
    assert code == 2
    assert "was not written by this command; move 1L-elbo-k1-seed0 away" in err


def test_switching_goes_on_from_the_first_stage(run, tmp_path, monkeypatch):
    fit, starts = job.fit, []

    def watched(model, guide, train, **settings):
        rate = settings["lr_schedule"]
        starts.append((next(model.parameters()).clone(), rate(0.0), settings["epochs"]))
        return fit(model, guide, train, **settings)

    monkeypatch.setattr(job, "fit", watched)
    code, out, _ = run(
        "--table", "switching", "--num-particles", 1, "--recipe", "mlmi4", "--epochs", 3
    )
    assert code == 0
    cells = cells_of(TABLES["switching"].rows)
    names = [cell.name for cell in cells if cell.num_particles == 1]
    assert names == ["1L-iwae-k50-then-elbo-k1", "1L-elbo-k1"]
    assert "1L-iwae-k50-seed0: finished" in out  # trained since the other starts from it
    second = next(s for s in starts if s[2] == 2)  # two thirds of three epochs
    assert second[1] == 1e-4  # of both papers, though mlmi4's last stage is at 1e-5
    folder = tmp_path / "results" / "cells"
    first = load_run(folder / "1L-iwae-k50-seed0").model
    assert torch.equal(second[0], next(first.parameters()))
    config = load_run(folder / f"{names[0]}-seed0").config
    assert config.training.lr_stages == (1e-4,)
    assert config.facts.other == {"started_from": "1L-iwae-k50-seed0"}


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--table", "burda-mnits", "--epochs", "1"], "unknown table 'burda-mnits'; allowed: burd"),
        ([*SMALL, "--recipe", "adam", "--epochs", "1"], "unknown recipe 'adam'; allowed: burda"),
        ([*SMALL], "give either --budget MINUTES or --epochs N"),
        ([*SMALL, "--budget", "5", "--epochs", "1"], "give either --budget"),
        ([*SMALL, "--budget", "-1"], "--budget"),
        ([*SMALL, "--budget", "0.001"], "is too small for one epoch of 3 cells with --jobs 1: "),
        (["--epochs", "1"], "a new table wants --table NAME; see --help"),
        ([*SMALL, "--eval-particles", "24", "--epochs", "1"], "--eval-particles must be a whole"),
        ([*SMALL, "--test-size", "1", "--epochs", "1"], "--test-size must be a whole number of at"),
        (["--table", "alpha", "--levels", "2", "--epochs", "1"], "it has (levels, k) = (1, 50)"),
        ([*SMALL, "--epochs", "0"], "--epochs"),
        ([*SMALL, "--seeds", "0", "--epochs", "1"], "--seeds"),
        ([*SMALL, "--device", "tpu", "--epochs", "1"], "unknown device 'tpu'"),
    ],
)
def test_bad_input_is_one_line(run, flags, match):
    code, _, err = run(*flags)
    assert code == 2
    assert err.count("\n") == 1
    assert match in err
    assert "Traceback" not in err


def test_results_of_another_version_or_plan_are_not_mixed(run, tmp_path):
    folder = tmp_path / "results"
    assert run("--table", "median", "--epochs", 1)[0] == 0
    code, _, err = run("--table", "median", "--epochs", 2, "--resume")
    assert code == 2
    assert "was planned with epochs = 1, not 2" in err
    code, _, err = run("--table", "power", "--resume")
    assert code == 2
    assert "was planned with table = median, not power" in err
    content = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(content | {"version": "0.0.1"}))
    code, _, err = run("--table", "median", "--epochs", 1, "--resume")
    assert code == 2
    assert f"results of pyro_vae 0.0.1, this is {pyro_vae.__version__}" in err
    (folder / "plan.json").write_text("{")
    code, _, err = run("--table", "median", "--epochs", 1, "--resume")
    assert "plan.json is damaged" in err


def test_a_resume_may_add_rows_but_leave_none_out(tmp_path):
    made = planned(Rows("burda-mnist", (1,), (1, 5)), epochs=3)
    more = made.resumed(Request(Rows(None, num_particles=(1, 5, 50)), seeds=2), tmp_path)
    assert len(made.trainings) == 3
    assert len(more.trainings) == 10
    assert more.selection == Rows("burda-mnist", (1,), (1, 5, 50))
    assert made.resumed(Request(Rows("burda-mnist")), tmp_path) == made
    with pytest.raises(InputError, match=r"may add some, not leave out 1L-elbo-k5, 1L-iwae-k5"):
        made.resumed(Request(Rows(None, num_particles=(1,))), tmp_path)
    with pytest.raises(InputError, match=r"was planned with recipe = burda, not mlmi4"):
        made.resumed(Request(Rows(None), {"recipe": "mlmi4"}), tmp_path)


def test_plans_are_written_and_read_and_those_of_0_4_too(tmp_path):
    made = planned(Rows("miwae", None, None), epochs=3, seeds=2)
    made.write(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json", Rows) == made
    for name in ("burda-mnist", "miwae"):
        path = ROOT / "experiments" / "results" / f"{name}.plan.json"
        plan = read_plan(path, Rows)
        with path.with_name(f"{name}.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert [cell.name for cell in plan.cells] == [row["cell"] for row in rows]
        assert plan.selection.table == name
        assert {int(row["epochs"]) for row in rows} == {plan.epochs}
        assert plan.shared == {
            "recipe": rows[0]["recipe"],
            "test_size": int(rows[0]["test_images"]),
            "eval_particles": int(rows[0]["particles"]),
        }
        with pytest.raises(InputError, match=r"results of pyro_vae 0.3.0, this is .* name another"):
            TableCampaign().read_plan(path)


def planned(rows, *, epochs, seeds=1, minutes=None, jobs=1, test_size=20):
    shared = {"recipe": "burda", "eval_particles": 60, "test_size": test_size}
    return Plan(rows, shared, seeds, epochs, minutes, "cpu", None, jobs)


def test_the_budget_decides_the_epochs_of_all_cells_alike():
    """With known times of a step the plan is a sum that can be done by hand."""
    seconds_by_kind = {
        (BURDA1, "elbo", 1): 1.0,
        (BURDA1, "elbo", 5): 5.0,
        (BURDA1, "iwae", 5): 5.0,
    }
    times = budget.Times(seconds_by_kind, {BURDA1: 0.0})

    def fitted(minutes, jobs, seeds=1, times=times):
        rows = Rows("burda-mnist", (1,), (1, 5))
        made = planned(rows, epochs=1, seeds=seeds, minutes=minutes, jobs=jobs, test_size=None)
        return budget.with_epochs(TableCampaign(), made, times, 10_000)

    seconds = 60 * 60 * (1 - budget.SLACK)
    assert fitted(60, 1).epochs == (seconds - 3 * budget.START_SECONDS) // 11
    assert fitted(60, 1, seeds=2).epochs == (seconds - 6 * budget.START_SECONDS) // 22
    # Two at a time: both cells of k = 5 side by side, then the small one.
    assert fitted(60, 2).epochs == (seconds - 2 * budget.START_SECONDS) // 6
    assert fitted(1e6, 1).epochs == 3280  # never more than the recipe
    assert fitted(1e6, 1).shared["test_size"] == 10_000
    with pytest.raises(InputError, match="that takes about 2 minutes here"):
        fitted(1.0, 1)
    assert budget.makespan([3, 3, 2, 2, 2], 2) == 7
    assert budget.makespan([5, 1], 2) == 5
    # A tenth of the budget judges test images: of 3 cells at 0.1 seconds each.
    judged = fitted(60, 1, times=budget.Times(times.epoch, {BURDA1: 0.1})).shared["test_size"]
    assert judged == 1_000
    assert judged * 0.3 <= budget.EVALUATION_SHARE * seconds < 2_000 * 0.3
    both = budget.slowest([times, budget.Times(dict.fromkeys(times.epoch, 4.0), {BURDA1: 0.5})])
    assert list(both.epoch.values()) == [4.0, 5.0, 5.0]
    assert both.datum == {BURDA1: 0.5}


def test_second_stages_wait_for_the_first_ones_and_are_shorter():
    """In the budget as in training: 50 particles, then one, for two thirds of the epochs."""
    rows = Rows("switching", None, (1,))
    made = planned(rows, epochs=1, minutes=60, jobs=2)
    assert [cell.epochs(3280) for cell in made.cells] == [3280, 2187, 3280]
    times = budget.Times({(BURDA1, "iwae", 50): 50.0, (BURDA1, "elbo", 1): 1.0}, {BURDA1: 0.0})
    seconds = 60 * 60 * (1 - budget.SLACK) - 2 * budget.START_SECONDS
    found = budget.with_epochs(TableCampaign(), made, times, 20).epochs
    # The chain of both stages is the longest task; the other cell fits beside it.
    assert 50 * found + round(found * 2187 / 3280) <= seconds
    assert 50 * (found + 1) + round((found + 1) * 2187 / 3280) > seconds


@pytest.mark.slow
def test_a_budget_is_planned_with_measured_times(run, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "START_SECONDS", 0.0)
    flags = ("--table", "median", "--recipe", "mlmi4", "--budget", 0.1, "--jobs", 2)
    code, out, _ = run(*flags, "--num-particles", 50)
    assert code == 0
    assert "measuring the time of a step" in out
    made = read_plan(tmp_path / "results" / "plan.json", Rows)
    assert (made.budget_minutes, made.jobs, made.shared["test_size"]) == (0.1, 2, 20)
    assert made.epochs >= 1
    assert f"{made.epochs} of the recipe's 3280 epochs" in out
    assert "(budget 0.1)" in out


def test_every_table_has_both_recipes_and_every_cell_an_objective():
    for name, table in BURDA_TABLES.items():
        assert set(table.regimes) == set(RECIPES), name
        cells = cells_of(table.rows)
        names = [cell.name for cell in cells]
        assert len(set(names)) == len(names)
        compared = [cell for one in table.columns for row in table.rows for cell in one.reads(row)]
        assert {cell.name for cell in compared} <= set(names)
        made = planned(Rows(name), epochs=3)
        for cell in cells:
            config = TableCampaign().config(made, cell, 0)
            objective = config.objective.make()
            assert objective.num_particles == cell.num_particles
            assert config.training.annealing == {}
            assert config.objective.thin is None  # the papers differentiate all particles
            assert cell.start is None or cell.start.name in names
        assert any("mlmi4" in row.published for row in table.rows), name
    assert fitting.CPU_CHUNK >= 1_000  # what the timing of a step relies on: one pass per batch


def test_published_numbers_are_those_of_the_papers():
    """Spot checks against tables 1, 2, 8 to 10 of Arnal et al. 2021, and sums over whole tables."""
    rows = {
        (name, row.cell.name): row.published for name, table in TABLES.items() for row in table.rows
    }
    assert rows["burda-mnist", "2L-iwae-k50"]["mlmi4"] == (84.37, "65+11", "27+11", 9.27)
    assert rows["burda-mnist", "1L-iwae-k5"]["burda"].nll == 85.54
    assert rows["fixed-binarised", "1L-elbo-k50"]["mlmi4"] == (90.78, "13", "13", 5.90)
    assert rows["ciwae", "1L-ciwae-k50-beta0.25"]["mlmi4"] == (86.27, "25", "25", 7.20)
    assert rows["miwae", "1L-miwae-k50-inner10"]["mlmi4"] == (86.58, "24", "24", 8.19)
    assert rows["switching", "1L-elbo-k1-then-iwae-k50"]["mlmi4"].kl == 12.17

    def total(name, recipe):
        known = [row.published for row in TABLES[name].rows if recipe in row.published]
        return round(sum(row[recipe].nll for row in known), 2)

    assert total("burda-mnist", "burda") == 851.81
    assert total("burda-mnist", "mlmi4") == 862.26
    assert total("burda-omniglot", "burda") == 1062.68


def test_the_command_is_told_by_the_name_it_was_typed_with(tmp_path, capsys):
    assert replicate.main(["--epochs", "1"], prog="pyro-vae replicate") == 2
    assert capsys.readouterr().err.startswith("pyro-vae replicate: give --table NAME or, to go on")
    with pytest.raises(SystemExit):
        replicate.main(["--help"], prog="pyro-vae replicate")
    out = capsys.readouterr().out
    assert "pyro-vae replicate --table burda-mnist --budget 60" in out
    assert "S4" not in out
    call = Call.of("pyro-vae replicate", ["--table", "median"], quiet=True)
    assert call.command == "pyro-vae replicate --table median"
    call = Call.of("replicate.py", ["--table", "median"], quiet=True)
    assert call.command == "python experiments/replicate.py --table median"
