"""Programs that run twice in a step: flows are cut, noise is repeated, statistics move once."""

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


class Dropped(nn.Module):
    def __init__(self, p, observes):
        super().__init__()
        self.lin, self.drop, self.observes = nn.Linear(2, 2), nn.Dropout(p), observes

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            if self.observes:
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.lin(z), 0.5).to_event(1), obs=x)
            else:
                q = dist.Normal(self.lin(self.drop(x)), 0.8)
                pyro.sample("z", q.to_event(1))


@pytest.mark.parametrize(
    "objective", [objectives.DReG(4), objectives.IWAE(4, thin=2)], ids=["dreg", "thin"]
)
def test_dropout_drops_the_same_units_in_both_runs(objective):
    """The gradient's mean is IWAE's, within five standard errors; other masks are off by 25."""
    x = 2 * torch.randn(30, 2) + 3
    model, guide = Dropped(0.0, True), Dropped(0.5, False)

    def moments(chosen, number=150):
        runs = []
        for _ in range(number):
            model.zero_grad()
            guide.zero_grad()
            chosen(model, guide)(x).backward()
            runs.append(
                torch.cat([model.lin.weight.grad.flatten(), guide.lin.weight.grad.flatten()])
            )
        table = torch.stack(runs)
        return table.mean(0), table.var(0) / number

    (plain, its), (other, theirs) = moments(objectives.IWAE(4)), moments(objective)
    assert ((other - plain) / (its + theirs).sqrt()).abs().max() < 5


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


def test_a_shared_parameter_takes_one_step():
    """Adam's first step is the learning rate, whoever reads the parameter."""
    layer = nn.Linear(1, 1)
    before = layer.weight.detach().clone()
    pyro_vae.fit(
        Half(layer, True),
        Half(layer, False),
        torch.randn(20),
        objective=pyro_vae.IWAE(3),
        epochs=1,
        batch_size=20,
        progress=False,
        compile=False,
        optimiser=pyro_vae.OptimiserSettings(lr=0.1),
    )
    assert abs((layer.weight - before).abs().item() - 0.1) < 1e-3
