"""The step as one graph: its numbers are the plain step's, and where it may not be used it is not.

Compiling costs seconds, so two graphs are compiled for the whole file. Elsewhere ``uncompiled``
runs the traced graph as it is, which goes the same way but for the compiler.
"""

import math
import re

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae import LinearWarmUp, OptimiserSettings
from pyro_vae.objectives import make_objective
from pyro_vae.training import probe
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.graph import CompiledGradient
from pyro_vae.training.probe import choose
from pyro_vae.weights.handlers import anneal
from tests.conftest import tiny_pair
from tests.statistics import assert_mean_close, flat, z_score

BETAS = {"z2": 0.3}
X = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
DATA = torch.randn(26, 6, generator=torch.Generator().manual_seed(1))
OBJECTIVES = {
    "iwae": lambda: pyro_vae.IWAE(6),
    "dreg": lambda: pyro_vae.DReG(6),
    "elbo": lambda: make_objective("elbo", 6),
    "elbo-analytic": lambda: make_objective("elbo-analytic", 6),
    "renyi": lambda: pyro_vae.RenyiELBO(0.5, 6),
    "thinned iwae": lambda: pyro_vae.IWAE(6, thin=2),
    "thinned dreg": lambda: pyro_vae.DReG(6, thin=2),
    "thinned renyi": lambda: pyro_vae.RenyiELBO(0.5, 6, thin=2),
}


def parameters(pair):
    return [p for program in pair for p in program.parameters()]


def gradient(gradients, x=X, betas=None, seed=3):
    """Loss, flat gradient and kept share of one call; None gradients are left out."""
    own = parameters((gradients.model, gradients.guide))
    for parameter in own:
        parameter.grad = None
    torch.manual_seed(seed)
    loss = gradients(x, betas)
    found = [p.grad for p in own if p.grad is not None]
    assert not loss.value.requires_grad
    return loss.value, flat(found), torch.as_tensor(loss.kept_share), len(found)


def off(found, expected):
    """Distance over length."""
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture
def uncompiled(monkeypatch):
    """The traced graph stands for what the compiler makes of it; counts the graphs."""
    graphs = []

    def keep(graph, inputs, **settings):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch._inductor, "compile", keep)
    return graphs


@pytest.fixture(scope="module")
def compile_once():
    """The compiler, asked once for each graph of this file: parameters and data are inputs."""
    real, done = torch._inductor.compile, {}

    def compile(graph, inputs, **settings):
        key = graph.code, tuple(tensor.shape for tensor in inputs)
        if key not in done:
            done[key] = real(graph, inputs, **settings)
        return done[key]

    return compile


@pytest.fixture(scope="module", params=["iwae", "thinned dreg"])
def really(request, compile_once):
    """(plain, compiled) gradients of one pair, compiled for annealed batches of ten."""
    pair = tiny_pair()
    objective = OBJECTIVES[request.param]()
    plain, compiled = Gradients(objective, *pair), Gradients(objective, *pair)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch._inductor, "compile", compile_once)
        compiled.compile(X, (BETAS,))
    assert torch.equal(torch.get_rng_state(), state)
    return plain, compiled


# Numbers


@pytest.mark.parametrize(
    ("name", "guide"),
    [
        *((name, "topdown") for name in OBJECTIVES),
        *(
            (name, guide)
            for name in ("iwae", "thinned dreg")
            for guide in ("bottomup", "meanfield")
        ),
    ],
)
@pytest.mark.parametrize("betas", [{}, BETAS], ids=["plain", "annealed"])
def test_the_graph_gives_the_plain_gradient_exactly(uncompiled, name, guide, betas):
    pair = tiny_pair(guide)
    plain, compiled = (Gradients(OBJECTIVES[name](), *pair) for _ in range(2))
    compiled.compile(X, (betas,))
    (graph,) = uncompiled
    assert isinstance(graph, torch.fx.GraphModule)
    expected = gradient(plain, betas=betas)
    state = torch.get_rng_state()
    found = gradient(compiled, betas=betas)
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(found[:3], expected[:3], strict=True):
        assert torch.equal(one, other)
    assert found[3] == expected[3]
    assert not torch.equal(gradient(compiled, betas=betas, seed=4)[1], found[1])
    other = {} if betas else BETAS
    assert not torch.equal(gradient(plain, betas=other)[1], expected[1])


def test_the_compiled_gradient_is_the_plain_one(really):
    plain, compiled = really
    for seed in range(3):
        expected = gradient(plain, betas=BETAS, seed=seed)
        state = torch.get_rng_state()
        found = gradient(compiled, betas=BETAS, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)  # the generator is where it would be
        assert off(found[0], expected[0]) < 2e-5
        assert off(found[1], expected[1]) < 2e-5
        assert found[2] == expected[2]
        assert off(gradient(plain, betas=BETAS, seed=seed + 10)[1], expected[1]) > 0.01


