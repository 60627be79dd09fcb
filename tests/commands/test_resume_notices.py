"""What a run that goes on says beforehand: schedules that go back, and training that is done."""

import shutil

import pytest

from pyro_vae.runs import RunDirectory, resume_config
from pyro_vae.runs.resuming import resume_notices


def told(path, **given):
    return list(resume_notices(RunDirectory(path), resume_config(path, given)))


def test_another_number_of_epochs_moves_betas(finished_run):
    """The ramp of z2 ended with half of 2 epochs; of 8 epochs it ends with the fourth."""
    assert told(finished_run, epochs=8) == [
        "8 epochs instead of 2: the share of training done is 25% now, not 100%, and by it go "
        "back the beta of z2"
    ]


def test_fewer_epochs_move_them_ahead(finished_run, tmp_path):
    path = shutil.copytree(finished_run, tmp_path / "run")
    directory = RunDirectory(path)
    config = directory.read_config()
    directory.write_config(
        type(config).from_settings(config.settings | {"epochs": 8}, config.facts)
    )
    (line,) = told(path, epochs=4)
    assert line.endswith("is 50% now, not 25%, and by it go ahead the beta of z2")


def test_a_finished_run_is_judged_again(finished_run):
    assert told(finished_run) == ["the run has done 2 epochs of 2 already: it is judged again"]


def test_nothing_is_told_of_a_run_without_metrics(finished_run, tmp_path):
    path = shutil.copytree(finished_run, tmp_path / "run")
    (path / "metrics.csv").unlink()
    assert told(path, epochs=8) == []


@pytest.mark.parametrize(
    ("shape", "back"), [("cosine:0.1", ["the learning rate"]), ("decay:0.999", [])]
)
def test_rates_go_back_unless_they_count_steps(finished_run, tmp_path, shape, back):
    config = RunDirectory(finished_run).read_config()
    path = shutil.copytree(finished_run, tmp_path / "run")
    settings = config.settings | {"lr_shape": shape, "annealing": {}}
    RunDirectory(path).write_config(type(config).from_settings(settings, config.facts))
    assert [line.partition("by it go back ")[2] for line in told(path, epochs=4)] == back
