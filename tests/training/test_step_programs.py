"""Steps of odd programs: particles without weight, and Pyro's checks of the first batch."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.util import is_validation_enabled
from torch import nn

import pyro_vae
from pyro_vae.objectives.estimators import Live
from pyro_vae.torch_state import denormals_are_flushed
from tests.conftest import tiny_pair

# Particles of no weight


class SharpModel(nn.Module):
    """x | z of so small a scale that the log-weights of a batch spread over 1000 nats."""

    def __init__(self, seen):
        super().__init__()
        self.scale, self.seen = nn.Parameter(torch.full((2,), 0.07)), seen

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            watch(z, self.seen)
            pyro.sample("x", dist.Normal(z, self.scale).to_event(1), obs=x)


class WideGuide(nn.Module):
    """q(z | x) much wider than the posterior."""

    def __init__(self, seen):
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
        self.seen = seen

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            q = dist.Normal(self.loc + 0.5 * x, self.log_scale.exp())
            watch(pyro.sample("z", q.to_event(1)), self.seen)


def watch(z, seen):
    """Record the gradients that reach a latent."""
    if z.requires_grad:
        z.register_hook(lambda gradient: seen.append(gradient.clone()))


def denormal(tensor):
    return (tensor != 0) & (tensor.abs() < torch.finfo(tensor.dtype).tiny)


def sharp(objective, dtype=torch.float32):
    """Gradients at latents and of the parameters, and log-weights; always on the same noise."""
    seen = []
    model, guide = SharpModel(seen).to(dtype), WideGuide(seen).to(dtype)
    generator = torch.Generator().manual_seed(8)
    x = torch.randn(4, 2, generator=generator).to(dtype)
    with pytest.MonkeyPatch.context() as patch:

        def standard_normal(shape, dtype, device):
            generator = torch.Generator().manual_seed(9)
            return torch.randn(shape, generator=generator).to(dtype)

        patch.setattr(torch.distributions.normal, "_standard_normal", standard_normal)
        log_w = pyro_vae.log_weights(model, guide, x, objective.num_particles).log_w.detach()
        objective.differentiable_loss(model, guide, x).backward()
    parameters = [*model.parameters(), *guide.parameters()]
    return seen, torch.cat([p.grad for p in parameters]), log_w


@pytest.mark.parametrize("objective", [pyro_vae.IWAE(3000), pyro_vae.DReG(3000)])
def test_particles_of_no_weight_have_no_gradient(objective, monkeypatch):
    assert not denormals_are_flushed()
    seen, found, log_w = sharp(objective)
    assert (log_w.max(0).values - log_w.min(0).values).min() > 1000
    losing = log_w.softmax(0) < 1e-16
    assert losing.float().mean() > 0.2
    assert len(seen) >= 2
    for gradient in seen:
        assert not denormal(gradient).any()
        assert (gradient[losing] == 0).all()
        assert (gradient[log_w.softmax(0) > 1e-6] != 0).any()
    _, exact, _ = sharp(objective, torch.float64)
    torch.testing.assert_close(found.double(), exact, rtol=2e-4, atol=2e-4)

    # The same without the threshold: denormal numbers, and the same sum.
    monkeypatch.setattr(Live, "log_w", property(lambda live: live.terms.annealed_log_w))
    seen, untouched, _ = sharp(objective)
    assert any(denormal(gradient).any() for gradient in seen)
    assert any((gradient[losing] != 0).any() for gradient in seen)
    torch.testing.assert_close(found, untouched, rtol=1e-6, atol=1e-6)


def test_weights_that_are_small_but_count_are_kept():
    """Of 200 000 particles of about equal weight none is dropped."""
    model, guide = SharpModel([]), WideGuide(seen := [])
    with torch.no_grad():
        model.scale.fill_(1e3)
    loss = pyro_vae.IWAE(200_000)
    with pyro_vae.annealing.anneal({"z": 0.0}):
        loss.differentiable_loss(model, guide, torch.ones(1, 2)).backward()
    (gradient,) = seen
    assert (gradient != 0).all()


# Checks of the programs


class Pixels(nn.Module):
    """A pair's model whose data must be 0 or 1, which Pyro's validation alone notices."""

    def __init__(self):
        super().__init__()
        self.weight, self.states = nn.Parameter(torch.randn(2, 6)), []

    def forward(self, x):
        self.states.append((is_validation_enabled(), pyro.poutine.util.is_validation_enabled()))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z @ self.weight).to_event(1), obs=x)


def fit_pixels(x, **settings):
    model = Pixels()
    guide = WideGuide([])
    guide.forward = lambda x: _guide(guide, x)
    settings = {"compile": False, "progress": False, "epochs": 2, "batch_size": 4, **settings}
    try:
        pyro_vae.fit(model, guide, x, objective=pyro_vae.IWAE(3), **settings)
    finally:
        states = [all(state) for state in model.states]
        assert all(any(state) == all(state) for state in model.states)
        model.states = states
    return model


def _guide(guide, x):
    with pyro.plate("data", len(x), dim=-1):
        loc = guide.loc.expand(len(x), 2)
        pyro.sample("z", dist.Normal(loc, guide.log_scale.exp()).to_event(1))


@pytest.mark.parametrize("before", [True, False])
def test_the_first_batch_alone_is_checked(before):
    x = torch.rand(12, 6).round()
    with pyro.validation_enabled(before):
        # The first run finds out which parameters the programs have.
        assert fit_pixels(x).states == [False] + [True] + [False] * 5
        assert is_validation_enabled() == before


def test_a_probe_checks_nothing_and_the_first_batch_all():
    """compile=None tries two plain steps after the first epoch, to see how long they take."""
    states = fit_pixels(torch.rand(12, 6).round(), compile=None).states
    assert states == [False] + [True] + [False] * 2 + [False] * 2 + [False] * 3


def test_data_out_of_the_support_are_refused_at_the_first_batch():
    with pytest.raises(ValueError, match="support"):
        fit_pixels(torch.rand(12, 6))


def test_a_program_of_the_wrong_shape_is_refused():
    model, guide = tiny_pair()

    class NoEvent(nn.Module):
        def forward(self, x):
            with pyro.plate("data", len(x), dim=-1):
                z2 = pyro.sample("z2", dist.Normal(torch.zeros(3), 1.0))
                z1 = pyro.sample("z1", model.conditionals[0](z2))
                pyro.sample("x", model.likelihood(z1), obs=x)

    wrong = NoEvent()
    wrong.inner = model
    with pytest.raises(ValueError, match="z2"):
        pyro_vae.fit(wrong, guide, torch.randn(10, 6), epochs=1, progress=False)
