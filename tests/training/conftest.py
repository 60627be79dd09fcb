"""Fixtures of this folder's tests."""

import pytest
import torch

from pyro_vae.training.gradients import Gradients
from pyro_vae.training.graph import CompiledGradient
from tests.compiled import BETAS, OBJECTIVES, X
from tests.compiler import needs_compiler
from tests.conftest import tiny_pair


@pytest.fixture
def uncompiled(monkeypatch):
    """The traced graph stands for what the compiler makes of it; counts the graphs."""
    graphs = []

    def keep(graph, inputs, **settings):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch._inductor, "compile", keep)
    return graphs


@pytest.fixture(scope="session")
def compile_once():
    """The compiler, asked once for each graph: parameters and data are inputs."""
    needs_compiler()
    real, done = torch._inductor.compile, {}

    def compile(graph, inputs, **settings):
        key = graph.code, tuple(tensor.shape for tensor in inputs)
        if key not in done:
            done[key] = real(graph, inputs, **settings)
        return done[key]

    return compile


@pytest.fixture(scope="session", params=["iwae", "thinned dreg"])
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