def test_draws_differ_from_call_to_call_and_follow_the_seed(really):
    _, compiled = really
    chains = []
    for _ in range(2):
        torch.manual_seed(7)
        chains.append([compiled(X, BETAS).value.item() for _ in range(5)])
    assert chains[0] == chains[1]
    assert len(set(chains[0])) == 5


def test_the_mean_loss_is_the_plain_one(really):
    plain, compiled = really
    repeats, fewer = 400, type(plain.objective)(2)
    torch.manual_seed(1)
    found = torch.stack([compiled(X, BETAS).value for _ in range(repeats)]) / len(X)
    with anneal(BETAS), torch.no_grad():

        def losses(objective, x):  # each row of many copies is a repetition
            terms = pyro_vae.log_weights(plain.model, plain.guide, x, objective.num_particles)
            return -objective.bound(terms.annealed_log_w).reshape(repeats, len(X)).mean(1)

        torch.manual_seed(2)
        x = X.repeat(repeats, 1)
        eager, other = losses(plain.objective, x), losses(fewer, x)
    assert_mean_close(found - eager, 0.0, n_se=4)
    assert z_score(found - other, 0.0) > 8


def test_gradients_are_added_and_parameters_are_inputs(really):
    """As a step changes them, and twice without clearing them."""
    plain, compiled = really
    own = parameters((plain.model, plain.guide))
    before = [p.detach().clone() for p in own]
    once = gradient(compiled, betas=BETAS)[1]
    torch.manual_seed(3)
    compiled(X, BETAS)
    torch.testing.assert_close(flat([p.grad for p in own]), 2 * once, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for parameter in own:
            parameter += 0.1 * torch.randn_like(parameter)
    assert off(gradient(compiled, betas=BETAS)[1], once) > 0.01
    found, expected = gradient(compiled, betas=BETAS), gradient(plain, betas=BETAS)
    assert off(found[1], expected[1]) < 2e-5
    with torch.no_grad():
        for parameter, old in zip(own, before, strict=True):
            parameter.copy_(old)


# Inputs of a graph


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.3, 0.999, 1.7])
def test_one_graph_serves_every_beta(really, monkeypatch, beta):
    plain, compiled = really
    monkeypatch.setattr(CompiledGradient, "__init__", None)  # nothing more is compiled
    (graph,) = compiled.compiled.values()
    calls = []
    run = graph._run
    monkeypatch.setattr(graph, "_run", lambda *inputs: calls.append(1) or run(*inputs))
    found, expected = (gradient(g, betas={"z2": beta}) for g in (compiled, plain))
    assert calls == [1]
    assert off(found[0], expected[0]) < 2e-5
    assert off(found[1], expected[1]) < 2e-5
    if beta != 0.3:
        assert off(gradient(plain, betas=BETAS)[1], expected[1]) > 1e-4
    assert len(compiled.compiled) == 1


def test_data_are_an_input_and_other_batches_take_the_plain_path(really, monkeypatch):
    plain, compiled = really
    monkeypatch.setattr(CompiledGradient, "__init__", None)
    calls = []
    call = CompiledGradient.__call__

    def counted(self, x, betas):
        calls.append(len(x))
        return call(self, x, betas)

    monkeypatch.setattr(CompiledGradient, "__call__", counted)
    other = DATA[:10]
    found, expected = (gradient(g, other, BETAS) for g in (compiled, plain))
    assert calls == [10]
    assert off(found[1], expected[1]) < 2e-5
    assert off(gradient(plain, X, BETAS)[1], expected[1]) > 0.01
    # A last, smaller batch, a batch whose level is not annealed: plain, to the last bit.
    cases = [(DATA[:6], BETAS), (X, {}), (X, {"z1": 0.5, "z2": 0.5})]
    if isinstance(plain.objective, pyro_vae.DReG):  # for which beta = 1 is another graph
        cases.append((X, {"z2": 1.0}))
    for x, betas in cases:
        calls.clear()
        found, expected = (gradient(g, x, betas) for g in (compiled, plain))
        assert calls == []
        for one, theirs in zip(found, expected, strict=True):
            assert torch.equal(torch.as_tensor(one), torch.as_tensor(theirs))


def test_data_chunks_have_a_graph_for_each_size(uncompiled):
    """26 rows with 6 particles in chunks of 60: parts of 9, 9 and 8."""
    pair = tiny_pair()
    plain, compiled = (Gradients(pyro_vae.IWAE(6), *pair, chunk_size=60) for _ in range(2))
    compiled.compile(DATA, (BETAS, {}))
    assert len(uncompiled) == len(compiled.compiled) == 4
    for betas in (BETAS, {}):
        found, expected = (gradient(g, DATA, betas) for g in (compiled, plain))
        assert torch.equal(found[0], expected[0])
        torch.testing.assert_close(found[1], expected[1], rtol=1e-5, atol=1e-5)


