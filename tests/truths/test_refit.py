"""A prior refitted to a trained pair is worth the fall of KL(q(z) || p(z)), here in closed form."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import pyro_vae
from pyro_vae import InputError
from pyro_vae.datasets import Batches
from pyro_vae.evaluation import likelihood_change
from pyro_vae.programs import HierarchicalVAE, build_guide, build_model
from pyro_vae.programs.likelihoods import FixedNoiseGaussian
from pyro_vae.programs.priors import PRIORS, LearnedPrior, StandardPrior
from pyro_vae.training.prior_refit import refit_prior, with_prior
from pyro_vae.training.top_draws import TopDraws
from tests.conftest import tiny_architecture

UNITS, PIXELS, ROWS = 2, 3, 3_000

pytestmark = pytest.mark.usefixtures("float64")


class LinearGuide(nn.Module):
    """q(z1 | x) = N(W x + c, diag(s^2))."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(UNITS, PIXELS))
        self.c = nn.Parameter(torch.tensor([1.5, -1.0]))
        self.s = nn.Parameter(torch.tensor([0.4, 0.7]))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z1", dist.Normal(x @ self.W.T + self.c, self.s).to_event(1))


@pytest.fixture
def pair():
    """Model, guide, rows, and q(z) of all data there could be: a Gaussian."""
    model = HierarchicalVAE(
        StandardPrior(UNITS), [], FixedNoiseGaussian(UNITS, (), PIXELS, noise=1.0)
    )
    guide = LinearGuide()
    factor = torch.tensor([[0.8, 0.0, 0.0], [0.3, 0.5, 0.0], [-0.2, 0.4, 0.6]])
    data = MultivariateNormal(torch.tensor([0.5, -0.2, 0.1]), scale_tril=factor)
    W = guide.W.detach()
    covariance = W @ data.covariance_matrix @ W.T + guide.s.detach().square().diag()
    aggregated = MultivariateNormal(W @ data.loc + guide.c.detach(), covariance)
    return model, guide, data.sample((2 * ROWS,)), aggregated


def units_of(aggregated):
    """The product of its units' own densities: what a prior of independent units can reach."""
    return Normal(aggregated.loc, aggregated.variance.sqrt())


def reading(model):
    """x = B z + b + noise: B, b and the covariance of the noise."""
    (linear,) = model.likelihood.loc.parts
    return linear.weight, linear.bias, model.likelihood.noise**2 * torch.eye(PIXELS)


def standard_errors(found, truth):
    return abs(found.mean - truth) / found.standard_error


def test_the_gain_is_the_kl_that_independent_units_can_close(pair):
    """Against the closed form; an untrained prior, and a gain of the wrong sign, lie far off."""
    model, guide, x, aggregated = pair
    truth = kl_divergence(units_of(aggregated), Normal(0.0, 1.0)).sum().item()
    assert truth > 1
    settings = {"held_out": x[ROWS:], "seed": 3}
    found = refit_prior(model, guide, x[:ROWS], "learned", steps=1_000, **settings)
    assert standard_errors(found.gain, truth) < 4
    assert standard_errors(found.gain, -truth) > 8
    untrained = refit_prior(model, guide, x[:ROWS], "learned", steps=1, **settings)
    assert standard_errors(untrained.gain, truth) > 8
    # What is left is the dependence between the units, which no such prior takes away.
    entropy = aggregated.entropy().item()
    assert standard_errors(found.after, units_of(aggregated).entropy().sum().item()) < 4
    assert standard_errors(found.after, entropy) > 8
    assert found.gain.mean == pytest.approx(found.before.mean - found.after.mean, abs=1e-12)
    torch.testing.assert_close(found.prior.loc, aggregated.loc, atol=0.1, rtol=0)
    torch.testing.assert_close(
        found.prior.log_scale, aggregated.variance.sqrt().log(), atol=0.1, rtol=0
    )
    assert (found.num_fitted, found.num_held_out) == (ROWS, ROWS)


def test_the_error_is_that_of_the_gain(pair):
    """Over sets of judged rows the gain varies as its standard error says, and not as the terms."""
    model, guide, x, aggregated = pair
    prior = LearnedPrior(UNITS)
    prior.loc.data.copy_(aggregated.loc)
    found = [
        refit_prior(
            model, guide, x[:ROWS], copy.deepcopy(prior), held_out=part, steps=1, lr=1e-9, seed=seed
        )
        for seed, part in enumerate(x.split(150))
    ]
    gains = torch.tensor([one.gain.mean for one in found])
    told = torch.tensor([one.gain.standard_error for one in found]).mean()
    assert 0.7 < gains.std() / told < 1.4  # 40 sets: 11 % of an error
    assert found[0].gain.mean != found[1].gain.mean


