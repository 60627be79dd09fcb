"""The step as one graph: its numbers are the plain step's, and what its inputs are.

Compiling costs seconds, so two graphs are compiled for the folder. Elsewhere ``uncompiled``
runs the traced graph as it is, which goes the same way but for the compiler.
"""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.graph import CompiledGradient
from pyro_vae.weights.handlers import anneal
from tests.compiled import BETAS, DATA, FIT, OBJECTIVES, X, gradient, off, parameters
from tests.conftest import tiny_pair
from tests.statistics import assert_mean_close, flat, z_score

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


@pytest.mark.slow
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


@pytest.mark.slow
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
