"""Where nothing is compiled: compilers that fail, graphs that are wrong, runs too short."""

import math
import re

import pytest
import torch

import pyro_vae
from pyro_vae import LinearWarmUp
from pyro_vae.objectives import make_objective
from pyro_vae.training import probe
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.graph import CompiledGradient
from pyro_vae.training.probe import choose
from tests.compiled import BETAS, DATA, FIT, X, fit, parameters
from tests.conftest import tiny_pair
from tests.statistics import flat

# Where it is not compiled


def ask(wanted, objective=None, steps=10, schedules=(BETAS,), **settings):
    gradients = Gradients(objective or pyro_vae.IWAE(4), *tiny_pair(), **settings)
    state = torch.get_rng_state()
    choice = choose(gradients, X, schedules, steps, wanted)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in parameters((gradients.model, gradients.guide)))
    assert any(g.by_compiler for g in gradients.compiled.values()) == choice.compiled
    assert "\n" not in choice.reason
    return choice


def test_a_compiler_that_fails_leaves_the_plain_step(monkeypatch):
    def broken(*args, **settings):
        raise RuntimeError("no C++ compiler found\nand a second line")

    monkeypatch.setattr(torch._inductor, "compile", broken)
    choice = ask(True)
    assert choice == (False, "step not compiled: RuntimeError: no C++ compiler found")
    found = []
    for wanted in (True, False):
        pair = tiny_pair()
        result = fit(pair, compile=wanted)
        assert not result.compiled
        found.append((repr(result.history), flat([p.detach() for p in parameters(pair)])))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_an_error_without_words_is_named(monkeypatch):
    def broken(*args, **settings):
        raise NotImplementedError

    monkeypatch.setattr(torch._inductor, "compile", broken)
    assert ask(True).reason == "step not compiled: NotImplementedError: NotImplementedError"


def test_the_second_graph_may_fail_too(monkeypatch):
    """Of an annealed run the graph of the second half; the first is not used then either."""
    graphs = []

    def broken(graph, inputs, **settings):
        if graphs:
            raise RuntimeError("too large")
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch._inductor, "compile", broken)
    assert ask(True, schedules=(BETAS, {})).reason == "step not compiled: RuntimeError: too large"
    assert len(graphs) == 1


def wrong_gradient(patch, loss=1.0, gradients=1.0):
    call = CompiledGradient.__call__

    def wrong(self, x, betas):
        found = call(self, x, betas)
        for parameter in self._trained:
            parameter.grad *= gradients
        return found._replace(value=found.value * loss)

    patch.setattr(CompiledGradient, "__call__", wrong)


@pytest.mark.parametrize(
    "factors",
    [
        {"gradients": 2.0},
        {"gradients": 1.03},
        {"loss": 1.001},
        {"gradients": float("nan")},
        {"loss": float("nan")},
        {"gradients": 0.0},
    ],
)
def test_a_compiled_step_that_is_wrong_is_refused(uncompiled, monkeypatch, factors):
    wrong_gradient(monkeypatch, **factors)
    choice = ask(True)
    assert not choice.compiled
    assert "ArithmeticError: the compiled step differs from the plain one" in choice.reason
    assert uncompiled


def test_rounding_is_no_difference(uncompiled, monkeypatch):
    wrong_gradient(monkeypatch, 1 + 1e-6, 1 + 1e-4)
    assert ask(True).compiled


def test_a_wrong_graph_for_the_end_of_the_run_is_refused_as_well(uncompiled, monkeypatch):
    """The graph of the second half, without annealing, is compared as the first one is."""
    call = CompiledGradient.__call__

    def wrong(self, x, betas):
        found = call(self, x, betas)
        if not self.levels:
            for parameter in self._trained:
                parameter.grad *= 2
        return found

    monkeypatch.setattr(CompiledGradient, "__call__", wrong)
    assert not ask(True, schedules=(BETAS, {})).compiled


@pytest.mark.parametrize("name", ["pyro-elbo", "pyro-renyi"])
def test_pyros_losses_are_not_compiled(uncompiled, name):
    choice = ask(True, make_objective(name, 4))
    assert choice == (False, "step not compiled: Pyro's own losses are not")
    assert uncompiled == []


def test_particle_chunks_are_not_compiled(uncompiled):
    assert ask(True, chunk_size=3).reason == "step not compiled: particle chunks are not"
    assert uncompiled == []


def test_nobody_asked(uncompiled):
    assert ask(False) == (False, "")
    assert ask(None) == (False, "")  # ten steps of a tiny pair
    assert not fit(compile=None).compiled
    assert uncompiled == []