class Shared(nn.Module):
    """What model and guide both use: a parameter, two that are not trained, and a buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.frozen = nn.Parameter(torch.randn(4), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("offset", torch.randn(4))

    def tied(self):
        """Another module with the very same tensors."""
        other = Shared()
        for name in ("weight", "frozen", "unused", "offset"):
            setattr(other, name, getattr(self, name))
        return other


class SharedModel(nn.Module):
    def __init__(self, shared):
        super().__init__()
        self.shared, self.bias = shared, nn.Parameter(torch.zeros(4))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            loc = z @ self.shared.weight + self.shared.offset + self.bias
            pyro.sample("x", dist.Normal(loc, self.shared.frozen.exp()).to_event(1), obs=x)


class SharedGuide(nn.Module):
    def __init__(self, shared):
        super().__init__()
        self.shared, self.log_scale = shared, nn.Parameter(torch.zeros(3))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc = (x - self.shared.offset) @ self.shared.weight.T * self.shared.frozen.tanh()[0]
            pyro.sample("z", dist.Normal(loc, self.log_scale.exp()).to_event(1))


@pytest.mark.parametrize(
    "share", [Shared.tied, lambda shared: shared], ids=["tied parameters", "one module"]
)
@pytest.mark.parametrize("objective", [pyro_vae.IWAE(5), pyro_vae.DReG(5, thin=2)])
def test_frozen_shared_and_unused_parameters_and_buffers(uncompiled, objective, share):
    shared = Shared()
    pair = SharedModel(shared), SharedGuide(share(shared))
    named = dict(torch.nn.ModuleList(pair).named_parameters())
    assert len(named) == 5
    x = torch.randn(7, 4)
    plain, compiled = (Gradients(objective, *pair) for _ in range(2))
    compiled.compile(x)
    for change in (lambda: None, lambda: shared.offset.add_(1), lambda: shared.frozen.add_(0.5)):
        with torch.no_grad():
            change()
        found = []
        for gradients in (plain, compiled):
            for parameter in named.values():
                parameter.grad = None
            torch.manual_seed(1)
            loss = gradients(x).value
            found.append((loss, {name: p.grad for name, p in named.items() if p.grad is not None}))
        (loss, mine), (other_loss, other) = found
        assert torch.equal(loss, other_loss)
        assert sorted(mine) == sorted(other) == ["0.bias", "0.shared.weight", "1.log_scale"]
        for name, value in mine.items():
            torch.testing.assert_close(other[name], value, rtol=1e-6, atol=1e-6)
    for program in pair:  # the tensors are still those that there were
        for _, parameter in program.named_parameters():
            assert any(parameter is p for p in named.values())


def test_dreg_leaves_a_guide_that_uses_a_module_twice_as_it_is():
    shared = Shared()
    pair = SharedModel(shared), SharedGuide(shared)
    pair[1].again = shared
    weight = shared.weight
    pyro_vae.DReG(5).differentiable_loss(*pair, torch.randn(7, 4)).backward()
    assert shared.weight is weight
    assert weight.grad is not None


def test_a_frozen_pair_trains_what_is_left(uncompiled):
    model, guide = tiny_pair()
    model.requires_grad_(False)
    before = [p.clone() for p in model.parameters()]
    result = pyro_vae.fit(model, guide, DATA, **FIT, compile=True)
    assert result.compiled
    assert all(map(torch.equal, before, model.parameters()))
    other = tiny_pair()
    other[0].requires_grad_(False)
    pyro_vae.fit(*other, DATA, **FIT, compile=False)
    torch.testing.assert_close(flat(guide.parameters()), flat(other[1].parameters()))


# Whole runs: 26 rows in batches of ten, so that the last batch of an epoch has six

FIT = {"objective": pyro_vae.IWAE(4), "batch_size": 10, "epochs": 4, "progress": False}


def fit(pair=None, **settings):
    return pyro_vae.fit(*(pair or tiny_pair()), DATA, **{**FIT, **settings})


@pytest.fixture
def spied(monkeypatch):
    """What is compiled and run by a fit, in order."""
    events = []
    init, call = CompiledGradient.__init__, CompiledGradient.__call__

    def new(self, objective, model, guide, x, betas, *rest):
        events.append(("compile", len(x), CompiledGradient.annealed_levels(objective, betas)))
        init(self, objective, model, guide, x, betas, *rest)

    def run(self, x, betas):
        events.append(("run", len(x), self.levels))
        return call(self, x, betas)

    monkeypatch.setattr(CompiledGradient, "__init__", new)
    monkeypatch.setattr(CompiledGradient, "__call__", run)
    return events


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
