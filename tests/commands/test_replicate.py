"""replicate.py on tiny digits: tables, plans, resumes, claims, and what goes wrong in a cell."""

import csv
import json
import os

import numpy as np
import pytest
import torch

import pyro_vae
from experiments import replicate
from experiments.replication import cells, plan
from experiments.replication.cells import Place
from experiments.replication.table_rows import Cell
from experiments.replication.tables import RECIPES, TABLES, table_named
from pyro_vae.errors import InputError
from pyro_vae.runs import load_run
from pyro_vae.training import fitting


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A data folder with 6 x 6 'MNIST': 560 training and 20 test images of two kinds."""
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(0)
    kinds = rng.random((2, 6, 6)) > 0.6
    label = rng.integers(0, 2, 580)
    pixels = (255 * np.clip(0.8 * kinds[label] + 0.2 * rng.random((580, 6, 6)), 0, 1)).astype("u1")
    np.savez(
        folder / "mnist.npz",
        x_train=pixels[:560],
        x_test=pixels[560:],
        y_train=label[:560],
        y_test=label[560:],
    )
    return folder


@pytest.fixture
def run(digits, tmp_path, capsys):
    """The command with small settings; returns exit code, stdout, stderr."""

    def call(*flags, folder=tmp_path / "results"):
        threads = torch.get_num_threads()
        try:
            code = replicate.main(
                [
                    "--data-dir",
                    str(digits),
                    "--run-dir",
                    str(folder),
                    "--jobs",
                    "1",
                    "--eval-particles",
                    "60",
                    *map(str, flags),
                ]
            )
        finally:
            torch.set_num_threads(threads)
        return code, *capsys.readouterr()

    return call


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
    # The figures are those of the files, computed anew.
    for row in rows:
        path = folder / "cells" / f"{row['cell']}-seed{row['seed']}"
        per_datum = np.load(path / "per_datum.npz")
        assert float(row["nll"]) == pytest.approx(-per_datum["log_likelihood"].mean(), abs=1e-9)
        assert float(row["kl_to_posterior"]) == pytest.approx(
            (per_datum["log_likelihood"] - per_datum["elbo"]).mean(), abs=1e-9
        )
        published = {"1L-elbo-k1": 86.76, "1L-elbo-k5": 86.47, "1L-iwae-k5": 85.54}[row["cell"]]
        assert float(row["difference"]) == pytest.approx(float(row["nll"]) - published)
        config = load_run(path).config
        assert config["recipe"] == "burda"
        assert config["num_particles"] == int(row["num_particles"])
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

    # Stopped in the second cell, in its first epoch.
    fit, calls = pyro_vae.fit, []

    def stops(*args, **settings):
        calls.append(settings["resume"])
        if len(calls) == 2:
            settings["max_minutes"] = 1e-9
        return fit(*args, **settings)

    monkeypatch.setattr(pyro_vae, "fit", stops)
    code, _, err = run(*flags)
    assert code == 130
    assert "replicate.py: stopped; with --resume it goes on" in err
    assert "not finished" in (folder / "table.md").read_text()
    calls.clear()

    code, _, err = run(*flags)
    assert code == 2
    assert "holds a table already; go on with --resume" in err
    monkeypatch.setattr(pyro_vae, "fit", lambda *a, **s: calls.append(s["resume"]) or fit(*a, **s))
    code, out, _ = run(*flags, "--resume")
    assert code == 0
    assert out.count("done before") == 1
    assert calls == [True, False]  # the one that was stopped goes on from its checkpoint
    for name in ("1L-elbo-k1", "1L-elbo-k5", "1L-iwae-k5"):
        figures = [
            np.load(path / "cells" / f"{name}-seed0" / "per_datum.npz")["log_likelihood"]
            for path in (whole, folder)
        ]
        np.testing.assert_array_equal(*figures)
    code, out, _ = run(*flags, "--resume")
    assert code == 0
    assert out.count("done before") == 3


def test_a_diverged_cell_leaves_the_others_alone(run, tmp_path, monkeypatch):
    build = cells.build

    def breaks(cell, data, seed, device):
        model, guide, objective = build(cell, data, seed, device)
        if cell.name == "1L-elbo-k5":
            with torch.no_grad():
                next(guide.parameters()).fill_(float("nan"))
        return model, guide, objective

    monkeypatch.setattr(cells, "build", breaks)
    code, out, _ = run(*SMALL, "--epochs", 1)
    assert code == 0
    assert "1L-elbo-k5-seed0: diverged: step 1" in out
    markdown = (tmp_path / "results" / "table.md").read_text()
    assert "| VAE | 86.47 | diverged |" in markdown
    assert "1L-elbo-k5-seed0 diverged: step 1 (epoch 1)" in markdown
    assert "1L-iwae-k5-seed0: finished" in out
    monkeypatch.setattr(cells, "build", build)
    # It is not tried again.
    assert "1L-elbo-k5-seed0: done before" in run(*SMALL, "--epochs", 1, "--resume")[1]


def test_a_cell_that_fails_is_told_and_tried_again(run, tmp_path, monkeypatch):
    build = cells.build

    def breaks(cell, *rest):
        if cell.name == "1L-elbo-k5":
            raise ValueError("the disk is full\nsecond line")
        return build(cell, *rest)

    monkeypatch.setattr(cells, "build", breaks)
    code, out, err = run(*SMALL, "--epochs", 1, "--quiet")
    assert code == 1
    assert "1L-elbo-k5-seed0 failed: the disk is full (see " in err
    assert "| VAE | 86.47 | failed |" in out
    failure = tmp_path / "results" / "cells" / "1L-elbo-k5-seed0" / "failure.txt"
    assert "ValueError: the disk is full" in failure.read_text()
    monkeypatch.setattr(cells, "build", build)
    code, out, err = run(*SMALL, "--epochs", 1, "--resume")
    assert code == 0
    assert "1L-elbo-k5-seed0: finished" in out
    assert "1L-iwae-k5-seed0: done before" in out


def test_cells_side_by_side_and_more_seeds(run, tmp_path):
    """Two processes give the figures of one; a resume may add seeds and fills in the reference."""
    one, two = tmp_path / "one", tmp_path / "two"
    flags = ("--table", "burda-mnist", "--levels", 2, "--num-particles", 1, 5, "--epochs", 1)
    assert run(*flags, folder=one)[0] == 0
    code, out, _ = run(*flags, "--jobs", 2, folder=two)
    assert code == 0
    for name in ("2L-elbo-k1", "2L-iwae-k5"):
        figures = [
            np.load(path / "cells" / f"{name}-seed0" / "per_datum.npz")["log_likelihood"]
            for path in (one, two)
        ]
        np.testing.assert_allclose(*figures, atol=1e-3)
    assert "| 2 | 5 | IWAE | 83.89 |" in out
    code, out, _ = run(*flags, "--seeds", 2, "--resume", folder=one)
    assert code == 0
    assert "2L-iwae-k5-seed0: done before" in out
    assert "2L-iwae-k5-seed1: finished" in out
    assert "(sd " in out


def test_a_process_whose_parent_is_gone_stops_with_a_checkpoint(digits, tmp_path):
    table = table_named("burda-mnist")
    small = plan.Plan(
        "burda-mnist", "burda", 1, 5, 10, 60, (1,), (1,), None, 1, "cpu", pyro_vae.__version__
    )
    chain = [Cell(1, "elbo", 1)]
    settings = (tmp_path, table, small, chain, 0, str(digits), None, True)
    assert cells.run_chain(*settings, parent=1) == ["stopped"]
    assert (Place(tmp_path, chain[0], 0).path / "checkpoint.pt").is_file()
    assert cells.run_chain(*settings, parent=os.getppid()) == ["finished"]


def test_a_cell_that_another_process_has_claimed_is_left_to_it(run, tmp_path):
    folder = tmp_path / "results"
    place = Place(folder, Cell(1, "elbo", 5), 0)
    with pyro_vae.runs.RunDirectory(place.path).locked():
        code, out, _ = run(*SMALL, "--epochs", 1)
    assert code == 0
    assert "1L-elbo-k5-seed0: another process is at it" in out
    assert "1L-iwae-k5-seed0: finished" in out
    assert not place.per_datum.is_file()
    assert "1L-elbo-k5-seed0: finished" in run(*SMALL, "--epochs", 1, "--resume")[1]


def test_switching_goes_on_from_the_first_stage(run, tmp_path, monkeypatch):
    fit, starts = pyro_vae.fit, []

    def watched(model, guide, train, **settings):
        rate = settings["lr_schedule"]
        starts.append((next(model.parameters()).clone(), rate(0.0), settings["epochs"]))
        return fit(model, guide, train, **settings)

    monkeypatch.setattr(pyro_vae, "fit", watched)
    code, out, _ = run(
        "--table", "switching", "--num-particles", 1, "--recipe", "mlmi4", "--epochs", 3
    )
    assert code == 0
    names = [cell.name for cell in TABLES["switching"].cells if cell.num_particles == 1]
    assert names == ["1L-iwae-k50-then-elbo-k1", "1L-elbo-k1"]
    assert "1L-iwae-k50-seed0: finished" in out  # trained since the other starts from it
    second = next(s for s in starts if s[2] == 2)  # two thirds of three epochs
    assert second[1] == 1e-4  # of both papers, though mlmi4's last stage is at 1e-5
    first = load_run(tmp_path / "results" / "cells" / "1L-iwae-k50-seed0").model
    assert torch.equal(second[0], next(first.parameters()))


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--table", "burda-mnits", "--epochs", "1"], "unknown table 'burda-mnits'; allowed: burd"),
        ([*SMALL, "--recipe", "adam", "--epochs", "1"], "unknown recipe 'adam'; allowed: burda"),
        ([*SMALL], "give either --budget MINUTES or --epochs N"),
        ([*SMALL, "--budget", "5", "--epochs", "1"], "give either --budget"),
        ([*SMALL, "--budget", "-1"], "--budget"),
        ([*SMALL, "--budget", "0.001"], "is too small for one epoch of 1 x 3 cells"),
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
    content = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(content | {"version": "0.0.1"}))
    code, _, err = run("--table", "median", "--epochs", 1, "--resume")
    assert code == 2
    assert f"results of pyro_vae 0.0.1, this is {pyro_vae.__version__}" in err
    (folder / "plan.json").write_text("{")
    code, _, err = run("--table", "median", "--epochs", 1, "--resume")
    assert "plan.json is damaged" in err


def test_the_budget_decides_the_epochs_of_all_cells_alike():
    """With known times of a step the plan is a sum that can be done by hand."""
    chains = [[Cell(1, "elbo", 1)], [Cell(1, "elbo", 5)], [Cell(1, "iwae", 5)]]
    times = plan.Times({(1, 1): 1.0, (1, 5): 5.0}, {1: 0.0})

    def epochs(minutes, jobs, seeds=1):
        settings = {"recipe": "burda", "seeds": seeds, "minutes": minutes, "jobs": jobs}
        return plan.fit_budget(chains, times, 10_000, **settings)[0]

    seconds = 60 * 60 * (1 - plan.SLACK)
    assert epochs(60, 1) == (seconds - 3 * plan.START_SECONDS) // 11
    assert epochs(60, 1, seeds=2) == (seconds - 6 * plan.START_SECONDS) // 22
    # Two at a time: both cells of k = 5 side by side, then the small one.
    assert epochs(60, 2) == (seconds - 2 * plan.START_SECONDS) // 6
    assert epochs(1e6, 1) == 3280  # never more than the recipe
    with pytest.raises(InputError, match="that takes about 2 minutes here"):
        epochs(1.0, 1)
    assert plan.makespan([3, 3, 2, 2, 2], 2) == 7
    assert plan.makespan([5, 1], 2) == 5
    # A tenth of the budget judges test images: of 3 cells at 0.1 seconds each.
    slow = plan.Times(times.epoch, {1: 0.1})
    judged = plan.fit_budget(chains, slow, 10_000, recipe="burda", seeds=1, minutes=60, jobs=1)[1]
    assert judged == 1_000
    assert judged * 0.3 <= plan.EVALUATION_SHARE * seconds < 2_000 * 0.3
    both = plan.slowest([times, plan.Times({(1, 1): 2.0, (1, 5): 4.0}, {1: 0.5})])
    assert both == ({(1, 1): 2.0, (1, 5): 5.0}, {1: 0.5})


def test_a_budget_is_planned_with_measured_times(run, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "START_SECONDS", 0.0)
    flags = ("--table", "median", "--recipe", "mlmi4", "--budget", 0.1, "--jobs", 2)
    code, out, _ = run(*flags, "--num-particles", 50)
    assert code == 0
    assert "measuring the time of a step" in out
    made = plan.read_plan(tmp_path / "results" / "plan.json")
    assert (made.budget_minutes, made.jobs, made.test_size) == (0.1, 2, 20)
    assert made.epochs >= 1
    assert f"{made.epochs} of the recipe's 3280 epochs" in out
    assert "(budget 0.1)" in out


def test_every_table_has_both_recipes_and_every_cell_an_objective():
    for name, table in TABLES.items():
        assert set(table.sources) == set(table.binarise) == set(RECIPES), name
        names = [cell.name for cell in table.cells]
        assert len(set(names)) == len(names)
        assert table.reference.name in names
        for cell in table.cells:
            objective = pyro_vae.make_objective(cell.objective, cell.num_particles, **cell.settings)
            assert objective.num_particles == cell.num_particles
            assert cell.start is None or cell.start.name in names
        assert any("mlmi4" in row.published for row in table.rows), name
    assert fitting.CPU_CHUNK >= 1_000  # what seconds_per_epoch relies on: one pass per batch of 20


def test_published_figures_are_those_of_the_papers():
    """Spot checks against Arnal et al. 2021, tables 1, 2, 8, 9, 10; sums of whole tables."""
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
