"""Programs that run twice in a step: flows are cut, statistics move once, shared parameters too."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.torch_transform import TransformModule
from torch import nn

import pyro_vae
from pyro_vae import evaluation, objectives


class Affine(TransformModule):
    """loc + exp(s) x: the flow whose draws are those of Normal(loc, exp(s)) on the same noise."""

    domain = codomain = dist.constraints.real
    bijective = True

    def __init__(self):
        super().__init__(cache_size=1)
        self.loc, self.s = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.tensor(-0.5))

    def _call(self, x):
        return self.loc + self.s.exp() * x

    def _inverse(self, y):
        return (y - self.loc) / self.s.exp()

    def log_abs_det_jacobian(self, x, y):
        return self.s.expand(x.shape)


class OneLatent(nn.Module):
    def __init__(self, flow, observes):
        super().__init__()
        self.t, self.flow, self.observes = Affine(), flow, observes

    def forward(self, x):
        if self.flow:
            q = dist.TransformedDistribution(dist.Normal(torch.zeros(len(x)), 1.0), [self.t])
        else:
            q = dist.Normal(self.t.loc.expand(len(x)), self.t.s.exp())
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", q)
            if self.observes:
                pyro.sample("x", dist.Normal(z, 0.5), obs=x)


@pytest.mark.parametrize("where", ["guide", "model", "both"])
@pytest.mark.parametrize(
    "objective",
    [
        objectives.IWAE(6),
        objectives.DReG(6),
        objectives.STL(6),
        objectives.ELBO(6, estimator="dreg"),
        objectives.PIWAE(2, 6),
    ],
    ids=["iwae", "dreg", "stl", "elbo dreg", "piwae"],
)
def test_a_flow_has_the_gradient_of_the_normal_that_it_is(objective, where):
    """A density that reads parameters late (pyro#2598) is cut like one that holds them."""

    def gradient(flow):
        model = OneLatent(flow and where != "guide", True)
        guide = OneLatent(flow and where != "model", False)
        torch.manual_seed(0)
        objective(model, guide)(torch.tensor([1.0, -2.0, 0.5])).backward()
        return torch.stack([p.grad for p in (*model.parameters(), *guide.parameters())])

    assert torch.allclose(gradient(True), gradient(False), atol=1e-4)


class Normalised(nn.Module):
    def __init__(self, observes):
        super().__init__()
        self.bn, self.net, self.observes = nn.BatchNorm1d(3), nn.Linear(3, 2), observes
        self.dec = nn.Linear(2, 3)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            if self.observes:
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.dec(z), 0.5).to_event(1), obs=x)
            else:
                pyro.sample("z", dist.Normal(self.net(self.bn(x)), 0.7).to_event(1))


@pytest.mark.parametrize(
    "objective", [objectives.IWAE(3), objectives.DReG(3)], ids=["iwae", "dreg"]
)
def test_statistics_move_once_a_step_and_not_by_held_out_data(objective):
    x, held_out = torch.randn(40, 3), torch.randn(10, 3) + 50
    found = []
    for valid in (None, held_out):
        torch.manual_seed(0)
        model, guide = Normalised(True), Normalised(False)
        settings = {"epochs": 2, "batch_size": 20, "progress": False, "compile": False}
        pyro_vae.fit(model, guide, x, valid=valid, objective=objective, **settings)
        assert guide.bn.num_batches_tracked == 4
        assert guide.training
        found.append(guide.bn.running_mean.clone())
    assert torch.equal(*found)
    evaluation.evaluate(model, guide, held_out, num_particles=30, bound_particles=2)
    assert torch.equal(guide.bn.running_mean, found[1])
    assert guide.training


class Half(nn.Module):
    def __init__(self, shared, observes):
        super().__init__()
        self.shared, self.observes = shared, observes

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc = torch.zeros(len(x)) if self.observes else self.shared(x[:, None])[:, 0]
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            if self.observes:
                pyro.sample("x", dist.Normal(self.shared(z[..., None])[..., 0], 0.5), obs=x)


@pytest.mark.parametrize("objective", ["iwae", "dreg", "elbo", "piwae", "pyro-elbo", "pyro-renyi"])
def test_a_shared_parameter_takes_one_step(objective):
    """Adam's first step is the learning rate, whoever reads the parameter."""
    settings = {"num_particles": 3} | ({"inner": 1} if objective == "piwae" else {})
    layer = nn.Linear(1, 1)
    before = layer.weight.detach().clone()
    pyro_vae.fit(
        Half(layer, True),
        Half(layer, False),
        torch.randn(20),
        objective=(objective, settings),
        epochs=1,
        batch_size=20,
        progress=False,
        compile=False,
        optimiser=pyro_vae.OptimiserSettings(lr=0.1),
    )
    assert abs((layer.weight - before).abs().item() - 0.1) < 1e-3
    assert not pyro.get_param_store()._params
    assert not pyro.get_param_store()._param_to_name


@pytest.mark.parametrize("objective", [objectives.IWAE(4), objectives.DReG(4), objectives.STL(4)])
def test_a_function_prepared_for_svi_is_the_function(objective):
    net, x = nn.Linear(1, 1), torch.randn(6, 1)

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(net(x), 0.7).to_event(1))

    found = []
    for pair in ((model, guide), pyro_vae.for_svi(model, guide)):
        net.zero_grad()
        torch.manual_seed(1)
        objective.loss_and_grads(*pair, x)
        found.append(net.weight.grad.clone())
    torch.testing.assert_close(*found)
