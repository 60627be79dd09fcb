"""Early stopping: which epoch is the best one, when training ends, and that it resumes exactly."""

import json
import math

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae import InputError
from pyro_vae.runs import RunDirectory
from pyro_vae.storage import load_checkpoint, save_checkpoint
from pyro_vae.training.early_stopping import WATCHED, EarlyStopping
from pyro_vae.training.parallel import Processes
from pyro_vae.training.progress import Progress
from tests.conftest import bare_runs, run_fit, tiny_pair

SETTINGS = {
    "objective": pyro_vae.IWAE(3),
    "epochs": 30,
    "batch_size": 5,
    "compile": False,
    "annealing": {},
    "progress": False,
    # Few data and large steps: the validation bound turns round soon.
    "optimiser": pyro_vae.OptimiserSettings(lr=0.05),
}


def rows(seed, number):
    return torch.randn(number, 6, generator=torch.Generator().manual_seed(seed))


def fit(pair=None, **changed):
    model, guide = pair or tiny_pair()
    given = {"valid": rows(1, 20), **SETTINGS, **changed}
    return pyro_vae.fit(model, guide, rows(0, 10), **given)


def weights(pair):
    return {name: value.clone() for part in pair for name, value in part.state_dict().items()}


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def bounds_of(result):
    return [row[WATCHED] for row in result.history]


def test_training_ends_some_epochs_after_the_best_and_gives_back_its_weights():
    kept = []
    pair, other = tiny_pair(), tiny_pair()
    fit(other, on_epoch=lambda history: kept.append(weights(other)))
    result = fit(pair, patience=4)
    bounds = bounds_of(result)
    best = int(np.argmax(bounds))
    assert 0 < best < 20
    assert (result.stopped, result.best_epoch) == ("patience", best)
    assert len(bounds) == best + 4 + 1
    assert same(weights(pair), kept[best])
    assert not same(weights(pair), kept[best + 4])
    assert same(weights(other), kept[-1])  # without patience the last ones stay


def test_a_patience_that_does_not_end_keeps_the_best_all_the_same():
    kept, pair, other = [], tiny_pair(), tiny_pair()
    fit(other, epochs=12, on_epoch=lambda history: kept.append(weights(other)))
    result = fit(pair, epochs=12, patience=100)
    assert (result.stopped, len(result.history)) == ("finished", 13)
    assert result.best_epoch == int(np.argmax(bounds_of(result))) < 12
    assert same(weights(pair), kept[result.best_epoch])


def looked(bounds, annealing=(), patience=2):
    """Epochs with these validation bounds: the best one, and after which training is over."""
    model, guide = tiny_pair()
    early, state = EarlyStopping(patience, model, guide, Processes()), Progress()
    for epoch, bound in enumerate(bounds):
        state.epoch = epoch
        early.look(state, {WATCHED: bound}, epoch in annealing)
        if early.over(state):
            return state.best_epoch, epoch
    return state.best_epoch, None


@pytest.mark.parametrize(
    ("bounds", "annealing", "found"),
    [
        ([1, 2, 3, 4], (), (3, None)),
        ([3, 2, 1, 9], (), (0, 2)),
        ([3, 3, 3, 9], (), (0, 2)),  # as good is no better
        ([3, 2, 4, 1, 1], (), (2, 4)),
        ([3, 2, 1, 1, 1, 9], (1, 2, 3), (5, None)),  # while beta changes nobody waits
        ([3, 2, 1, 1, 1, 1], (1, 2, 3), (0, 5)),
        ([math.nan, 1, math.nan, -math.inf], (), (1, 3)),
        ([math.nan, math.inf, -math.inf], (), (0, 2)),
    ],
)
def test_which_epoch_is_the_best_and_which_the_last(bounds, annealing, found):
    assert looked(bounds, annealing) == found


def test_levels_that_are_annealed_are_waited_for():
    """A schedule over all of training puts the end off; without it the same run ends sooner."""
    rising = {"z2": pyro_vae.LinearWarmUp(0.0, 1.0, 1.0)}
    assert fit(patience=4, annealing=rising).stopped == "finished"
    assert fit(patience=4).stopped == "patience"


