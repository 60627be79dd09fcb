"""Training that is stopped, resumed and continued."""

import os
import signal

import pytest
import torch

from pyro_vae.objectives import OBJECTIVES
from pyro_vae.storage import load_checkpoint
from tests.conftest import objective_named, tiny_pair
from tests.quick_fit import X, fit, same

# Stopping and resuming


def equal_to_an_uninterrupted_run(result, pair, path, **settings):
    unbroken = tiny_pair()
    expected = fit(unbroken, **settings)
    assert same(result.history, expected.history)
    for one, other in zip(pair, unbroken, strict=True):
        for name, parameter in one.named_parameters():
            assert torch.equal(parameter, dict(other.named_parameters())[name]), name
    assert load_checkpoint(path)["progress"]["epoch"] == settings["epochs"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_max_minutes_stops_and_resumes_exactly(tmp_path, name):
    path = tmp_path / "c.pt"
    settings = {"epochs": 3, "objective": objective_named(name, 3)}
    first = fit(checkpoint=path, max_minutes=1e-9, **settings)
    assert (first.stopped, first.signal) == ("time", None)
    assert [row["epoch"] for row in first.history] == [0]
    assert load_checkpoint(path)["progress"]["step"] == 1  # in the middle of the first epoch
    steps = [1]
    for stop in range(3):  # a step or two at a time, each from a fresh pair
        pair = tiny_pair(seed=stop + 1)
        result = fit(pair, checkpoint=path, resume=True, max_minutes=1e-9, **settings)
        assert result.stopped == "time"
        steps.append(load_checkpoint(path)["progress"]["step"])
        assert 0 < steps[-1] - steps[-2] <= 2
    pair = tiny_pair(seed=9)
    result = fit(pair, checkpoint=path, resume=True, **settings)
    assert result.stopped == "finished"
    equal_to_an_uninterrupted_run(result, pair, path, **settings)


@pytest.mark.parametrize("binarise", ["epoch", "access"])
def test_binarised_data_resume_exactly(tmp_path, binarise):
    path = tmp_path / "c.pt"
    settings = {"train": X.sigmoid(), "valid": None, "binarise": binarise, "epochs": 3}
    histories = []
    for stops in (False, True):
        pair = tiny_pair(pixels="binary")
        if stops:
            fit(pair, checkpoint=path, max_minutes=1e-9, **settings)
            pair = tiny_pair(pixels="binary", seed=5)
        histories.append(fit(pair, checkpoint=path if stops else None, resume=stops, **settings))
    assert same(histories[0].history, histories[1].history)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_two_steps_and_resumes_exactly(tmp_path, number):
    path = tmp_path / "c.pt"

    def interrupt(history):
        if len(history) == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    result = fit(checkpoint=path, epochs=3, on_epoch=interrupt)
    assert (result.stopped, result.signal) == ("interrupted", number)
    assert [row["epoch"] for row in result.history] == [0, 1]
    assert load_checkpoint(path)["progress"]["step"] == 4
    assert signal.getsignal(number) is before
    pair = tiny_pair(seed=8)
    result = fit(pair, checkpoint=path, resume=True, epochs=3)
    assert result.stopped == "finished"
    equal_to_an_uninterrupted_run(result, pair, path, epochs=3)


def test_a_second_signal_acts_as_usual(tmp_path):
    def interrupt(history):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second Ctrl-C must raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint=tmp_path / "c.pt", on_epoch=interrupt)


def test_a_signal_that_is_ignored_at_start_goes_on_being_ignored():
    """As under nohup, or in the background of a script whose user presses Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = fit(on_epoch=lambda history: os.kill(os.getpid(), signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.stopped, result.signal) == ("finished", None)


def test_a_signal_in_the_last_step_is_not_lost():
    def interrupt(history):
        if len(history) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    result = fit(on_epoch=interrupt)
    assert (result.stopped, result.signal) == ("finished", signal.SIGINT)


def test_more_epochs_continue_a_finished_run(tmp_path):
    path = tmp_path / "c.pt"
    fit(checkpoint=path, annealing={})
    longer = fit(tiny_pair(seed=3), checkpoint=path, resume=True, epochs=4, annealing={})
    assert same(longer.history, fit(epochs=4, annealing={}).history)