@pytest.mark.parametrize(
    ("worth", "cost", "ratio", "compiled", "line"),
    [
        (0.0, 0.0, 1e9, True, r"step compiled in \d+ s; it takes \d+\.\d\d of the plain step"),
        (0.0, 0.0, 0.0, False, r"step not compiled: it would take \d+\.\d\d of the plain step"),
        (0.0, 1e9, 1e9, False, r"step not compiled: that would take about \d+ s and save \d+ s"),
        (1e9, 0.0, 1e9, False, ""),
    ],
)
def test_it_is_compiled_where_it_pays(uncompiled, monkeypatch, worth, cost, ratio, compiled, line):
    monkeypatch.setattr(probe, "WORTH_TRACING", worth)
    monkeypatch.setattr(probe, "COMPILING_OVER_TRACING", cost)
    monkeypatch.setattr(probe, "WORTH_RATIO", ratio)
    choice = ask(None)
    assert choice.compiled == compiled
    assert bool(uncompiled) == (worth == cost == 0)
    assert re.fullmatch(line, choice.reason)
    assert ask(True).compiled  # whoever wants it gets it, fast or slow


def test_a_run_that_is_stopped_early_gains_little(monkeypatch, uncompiled):
    """What compiling saves is counted to the end of the steps or of the time, as comes first."""
    monkeypatch.setattr(probe, "WORTH_TRACING", 0.0)
    monkeypatch.setattr(probe, "WORTH_RATIO", 1e9)
    monkeypatch.setattr(probe, "COMPILING_OVER_TRACING", 1e-6)
    gradients = Gradients(pyro_vae.IWAE(4), *tiny_pair())
    assert choose(gradients, X, (BETAS,), 10**9, None, seconds_left=60.0).compiled
    monkeypatch.setattr(probe, "COMPILING_OVER_TRACING", 1e6)
    gradients = Gradients(pyro_vae.IWAE(4), *tiny_pair())
    assert not choose(gradients, X, (BETAS,), 10**9, None, seconds_left=60.0).compiled
    assert choose(gradients, X, (BETAS,), 10**12, None).compiled


def test_nobody_waits_for_the_compiler_before_the_first_epoch_is_shown(
    uncompiled, spied, monkeypatch, tmp_path
):
    for name, value in (("WORTH_TRACING", 0.0), ("COMPILING_OVER_TRACING", 0.0)):
        monkeypatch.setattr(probe, name, value)
    monkeypatch.setattr(probe, "WORTH_RATIO", 1e9)

    def shown(history):
        spied.append(("epoch", len(history) - 1, len(uncompiled)))

    path = tmp_path / "c.pt"
    whole = fit(compile=None, on_epoch=shown, checkpoint=path, max_minutes=1.0)
    epochs = [event[1:] for event in spied if event[0] == "epoch"]
    assert epochs == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1)]
    assert whole.compiled
    short = fit(compile=None, epochs=1)
    assert not short.compiled


@pytest.mark.parametrize(("end", "levels"), [(0.5, [("z2",)]), (1.0, [("z2",), ()])])
def test_dreg_has_a_graph_without_the_pass_for_annealed_levels(uncompiled, spied, end, levels):
    """One where annealing never ends, two where it does, both compiled before the first step."""
    result = fit(
        compile=True, annealing={"z2": LinearWarmUp(0.2, end, 0.5)}, objective=pyro_vae.DReG(4)
    )
    assert result.compiled
    kinds = [event[0] for event in spied]
    assert [event for event in spied if event[0] == "compile"] == [
        ("compile", 10, names) for names in levels
    ]
    assert kinds.index("run") >= len(levels)


def test_a_program_that_is_wrong_says_so_itself():
    """The probe leaves the message to the first step."""
    model, guide = tiny_pair()
    gradients = Gradients(pyro_vae.IWAE(3), model, guide)
    assert choose(gradients, X[:, :5], ({},), 10, True) == (False, "")
    with pytest.raises(pyro_vae.InputError, match=r"has shape .*, 5\)"):
        pyro_vae.fit(model, guide, DATA[:, :5], **FIT, compile=True)


def test_a_long_plain_run_is_traced_and_stays_the_plain_one_bit_for_bit(monkeypatch):
    """Without a compiler the handlers still run once, where that changes no bit."""
    histories = []
    for worth in (0.0, math.inf):
        monkeypatch.setattr(probe, "FEW_STEPS", 0)
        monkeypatch.setattr(probe, "WORTH_TRACING", worth)
        result = fit(compile=False)
        assert not result.compiled
        histories.append(repr(result.history))
    assert histories[0] == histories[1]


def test_a_trace_that_differs_in_a_bit_is_not_used(monkeypatch):
    monkeypatch.setattr(probe, "WORTH_TRACING", 0.0)
    monkeypatch.setattr(probe, "FEW_STEPS", 0)
    gradients = Gradients(pyro_vae.IWAE(4), *tiny_pair())
    choose(gradients, X, (BETAS,), 10, False)
    assert [graph.by_compiler for graph in gradients.compiled.values()] == [False]
    call = CompiledGradient.__call__

    def nearly(self, x, betas):
        loss = call(self, x, betas)
        return loss._replace(value=loss.value * (1 + 1e-6))

    monkeypatch.setattr(CompiledGradient, "__call__", nearly)
    choose(gradients, X, (BETAS,), 10, False)
    assert not gradients.compiled