def test_the_gain_in_elbo_and_in_log_likelihood(pair):
    """The ELBO gains what the prior does; log p(x) what the two evidences differ by."""
    model, guide, x, _ = pair
    B, b, noise = reading(model)
    b.data -= 2.0  # what the prior's mean can make up for
    # A guide near the posterior, a little wider, so that particles tell the likelihood.
    precision = torch.eye(UNITS) + B.T @ noise.inverse() @ B
    with torch.no_grad():
        guide.W.copy_(precision.inverse() @ B.T @ noise.inverse())
        guide.c.copy_(-guide.W @ b)
        guide.s.copy_(1.3 * precision.inverse().diagonal().sqrt())
    judged = x[ROWS : ROWS + 300]
    refit = refit_prior(model, guide, x[:ROWS], "learned", held_out=judged, steps=400)
    found = likelihood_change(model, refit.model, guide, judged, 2_000)
    both = math.hypot(found.elbo.standard_error, refit.gain.standard_error)
    assert abs(found.elbo.mean - refit.gain.mean) < 4 * both

    def evidence(prior):
        p = prior().base_dist
        return MultivariateNormal(B @ p.loc + b, B @ p.scale.square().diag() @ B.T + noise)

    with torch.no_grad():
        change = evidence(refit.prior).log_prob(judged) - evidence(model.prior).log_prob(judged)
    assert abs(found.log_likelihood.mean - change.mean().item()) < 0.02
    assert abs(change.mean().item()) > 0.2
    assert found.khat_above_after < 0.2
    assert 0 <= found.khat_above_after <= 1


