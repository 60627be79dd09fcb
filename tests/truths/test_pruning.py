"""Truth 14: a unit that nothing uses costs nothing to remove; a used one leaves a known model."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal

import pyro_vae
from pyro_vae.evaluation import elbo_surgery, kl_per_unit, log_likelihood, pruned_log_likelihood
from pyro_vae.weights.handlers import pruned
from tests.conftest import tiny_pair
from tests.linear_gaussian import oracle
from tests.statistics import assert_mean_close, z_score

pytestmark = pytest.mark.usefixtures("float64")


class Chain:
    """z2 (2) -> z1 (3) -> x (4), linear, with unit noise; ``levels=1`` has z1 ~ N(0, I) alone.

    With ``unused`` both levels have one more unit at the end, which is N(0, 1) in model and guide
    and read by nothing.
    """

    def __init__(self, levels, unused=False):
        self.levels, self.unused = levels, unused
        self.A = torch.tensor([[1.2, -0.4], [0.3, 0.9], [0.0, -0.8]])
        self.B = torch.tensor(
            [[1.0, 0.5, 0.0], [-0.7, 1.1, 0.3], [0.2, 0.0, 1.3], [0.4, 0.4, -0.9]]
        )

    def normal(self, loc, scale=1.0):
        """Independent units around loc, with the unused one."""
        if self.unused:
            loc = torch.cat([loc, torch.zeros_like(loc[..., :1])], -1)
            scale = torch.cat([scale * torch.ones(loc.shape[-1] - 1), torch.ones(1)])
        return dist.Normal(loc, scale).to_event(1)

    def read(self, z):
        return z[..., :-1] if self.unused else z

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc = torch.zeros(3)
            if self.levels == 2:
                loc = self.read(pyro.sample("z2", self.normal(torch.zeros(2)))) @ self.A.T
            z1 = self.read(pyro.sample("z1", self.normal(loc)))
            pyro.sample("x", dist.Normal(z1 @ self.B.T, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc = 0.25 * x @ self.B
            if self.levels == 2:
                z2 = pyro.sample("z2", self.normal(0.3 * loc @ self.A, 0.9))
                loc = loc + 0.2 * self.read(z2) @ self.A.T
            pyro.sample("z1", self.normal(loc, 0.8))

    def sample_x(self, num_data):
        """Data of the whole model."""
        B, A = self.B, self.A if self.levels == 2 else torch.zeros(3, 2)
        z1 = torch.randn(num_data, 2) @ A.T + torch.randn(num_data, 3)
        return z1 @ B.T + torch.randn(num_data, 4)

    def log_evidence(self, x, keep1, keep2):
        """Exact log p(x) of the model that has only the kept units."""
        B = self.B * keep1
        A = self.A * keep2 if self.levels == 2 else torch.zeros(3, 2)
        covariance = B @ (A @ A.T + torch.eye(3)) @ B.T + torch.eye(4)
        return MultivariateNormal(torch.zeros(4), covariance).log_prob(x)


def on_same_noise(function, *args, seed=1, **settings):
    torch.manual_seed(seed)
    return function(*args, **settings)


@pytest.mark.parametrize("levels", [1, 2])
def test_truth_14_an_unused_dimension_changes_nothing(levels):
    pair = Chain(levels, unused=True)
    x = torch.randn(6, 4)
    names = ("z1", "z2")[:levels]
    keep = {"z1": torch.tensor([1, 1, 1, 0]) > 0, "z2": torch.tensor([1, 1, 0]) > 0}
    active = {name: keep[name] for name in names}
    settings = {"num_particles": 300, "chunk_size": 700}
    whole = on_same_noise(log_likelihood, pair.model, pair.guide, x, **settings)
    found = on_same_noise(pruned_log_likelihood, pair.model, pair.guide, x, active, **settings)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)
    # Active units, at any level, cost what they explained of data that the model made.
    x = pair.sample_x(1_000)
    for name in names:
        without = {name: keep[name].clone()}
        without[name][:2] = False
        costs = log_likelihood(pair.model, pair.guide, x, 60, 30_000) - pruned_log_likelihood(
            pair.model, pair.guide, x, without, 60, 30_000
        )
        assert z_score(costs, 0.0) > 8
        assert costs.mean() > 0.2


@torch.no_grad()
@pytest.mark.parametrize(
    ("keep1", "keep2"),
    [
        ([0, 1, 1], [1, 1]),
        ([1, 0, 0], [1, 1]),
        ([1, 1, 1], [0, 1]),
        ([1, 1, 0], [1, 0]),
        ([0, 0, 0], [1, 1]),
    ],
)
def test_truth_14_what_is_left_is_the_model_without_these_units(keep1, keep2):
    """p^(x) is unbiased for the evidence of the smaller model, for every pattern of units."""
    pair, repeats = Chain(2), 1_000
    keep1, keep2 = torch.tensor(keep1, dtype=torch.bool), torch.tensor(keep2, dtype=torch.bool)
    x = torch.tensor([[1.5, -2.0, 1.0, 0.5]])
    found = pruned_log_likelihood(
        pair.model, pair.guide, x.expand(repeats, -1), {"z1": keep1, "z2": keep2}, 300, 300_000
    )
    truth = pair.log_evidence(x, keep1, keep2)
    whole = pair.log_evidence(x, torch.ones(3), torch.ones(2))
    assert_mean_close((found - truth).exp(), 1.0)
    assert z_score((found - whole).exp(), 1.0) > 8


def test_removed_units_have_no_density_and_are_zero():
    """The others keep their noise; with log q scored at 0 (Arnal et al.) it is another."""
    pair = Chain(2)
    x = torch.randn(5, 4)
    keep = torch.tensor([True, False, True])
    whole = on_same_noise(pyro_vae.log_weights, pair.model, pair.guide, x, 8)
    with pruned({"z1": keep}):
        terms = on_same_noise(pyro_vae.log_weights, pair.model, pair.guide, x, 8)
    z1, z2 = terms.latents["z1"], terms.latents["z2"]
    assert torch.equal(z2, whole.latents["z2"])
    assert torch.equal(z1, whole.latents["z1"] * keep)
    prior = dist.Normal(z2 @ pair.A.T, 1.0).log_prob(z1)
    torch.testing.assert_close(terms.log_prior["z1"], prior[..., keep].sum(-1))
    assert (terms.log_prior["z1"] - prior.sum(-1)).abs().min() > 0.1
    guide_loc = 0.25 * x @ pair.B + 0.2 * z2 @ pair.A.T
    log_q = dist.Normal(guide_loc, 0.8).log_prob(z1)
    torch.testing.assert_close(terms.log_guide["z1"], log_q[..., keep].sum(-1))
    likelihood = dist.Normal(z1 @ pair.B.T, 1.0).log_prob(x).sum(-1)
    torch.testing.assert_close(terms.log_likelihood, likelihood)
    assert torch.equal(terms.log_prior["z2"], whole.log_prior["z2"])


@pytest.mark.parametrize("guide_name", ["topdown", "bottomup", "meanfield"])
def test_all_units_kept_is_the_whole_pair_to_the_last_bit(guide_name):
    model, guide = tiny_pair(guide_name)
    x = torch.randn(4, 6)
    active = {"z1": np.ones(4, bool), "z2": np.ones(3, bool)}
    settings = {"num_particles": 30, "chunk_size": 50}
    whole = on_same_noise(log_likelihood, model, guide, x, **settings)
    found = on_same_noise(pruned_log_likelihood, model, guide, x, active, **settings)
    assert torch.equal(whole, found)
    active["z1"][2] = False
    fewer = on_same_noise(pruned_log_likelihood, model, guide, x, active, **settings)
    assert (fewer - whole).abs().min() > 1e-4


def test_other_figures_of_a_pruned_pair():
    """The handler is for any figure: KL 0 for what is removed, training included."""
    pair = Chain(2)
    x = torch.randn(5, 4)
    keep = torch.tensor([True, False, True])
    with pruned({"z1": keep}):
        units = kl_per_unit(pair.model, pair.guide, x, 20)
        surgery = elbo_surgery(pair.model, pair.guide, x, 3)
        assert pyro_vae.IWAE(5)(pair.model, pair.guide)(x).isfinite()
    assert (units["z1"] == 0).tolist() == [False, True, False]
    assert (units["z2"] != 0).all()
    assert surgery.rate == pytest.approx(surgery.mutual_information + surgery.marginal_kl)
    # Images of one event axis more, and masks that are there already.
    mask = torch.tensor([[True, True], [False, True]])

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, 2), 1.0).mask(mask).to_event(2))
            pyro.sample("x", dist.Normal(z.sum((-2, -1)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.ones(2, 2), 0.5).mask(mask).to_event(2))

    with pruned({"z": torch.tensor([True, False, True, True])}):
        units = kl_per_unit(model, guide, torch.randn(3))
    assert (units["z"] != 0).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("active", "message"),
    [
        ({"z1": torch.ones(4, dtype=torch.bool)}, r"'z1' has shape \(4,\); the site has 3 units"),
        ({"z1": torch.ones(1, 3, dtype=torch.bool)}, "must be"),
        ({"z1": torch.tensor([0, 1, 2])}, "'z1' must hold booleans, one per unit; it holds int64"),
        ({"z3": torch.ones(3, dtype=torch.bool)}, "no latent site 'z3'.* the latents: z2, z1"),
        ({"x": torch.ones(4, dtype=torch.bool)}, "'x' is observed"),
    ],
)
def test_what_cannot_be_removed_is_refused_by_name(active, message):
    pair = Chain(2)
    with pytest.raises(pyro_vae.InputError, match=message):
        pruned_log_likelihood(pair.model, pair.guide, torch.randn(5, 4), active, 10)


def test_units_that_depend_on_each_other_or_cannot_be_zero_are_refused():
    model, _, guide, x = oracle(2)
    with pytest.raises(pyro_vae.InputError, match="'z2' in the pair is MultivariateNormal"):
        pruned_log_likelihood(model, guide, x, {"z2": torch.ones(2, dtype=torch.bool)}, 10)

    def positive(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def proposal(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))

    with pytest.raises(pyro_vae.InputError, match="'z' is LogNormal, which cannot be 0"):
        pruned_log_likelihood(
            positive, proposal, torch.randn(3), {"z": torch.tensor([True, False])}, 10
        )
