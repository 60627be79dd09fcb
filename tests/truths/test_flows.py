"""Flows and mixtures as guide and prior: gradients against a loss that is written out by hand.

By hand means plain autograd: parameters are cut by copies of the programs that have none to train.
"""

import copy
from types import MappingProxyType

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import nn

from pyro_vae import objectives
from pyro_vae.errors import InputError
from pyro_vae.evaluation import activity
from tests.conftest import keep_every_particle

D, K, ROWS = 3, 6, 4

pytestmark = pytest.mark.usefixtures("float64")


class Wrapped(torch.distributions.Distribution):
    """N(loc, exp(s)) as zuko has its flows: no distribution of Pyro's, draws and scores at once."""

    arg_constraints = MappingProxyType({})
    has_rsample = True

    def __init__(self, of, loc):
        self.of, self.loc = of, loc
        super().__init__(loc.shape[:-1], loc.shape[-1:])

    def expand(self, batch_shape, _instance=None):
        return Wrapped(self.of, self.loc.expand(*batch_shape, D))

    def rsample_and_log_prob(self, shape=()):
        z = self.loc + self.of.spread.exp() * torch.randn(self._extended_shape(shape))
        return z, self.log_prob(z)

    def log_prob(self, value):
        return dist.Normal(self.loc, self.of.spread.exp()).log_prob(value).sum(-1)


class Guide(nn.Module):
    def __init__(self, flow):
        super().__init__()
        self.encoder, self.spread = nn.Linear(2, D), nn.Parameter(torch.full((D,), -0.3))
        self.flow = flow
        self.affine = transforms.affine_autoregressive(D, hidden_dims=[6])
        self.coupling = transforms.spline_coupling(D, hidden_dims=[6])
        self.conditional = transforms.conditional_affine_autoregressive(D, 2, hidden_dims=[6])
        self.planar = transforms.planar(D)

    def q(self, x):
        loc = self.encoder(x)
        base = dist.Normal(loc, self.spread.exp()).to_event(1)
        match self.flow:
            case "none":
                return base
            case "zuko":
                return ZukoToPyro(Wrapped(self, loc))
            case "conditional":
                return dist.ConditionalTransformedDistribution(base, [self.conditional]).condition(
                    x
                )
            case "inverse":
                return dist.TransformedDistribution(base, [self.affine.inv])
            case "two":
                return dist.TransformedDistribution(base, [self.affine, self.coupling])
        return dist.TransformedDistribution(base, [getattr(self, self.flow)])

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.q(x))


class Vamp(dist.TorchDistribution):
    """An even mixture of the encodings of pseudo-inputs, which are encoded when it is scored."""

    arg_constraints = MappingProxyType({})
    support = dist.constraints.real_vector

    def __init__(self, encoder, inputs, batch_shape=()):
        self.encoder, self.inputs = encoder, inputs
        super().__init__(torch.Size(batch_shape), torch.Size([D]))

    def expand(self, batch_shape, _instance=None):
        return Vamp(self.encoder, self.inputs, batch_shape)

    def log_prob(self, value):
        parts = dist.Normal(self.encoder(self.inputs), 0.8).to_event(1)
        return parts.log_prob(value[..., None, :]).logsumexp(-1) - len(self.inputs)


class Model(nn.Module):
    def __init__(self, prior, guide):
        super().__init__()
        self.prior, self.decoder = prior, nn.Linear(D, 2)
        self.flow = transforms.spline_coupling(D, hidden_dims=[6])
        self.planar = transforms.planar(D)
        self.logits, self.means = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3, D))
        self.inputs, self.encoder = nn.Parameter(torch.randn(4, 2)), guide.encoder  # shared

    def p(self):
        normal = dist.Normal(torch.zeros(D), 1.0).to_event(1)
        match self.prior:
            case "normal":
                return normal
            case "vamp":
                return Vamp(self.encoder, self.inputs)
            case "mixture":
                parts = dist.Normal(self.means, 1.0).to_event(1)
                return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), parts)
            case "planar inverse":
                return dist.TransformedDistribution(normal, [self.planar.inv])
        return dist.TransformedDistribution(normal, [getattr(self, self.prior)])

    def log_joint(self, z, x):
        likelihood = dist.Normal(self.decoder(z), 0.7).to_event(1)
        return self.p().log_prob(z) + likelihood.log_prob(x)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.p())
            pyro.sample("x", dist.Normal(self.decoder(z), 0.7).to_event(1), obs=x)


def untrained(program):
    """A copy with the same numbers and nothing to train, that remembers no draw."""
    for part in program.modules():
        for name, value in list(vars(part).items()):
            if name == "_cached_x_y":
                part._cached_x_y = (None, None)
            elif torch.is_tensor(value) and value.grad_fn is not None:
                setattr(part, name, None)
    return copy.deepcopy(program).requires_grad_(False)


