"""Whole runs that compile, and resumes of them."""

import pytest
import torch

import pyro_vae
from pyro_vae import LinearWarmUp, OptimiserSettings
from tests.compiled import BETAS, DATA, fit, gradient, off, parameters
from tests.conftest import tiny_pair
from tests.statistics import flat

pytestmark = pytest.mark.slow


def test_a_run_compiles_a_fixed_number_of_graphs_before_its_first_step(uncompiled, spied):
    steps = []
    model, guide = tiny_pair()
    with pytest.MonkeyPatch.context() as patch:
        step = pyro_vae.training.loop.GradientStep.__call__
        patch.setattr(
            pyro_vae.training.loop.GradientStep,
            "__call__",
            lambda *args: (steps.append(1), spied.append(("step",)), step(*args))[-1],
        )
        forward = model.forward
        patch.setattr(model, "forward", lambda x: (spied.append(("model", len(x))), forward(x))[-1])
        result = fit((model, guide), compile=True)
    assert result.compiled
    assert len(steps) == result.steps == 12
    first = spied.index(("step",))
    compiled = [event for event in spied if event[0] == "compile"]
    assert compiled == [("compile", 10, ("z2",))]  # beta is an input, also when it is 1
    assert max(map(spied.index, compiled)) < first
    # The step's own compiled run comes right before it. From there on the handlers run, and the
    # model with them, for the six rows alone.
    training = spied[first - 1 :]
    assert [event for event in training if event[0] == "model"] == [("model", 6)] * 4
    runs = [event for event in training if event[0] == "run"]
    assert runs == [("run", 10, ("z2",))] * 8


def test_the_handlers_do_not_run_in_the_compiled_step(really, monkeypatch):
    plain, compiled = really
    calls = []
    forward = plain.model.forward
    monkeypatch.setattr(plain.model, "forward", lambda x: calls.append(1) or forward(x))
    for seed in range(3):
        gradient(compiled, betas=BETAS, seed=seed)
    assert calls == []
    gradient(compiled, DATA[:6], betas=BETAS)
    assert calls


@pytest.mark.parametrize("lr", [1e-3, 0.1])
def test_a_compiled_run_is_the_plain_run(uncompiled, lr):
    """Exactly, where the graph is run as it is; and the learning rate is no part of it."""
    found = []
    for wanted in (True, False):
        pair = tiny_pair()
        result = fit(pair, compile=wanted, optimiser=OptimiserSettings(lr=lr))
        assert result.compiled == wanted
        found.append((repr(result.history), flat([p.detach() for p in parameters(pair)])))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_a_run_that_is_really_compiled(tmp_path, monkeypatch, compile_once):
    """Compiled, broken off, resumed: the unbroken compiled run bit for bit, the plain one nearly.

    Annealing does not end, so that all is one graph, that of :func:`really`.
    """
    monkeypatch.setattr(torch._inductor, "compile", compile_once)
    settings = {"annealing": {"z2": LinearWarmUp(0.2, 0.5, 1.0)}, "objective": pyro_vae.IWAE(6)}
    pairs = {name: tiny_pair() for name in ("plain", "whole", "broken")}
    plain = fit(pairs["plain"], **settings, compile=False)
    whole = fit(pairs["whole"], **settings, compile=True)
    path = tmp_path / "c.pt"
    broken = fit(pairs["broken"], **settings, compile=True, checkpoint=path, max_minutes=1e-9)
    assert (broken.stopped, broken.steps, broken.compiled) == ("time", 1, True)
    resumed = tiny_pair(seed=1)
    rest = fit(resumed, **settings, compile=None, checkpoint=path, resume=True)
    assert whole.compiled
    assert rest.compiled
    assert rest.steps == whole.steps == 12
    assert repr(rest.history) == repr(whole.history)
    mine, unbroken, eager = (
        flat([p.detach() for p in parameters(pair)])
        for pair in (resumed, pairs["whole"], pairs["plain"])
    )
    assert torch.equal(mine, unbroken)
    assert off(unbroken, eager) < 1e-4
    for row, expected in zip(whole.history[1:], plain.history[1:], strict=True):
        assert row["train_objective"] == pytest.approx(expected["train_objective"], rel=1e-4)


def test_a_resumed_run_repeats_the_choice(uncompiled, tmp_path):
    """Plain runs stay plain, compiled ones compiled, until somebody says otherwise."""
    for wanted in (True, False):
        path = tmp_path / f"{wanted}.pt"
        first = fit(compile=wanted, checkpoint=path, max_minutes=1e-9)
        assert first.compiled == wanted
        resumed = fit(compile=None, checkpoint=path, resume=True)
        assert resumed.compiled == wanted
        assert repr(resumed.history) == repr(fit(compile=wanted).history)
    overruled = fit(compile=False, checkpoint=path, resume=True, epochs=5)
    assert not overruled.compiled
