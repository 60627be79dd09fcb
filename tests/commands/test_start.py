"""What a run keeps of its start, and when it is made: once, by one process, never on a resume."""

import json
import math

import pytest
import torch

from pyro_vae.cli import pictures
from pyro_vae.programs.start import DataStart
from pyro_vae.runs import Hooks, RunDirectory, job, new_config, train
from pyro_vae.runs.summary import Summary
from tests.conftest import run_fit

FLAGS = ["--init", "data", "--latent", "20", "4", "--hidden", "encoders=40/20", "feedback=10"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *args: None)


@pytest.fixture(scope="module")
def unbroken(images, tmp_path_factory):
    """A run of two epochs that started from data."""
    path = tmp_path_factory.mktemp("start") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *args: None)
        assert run_fit("--dataset", images, "--run-dir", path, "--epochs", 2, *FLAGS) == 0
    return RunDirectory(path)


def test_the_summary_holds_the_start_alone(unbroken):
    content = unbroken.read_summary()
    start = Summary.of(content, "here").start
    assert start.init == "data"
    assert start.test.keys() == {"elbo", "bound", "reconstruction", "kl_z1", "kl_z2"}
    assert start.active_units.keys() == {"z1", "z2"}
    assert start.active_units["z1"].units == 20
    assert start.particles == 100
    assert any("of 4 units of z2 start as factors" in line for line in start.notices)
    # It is the pair of row 0 of the metrics, on test data; training has moved on from it.
    before = unbroken.read_metrics()["elbo"][0]
    alone = start.test["elbo"]
    assert abs(alone["mean"] - before) < 8 * alone["standard_error"] + 1
    assert alone != content["test"]["elbo"]
    assert json.loads(unbroken.config.read_text())["start"] == content["start"]
    # The gain is paired over the test data: its error is below that of a difference of two means.
    gain = content["elbo_gain"]
    after = content["test"]["elbo"]
    assert gain["mean"] == pytest.approx(after["mean"] - alone["mean"], rel=1e-4, abs=1e-3)
    apart = math.hypot(alone["standard_error"], after["standard_error"])
    assert 0 < gain["standard_error"] < apart


def test_a_random_start_is_judged_too_and_an_older_summary_has_none(finished_run):
    content = RunDirectory(finished_run).read_summary()
    start = Summary.of(content, "here").start
    assert (start.init, start.notices) == ("random", ())
    del content["start"]
    assert Summary.of(content, "here").start is None


def test_a_resume_makes_no_start_and_keeps_its_figures(unbroken, images, tmp_path, monkeypatch):
    path = tmp_path / "broken"
    flags = ["--dataset", images, "--run-dir", path]
    assert run_fit(*flags, *FLAGS, "--epochs", 2, "--max-minutes", 1e-9) == 0

    def never(self, rows):
        raise AssertionError("a resume starts nothing")

    monkeypatch.setattr(DataStart, "initialise_", never)
    with pytest.raises(AssertionError, match="starts nothing"):  # it would be called in a new run
        run_fit("--dataset", images, "--run-dir", tmp_path / "other", *FLAGS)
    assert run_fit("--resume", "--run-dir", path, "--epochs", 2, "--max-minutes", 60) == 0
    resumed = RunDirectory(path)
    assert resumed.metrics.read_bytes() == unbroken.metrics.read_bytes()
    assert resumed.read_summary()["start"] == unbroken.read_summary()["start"]


def test_of_several_processes_the_first_one_starts(images, tmp_path, monkeypatch):
    """The others get its weights when the loop begins: tests/training/test_parallel.py."""
    called = []
    monkeypatch.setattr(DataStart, "initialise_", lambda self, rows: called.append(1) or [])

    class Other(job.Processes):
        first = False

    settings = {"dataset": str(images), "init": "data", "latent": (20, 4), "epochs": 1}
    config = new_config(settings | {"num_particles": 2, "eval_particles": 50})
    for made, count in ((job.Processes, 1), (Other, 1)):
        monkeypatch.setattr(job, "Processes", made)
        monkeypatch.setattr(job, "fit_pair", _nothing)
        with pytest.raises(StopIteration):
            train(config, tmp_path / made.__name__)
        assert len(called) == count


def _nothing(*args, **kwargs):
    raise StopIteration


def test_the_start_is_told_once_and_the_noise_of_training_is_that_of_before(
    images, tmp_path, monkeypatch
):
    """Looking at the start takes no number from the generators that training draws from."""
    said, metrics = [], []
    config = new_config(
        {"dataset": str(images), "epochs": 1, "num_particles": 2, "eval_particles": 50}
        | {"latent": (20, 4), "test_size": 10, "posterior_data": 3, "init": "random"}
    )
    for name in ("looked at", "not looked at"):
        if name == "not looked at":
            monkeypatch.setattr(
                job, "judge_start", lambda *args, **kwargs: job.Start("random", ("a line",))
            )
        torch.manual_seed(1)
        train(config, tmp_path / name, Hooks(say=said.append))
        metrics.append((tmp_path / name / "metrics.csv").read_bytes())
    assert metrics[0] == metrics[1]
    assert sum(line.startswith("start (random): ELBO") for line in said) == 1
    assert said.count("start: a line") == 1


def test_a_model_that_cannot_start_from_data_is_refused_in_one_line(images, tmp_path, capsys):
    flags = ["--model", "burda1", "--dataset", images, "--run-dir", tmp_path / "run"]
    assert run_fit(*flags, "--init", "data") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "--init data wants a linear decoder" in err
    assert not (tmp_path / "run").exists()