def by_hand(name, model, guide, x):
    """A scalar with the gradient of the estimator; draws on seed 1."""
    still_model, still_guide = untrained(model), untrained(guide)
    torch.manual_seed(1)
    q = guide.q(x).expand((K, len(x)))
    z = q()
    log_q = q.log_prob(z)
    if name in ("iwae", "elbo"):
        log_w = model.log_joint(z.clone(), x) - log_q
        return -(log_w.logsumexp(0) if name == "iwae" else log_w.mean(0)).sum()
    fixed = z.detach()
    if name == "piwae":
        of_model = model.log_joint(fixed, x) - log_q.detach()
        groups = (still_model.log_joint(z.clone(), x) - log_q).unflatten(0, (-1, 2))
        return -(of_model.logsumexp(0) + groups.logsumexp(1).mean(0)).sum()
    leaf = fixed.clone().requires_grad_()
    log_w = still_model.log_joint(leaf, x)
    log_w = log_w - still_guide.q(x).expand((K, len(x))).log_prob(leaf)
    (along,) = torch.autograd.grad(log_w.sum(), leaf)
    weight = torch.full_like(log_w, 1 / K) if "elbo" in name else log_w.detach().softmax(0)
    gate = weight.square() if name == "dreg" else weight
    of_model = (weight * model.log_joint(fixed, x)).sum()
    return -of_model - (gate[..., None] * along * z).sum()


OBJECTIVES = {
    "iwae": objectives.IWAE(K),
    "elbo": objectives.ELBO(K),
    "dreg": objectives.DReG(K),
    "stl": objectives.STL(K),
    "elbo, dreg": objectives.ELBO(K, estimator="dreg"),
    "piwae": objectives.PIWAE(2, K),
}


def gradient(loss, *programs):
    parameters = list(dict.fromkeys(p for program in programs for p in program.parameters()))
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def pair(flow, prior):
    torch.manual_seed(0)
    guide = Guide(flow)
    return Model(prior, guide), guide, torch.randn(ROWS, 2)


@pytest.mark.parametrize(
    ("flow", "prior"),
    [
        *((flow, "normal") for flow in ("affine", "inverse", "coupling", "conditional", "two")),
        ("zuko", "normal"),
        ("none", "flow"),
        ("none", "planar inverse"),
        ("none", "mixture"),
        ("affine", "vamp"),
        ("conditional", "flow"),
    ],
)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_those_of_the_loss_by_hand(name, flow, prior):
    model, guide, x = pair(flow, prior)
    expected = gradient(by_hand(name, model, guide, x), model, guide)
    torch.manual_seed(1)
    found = gradient(OBJECTIVES[name](model, guide)(x), model, guide)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["iwae", "elbo", "piwae"])
def test_a_flow_without_an_inverse_scores_what_it_draws(name):
    model, guide, x = pair("planar", "normal")
    expected = gradient(by_hand(name, model, guide, x), model, guide)
    torch.manual_seed(1)
    found = gradient(OBJECTIVES[name](model, guide)(x), model, guide)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["dreg", "stl"])
def test_a_flow_without_an_inverse_is_refused_where_it_is_scored_again(name):
    model, guide, x = pair("planar", "normal")
    with pytest.raises(InputError, match=f"site 'z' .* Planar.* estimator '{name}' .*'pathwise'"):
        OBJECTIVES[name](model, guide)(x)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_prior_that_cannot_score_other_draws_is_refused(name):
    model, guide, x = pair("none", "planar")
    with pytest.raises(InputError, match=r"site 'z' wants the inverse of Planar, .* its \.inv"):
        OBJECTIVES[name](model, guide)(x)


def test_flows_are_not_thinned():
    model, guide, x = pair("affine", "normal")
    with pytest.raises(ValueError, match=r"site 'z' .* TransformedDistribution; thinning"):
        objectives.IWAE(K, thin=2)(model, guide)(x)


@pytest.mark.parametrize("prior", ["flow", "mixture", "vamp"])
@pytest.mark.parametrize("loss", [objectives.IWAE, objectives.DReG])
def test_thinning_runs_late_priors_again(loss, prior, monkeypatch):
    """With every particle kept, thinning has the gradient of no thinning."""
    keep_every_particle(monkeypatch)
    found = []
    for thin in (None, K):
        model, guide, x = pair("none", prior)
        found.append(gradient(loss(K, thin=thin)(model, guide)(x), model, guide))
    torch.testing.assert_close(*found)


def test_posterior_means_of_a_flow_are_those_of_its_draws():
    """A family without moments of its own: the mean of draws, whose noise is told."""
    _, guide, x = pair("affine", "normal")
    means = activity.posterior_means(guide, x, num_samples=4000)["z"]
    with torch.no_grad():
        draws = guide.q(x).expand((4000, ROWS))()
    noise = means.noise_covariance.diagonal()
    assert ((means.mean - draws.mean(0)).abs() < 6 * (2 * noise).sqrt()).all()
    torch.testing.assert_close(noise, draws.var(0).mean(0) / 4000, rtol=0.1, atol=0.0)
