"""Modes and running statistics, whatever form a program has: module, method, function, handler."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyro_vae
from pyro_vae import evaluation, objectives
from pyro_vae.errors import InputError
from pyro_vae.evaluation import activity
from pyro_vae.torch_state import evaluating, modules_of

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
HELD_OUT = X[:10] + 50


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn, self.out, self.modes = nn.BatchNorm1d(3), nn.Linear(3, 2), []

    def forward(self, x):
        self.modes.append(self.training)
        return self.out(self.bn(x))


def draw(loc, x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(loc, 0.7).to_event(1))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2, 3)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self, net, stored=False):
        super().__init__()
        self.net, self.stored = net, stored

    def forward(self, x):
        scale = pyro.param("scale", torch.tensor(1.0)) if self.stored else 1.0
        draw(scale * self.net(x), x)

    def method(self, x):
        draw(self.net(x), x)


class Plain:
    """An object that holds the module."""

    def __init__(self, net):
        self.net = net

    def method(self, x):
        pyro.module("net", self.net)
        draw(self.net(x), x)

    __call__ = method


def function(net):
    def guide(x):
        pyro.module("net", net)
        draw(net(x), x)

    return guide


def nested(net):
    def encode(x):
        return net(x)

    def guide(x):
        pyro.module("net", net)
        draw(encode(x), x)

    return guide


def bound(net, x):
    pyro.module("net", net)
    draw(net(x), x)


FORMS = {
    "module": Guide,
    "module with a stored parameter": partial(Guide, stored=True),
    "method": lambda net: Guide(net).method,
    "function": function,
    "function in a function": nested,
    "partial": lambda net: partial(bound, net),
    "method of an object": lambda net: Plain(net).method,
    "object": Plain,
}
LOSSES = {
    "iwae": objectives.IWAE(3),
    "dreg": objectives.DReG(3),
    "piwae": objectives.PIWAE(1, 3),
    "thin": objectives.IWAE(4, thin=2),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loss", LOSSES)
def test_statistics_move_once_a_step_and_by_training_data_only(form, loss):
    net = Net()
    model, guide = Model(), FORMS[form](net)
    LOSSES[loss](model, guide)(X)
    assert net.bn.num_batches_tracked == 1
    settings = {"epochs": 2, "batch_size": 20, "progress": False}
    pyro_vae.fit(model, guide, X, valid=HELD_OUT, objective=LOSSES[loss], **settings)
    assert net.bn.num_batches_tracked == 5
    assert net.bn.running_mean.abs().max() < 2  # the held-out data lie around 50
    assert net.training


USES = {
    "evaluate": lambda *pair: evaluation.evaluate(*pair, num_particles=60),
    "bound_curve": lambda *pair: evaluation.bound_curve(*pair, 5),
    "sir": lambda *pair: pyro_vae.resampling.sir(*pair, 3, 3),
    "active units": lambda _, guide, x: activity.count_active_units(guide, x),
    "surgery": evaluation.elbo_surgery,
    "kl_per_unit": evaluation.kl_per_unit,
    "ais": lambda *pair: evaluation.ais(*pair, num_particles=2, num_temperatures=2),
    "ArviZ": lambda *pair: pyro_vae.to_inference_data(*pair, num_draws=3, diagnostic_particles=30),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_judges_runs_in_evaluation_mode_and_gives_the_mode_back(form):
    net = Net()
    guide = FORMS[form](net)
    net.bn.eval()  # a part that its owner keeps still
    for name, use in USES.items():
        use(Model(), guide, HELD_OUT)
        assert net.modes, name
        assert not any(net.modes), name
        assert (net.training, net.bn.training) == (True, False), name
        net.modes.clear()
    assert net.bn.num_batches_tracked == 0


def test_the_mode_is_given_back_after_an_error():
    net = Net()

    def guide(x):
        raise KeyError(net)

    with pytest.raises(KeyError):
        evaluation.evaluate(Model(), guide, X, num_particles=60)
    assert net.training


def test_chunks_are_refused_for_a_function_that_normalises():
    with pytest.raises(InputError, match=r"BatchNorm1d .* normalises by the statistics of whole"):
        pyro_vae.fit(Model(), function(Net()), X, epochs=1, chunk_size=60, progress=False)


def test_modules_that_a_program_is_made_of():
    net, other = Net(), Net()
    assert list(modules_of(net)) == [net]
    assert list(modules_of(poutine.scale(net, 0.5))) == [net]
    assert list(modules_of(poutine.scale(function(net), 0.5))) == [net]

    def default(x, net=net, *, other=other):
        return net(x) + other(x)

    assert list(modules_of(default)) == [net, other]
    assert list(modules_of(len)) == []

    def recursive(x):
        return recursive(net(x))

    assert list(modules_of(recursive)) == [net]
    with evaluating(poutine.scale(default, 2.0)):
        assert not net.training
        assert not other.bn.training
    assert net.bn.training