def test_nothing_but_the_prior_changes_and_a_seed_is_a_prior(pair):
    model, guide, x, _ = pair
    before = copy.deepcopy((model.state_dict(), guide.state_dict()))
    state = torch.get_rng_state()
    first, second = (refit_prior(model, guide, x, "learned", steps=20, seed=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.gain == second.gain
    assert torch.equal(first.prior.loc, second.prior.loc)
    other = refit_prior(model, guide, x, "learned", steps=20, seed=6)
    assert other.gain != first.gain
    for program, kept in zip((model, guide), before, strict=True):
        for name, value in program.state_dict().items():
            assert torch.equal(value, kept[name]), name
    assert all(parameter.grad is None for parameter in guide.parameters())
    assert isinstance(model.prior, StandardPrior)
    assert first.model.prior is first.prior
    assert first.model.likelihood is model.likelihood
    assert (first.num_fitted, first.num_held_out) == (5_400, 600)


@pytest.mark.parametrize("name", [name for name in PRIORS if name != "standard"])
def test_every_prior_that_has_parameters_can_be_refitted(name):
    """Codes of two clusters: each prior gains, and neither guide nor old model is touched."""
    arch = tiny_architecture(1, "binary", families=("normal",))
    model, guide = build_model(arch, 6), build_guide("topdown", arch, 6)
    x = (torch.rand(300, 6) < torch.tensor([[0.1], [0.9]]).repeat_interleave(150, 0)).double()
    with torch.no_grad():
        guide.conditionals[0].loc.parts[0].weight.mul_(6)
    before = copy.deepcopy(guide.state_dict())
    settings = {"spatial": ":shape=1x2x2"}.get(name, "")
    settings = ":components=20" if name in ("mixture", "vamp") else settings
    found = refit_prior(model, guide, x, name + settings, steps=60, seed=1)
    assert found.gain_fitted.mean > 3 * found.gain_fitted.standard_error
    assert all(torch.equal(value, before[key]) for key, value in guide.state_dict().items())
    assert all(parameter.grad is None for parameter in guide.parameters())
    terms = pyro_vae.log_weights(found.model, guide, x, 2)
    assert terms.log_w.isfinite().all()
    again = refit_prior(found.model, guide, x, name + settings, steps=5, seed=1)  # of any old one
    assert math.isfinite(again.gain.mean)


@pytest.fixture
def seen(pair, monkeypatch):
    """Rows that the guide was given, call by call."""
    _, guide, _, _ = pair
    calls = []
    forward = guide.forward

    def watched(rows):
        calls.append(rows)
        return forward(rows)

    monkeypatch.setattr(guide, "forward", watched)
    return calls


@pytest.mark.parametrize("steps", [2, 4])  # one epoch, batch by batch, and two, encoded once
def test_rows_that_are_judged_are_not_fitted_to(pair, seen, steps):
    model, guide, x, _ = pair
    refit_prior(model, guide, x[:400], "learned", steps=steps)
    calls = 2 if steps == 2 else 1
    fitted = {tuple(row) for rows in seen[:calls] for row in rows.tolist()}
    assert len(fitted) == 360
    judged = {tuple(row) for rows in seen[calls:] for row in rows.tolist()} - fitted
    assert len(judged) == 40


def test_rows_are_encoded_once_for_several_epochs_whose_draws_differ(pair, seen, monkeypatch):
    """Every epoch has each row once, with a new draw of its own posterior."""
    _, guide, x, _ = pair
    monkeypatch.setattr("pyro_vae.training.top_draws.KEPT", 2)
    draws = TopDraws(guide, "z1", UNITS, None, seed=4)
    epochs = torch.cat([*draws.batches(x[:50], 20, 9)]).split(50)  # batches of 20, 20 and 10
    assert [len(rows) for rows in seen] == [50, 50]  # two epochs, and one
    order = [Batches(x[:50], 20, seed=4).order(epoch) for epoch in range(3)]
    z = torch.stack([part[rows.argsort()] for part, rows in zip(epochs, order, strict=True)])
    noise = (z - (x[:50] @ guide.W.T + guide.c)) / guide.s
    assert abs(noise.mean()) < 4 / 300**0.5
    assert abs(noise.std() - 1) < 4 / 600**0.5
    correlation = torch.corrcoef(noise.flatten(1))
    assert correlation.fill_diagonal_(0).abs().max() < 4 / 100**0.5
    shuffled = (z - (x[:50].flip(0) @ guide.W.T + guide.c)) / guide.s
    assert shuffled.std() > 1.5  # of other rows' posteriors


def test_pixels_are_drawn_from_rows_of_probabilities():
    model, guide = pyro_vae.build_pair("planar", "bottomup", num_pixels=6)
    grey = torch.rand(60, 6)
    rows = []
    guide.register_forward_pre_hook(lambda module, given: rows.append(given[0]))
    refit_prior(model, guide, grey, "learned", steps=3, binarise="access")
    assert all(((part == 0) | (part == 1)).all() for part in rows)
    rows.clear()
    refit_prior(model, guide, grey, "learned", steps=3)
    assert not any(((part == 0) | (part == 1)).all() for part in rows)


def test_another_prior_is_put_in_without_touching_the_model(pair):
    model = pair[0]
    other = with_prior(model, LearnedPrior(UNITS))
    assert isinstance(model.prior, StandardPrior)
    assert [name for name, _ in other.named_parameters() if name.startswith("prior")]
    assert not [name for name, _ in model.named_parameters() if name.startswith("prior")]


@pytest.mark.parametrize(
    ("prior", "settings", "match"),
    [
        ("standard", {}, "StandardPrior has no parameter to fit; allowed: learned"),
        ("nonsense", {}, "unknown prior 'nonsense'; allowed: standard, learned"),
        ("learned:scale=0", {}, "scale must be positive"),
        (LearnedPrior(5), {}, r"units of shape \(5,\), the model's has \(2,\)"),
        ("learned", {"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ("learned", {"lr": -1.0}, "lr must be positive"),
        ("learned", {"held_out": torch.zeros(1, PIXELS)}, "1 rows are too few"),
    ],
)
def test_what_makes_no_sense_is_refused(pair, prior, settings, match):
    model, guide, x, _ = pair
    with pytest.raises(InputError, match=match):
        refit_prior(model, guide, x, prior, **settings)


class Bent(nn.Module):
    """A prior of the user's: the flow of a planar map, which has no inverse."""

    def __init__(self):
        super().__init__()
        self.features, self.map = UNITS, dist.transforms.planar(UNITS)

    def forward(self):
        base = dist.Normal(torch.zeros(UNITS), 1.0).to_event(1)
        return dist.TransformedDistribution(base, [self.map])


def test_a_flow_that_cannot_be_inverted_is_refused_as_the_new_prior_and_as_the_old(pair):
    model, guide, x, _ = pair
    wanted = "the density of the prior Bent wants the inverse of .*Planar, which has none"
    for one, prior in ((model, Bent()), (with_prior(model, Bent()), "learned")):
        with pytest.raises(InputError, match=wanted) as caught:
            refit_prior(one, guide, x, prior, steps=2)
        assert "\n" not in str(caught.value)


def test_too_few_rows_and_models_without_a_prior(pair):
    model, guide, x, _ = pair
    with pytest.raises(InputError, match="9 rows are too few to refit a prior"):
        refit_prior(model, guide, x[:9], "learned")
    with pytest.raises(InputError, match="LinearGuide has no module 'prior'"):
        refit_prior(guide, guide, x, "learned")