@pytest.mark.parametrize("cut", [1, 8, 13])
def test_an_interrupted_run_resumes_exactly(tmp_path, cut):
    """In the middle of an epoch before the best one, and in the waiting after it."""
    whole, pair = tiny_pair(), tiny_pair(seed=3)
    expected = fit(whole, patience=4, checkpoint=tmp_path / "whole.pt")
    assert expected.best_epoch < 13 < expected.steps / 2 < 26

    steps, path = [], tmp_path / "cut.pt"
    for turn in range(cut):  # a step or two at a time
        fit(tiny_pair(), patience=4, checkpoint=path, max_minutes=1e-9, resume=turn > 0)
        steps.append(load_checkpoint(path)["progress"]["step"])
    result = fit(pair, patience=4, checkpoint=path, resume=True)
    assert str(result.history) == str(expected.history)
    assert (result.stopped, result.best_epoch) == ("patience", expected.best_epoch)
    assert same(weights(pair), weights(whole))
    one, other = (load_checkpoint(tmp_path / f"{name}.pt") for name in ("whole", "cut"))
    assert str(one["progress"]) == str(other["progress"])
    for part in ("model", "guide"):
        assert same(one[part], other[part])
        assert same(one["best"][part], other["best"][part])
        assert not same(one["best"][part], one[part])  # a resume goes on from the last weights
    # Resumed once more, there is nothing left to train.
    again = fit(tiny_pair(seed=4), patience=4, checkpoint=path, resume=True)
    assert (again.stopped, len(again.history)) == ("patience", len(expected.history))


def test_patience_wants_a_number_and_validation_data_and_stays(tmp_path):
    for patience in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="patience must be a whole number of at least 1"):
            fit(patience=patience)
    with pytest.raises(InputError, match="patience waits for a better bound of validation data"):
        fit(patience=1, valid=None)
    path = tmp_path / "c.pt"
    fit(epochs=1, patience=3, checkpoint=path)
    with pytest.raises(InputError, match="with patience = 3, this run has None"):
        fit(epochs=2, checkpoint=path, resume=True)
    # A checkpoint of an earlier version says nothing of it, and is one without.
    fit(epochs=1, checkpoint=path)
    content = load_checkpoint(path)
    del content["plan"]["patience"], content["plan"]["optimiser"]
    for name in ("best_epoch", "best_bound", "waited"):
        del content["progress"][name]
    save_checkpoint(path, {name: part for name, part in content.items() if name != "format"})
    assert len(fit(epochs=2, checkpoint=path, resume=True).history) == 3


def test_a_run_is_judged_loaded_and_resumed_with_its_best_weights(images, tmp_path, monkeypatch):
    bare_runs(monkeypatch)
    path = tmp_path / "run"
    flags = ["--dataset", images, "--epochs", 12, "--lr", 0.3, "--no-anneal", "--patience", 3]
    assert run_fit(*flags, "--run-dir", path) == 0
    directory = RunDirectory(path)
    ended = json.loads(directory.summary.read_text())["run"]
    bounds = directory.read_metrics()["bound"]
    best = int(np.argmax(bounds))
    assert ended["stopped"] == "patience"
    assert (ended["best_epoch"], ended["epochs"]) == (best, best + 3)
    loaded = pyro_vae.load_run(path)
    content = load_checkpoint(directory.checkpoint)
    assert same(loaded.guide.state_dict(), content["best"]["guide"])
    assert not same(loaded.guide.state_dict(), content["guide"])
    # The judged pair is that one: the same estimates from a resume that trains nothing.
    before = json.loads(directory.summary.read_text())["test"]
    assert run_fit("--run-dir", path, "--resume") == 0
    assert json.loads(directory.summary.read_text())["test"] == before
    assert run_fit("--run-dir", path, "--resume", "--patience", 4) == 2
