"""Truth 11: the rate of a pair is mutual information and marginal KL, pathwise."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

import pyro_vae
from pyro_vae.evaluation import elbo_surgery, evaluate
from tests.discrete import DiscretePair
from tests.linear_gaussian import MultivariateNormal, oracle
from tests.statistics import assert_mean_close, z_score
from tests.truths.test_evaluation import Served

pytestmark = pytest.mark.usefixtures("float64")


def entropy(shares):
    return -(shares * shares.log()).sum().item()


class ServedOnce(Served):
    """As Served, for programs that are run again on values they were given."""

    def program(self, x):
        self.rows = (x[:, None] == self.x).all(-1).long().argmax(1)
        self.guide(x)

    def _pyro_sample(self, msg):
        given = msg["done"]
        super()._pyro_sample(msg)
        if msg["name"] == "z1" and not given:  # the last level that the guide draws
            self.used[self.rows] += self.count


@torch.no_grad()
@pytest.mark.parametrize("chunk_size", [1, 20, 60, 300, 10_000])
def test_truth_11_surgery_is_its_formula_for_any_chunks(chunk_size):
    """Against the whole table of N x N S densities, from the oracle's own joint of both levels."""
    num_data, num_samples = 7, 3
    model, _, guide, x = oracle(num_data, size=0.2)
    terms = pyro_vae.log_weights(model, guide, x, num_samples)
    z = torch.cat([terms.latents["z1"], terms.latents["z2"]], -1)  # (S, N, 5)
    log_q = guide.joint(x).log_prob(z[:, :, None])  # (S, N, N): draw of n under m
    log_prior = MultivariateNormal(*model.joint()).log_prob(z)
    share = log_q.softmax(-1)
    entropy = -(share * share.log()).sum(-1)
    marginal = log_q.logsumexp(-1) - math.log(num_data)
    values = {
        "rate": (share * log_q).sum(-1) - log_prior,
        "mutual_information": math.log(num_data) - entropy,
        "marginal_kl": marginal - log_prior,
        "distortion": -terms.log_likelihood,
    }
    with ServedOnce(guide, terms.latents, x) as served:
        found = elbo_surgery(model, served.program, x, num_samples, chunk_size=chunk_size)
    assert (served.used == num_samples).all()
    for name, value in values.items():
        assert getattr(found, name) == pytest.approx(value.mean().item(), abs=1e-10), name
        error = value.mean(0).std().item() / num_data**0.5
        assert found.standard_errors[name] == pytest.approx(error, abs=1e-10), name
    assert (found.num_data, found.num_samples) == (num_data, num_samples)


@torch.no_grad()
@pytest.mark.parametrize("size", [0.03, 0.5])
def test_truth_11_average_kl_is_mutual_information_and_marginal_kl(size):
    """The identity and the limits hold on every set of draws, not only on average."""
    model, _, guide, x = oracle(30, size)
    for _ in range(5):
        found = elbo_surgery(model, guide, x)
        assert found.rate == pytest.approx(found.mutual_information + found.marginal_kl, abs=1e-12)
        assert 0 < found.mutual_information < math.log(30)
        assert found.elbo == -found.rate - found.distortion


@torch.no_grad()
def test_truth_11_rate_and_distortion_are_those_of_the_elbo():
    """Rate against the exact KL; it varies less than the mean of the data's own log-ratios."""
    model, _, guide, x = oracle(40, size=0.2)
    exact = kl_divergence(guide.joint(x), MultivariateNormal(*model.joint())).mean()
    repeats = [elbo_surgery(model, guide, x) for _ in range(60)]
    rates = torch.tensor([found.rate for found in repeats])
    assert_mean_close(rates, exact)
    marginals = torch.tensor([found.marginal_kl for found in repeats])
    assert z_score(marginals, exact) > 8
    settings = {"num_particles": 1, "bound_particles": 1, "khat": False}
    figures = [evaluate(model, guide, x, **settings) for _ in range(60)]
    assert_mean_close(
        torch.tensor([f.distortion.mean() for f in figures]),
        np.mean([found.distortion for found in repeats]),
        n_se=7,
    )
    for f in figures:
        np.testing.assert_allclose(f.rate + f.distortion, -f.elbo, atol=1e-10)
        np.testing.assert_allclose(f.rate, f.kl["z1"] + f.kl["z2"])
    assert_mean_close(torch.tensor([f.rate.mean() for f in figures]), exact)
    assert rates.std() < torch.tensor([f.rate.mean() for f in figures]).std()


@pytest.mark.parametrize("levels", [1, 2])
def test_truth_11_by_enumeration(levels):
    """Discrete latents: every figure is a finite sum over states and data."""
    pair = DiscretePair(levels)
    x = torch.tensor([0, 1, 2, 3, 3])
    log_q = torch.stack([pair.log_guide(value) for value in x])  # (N, states)
    log_prior = (pair.top[:, None] + pair.prior).reshape(-1)
    marginal = log_q.logsumexp(0) - math.log(len(x))
    q = log_q.exp() / len(x)
    truth = {
        "rate": (q * (log_q - log_prior)).sum(),
        "mutual_information": (q * (log_q - marginal)).sum(),
        "marginal_kl": (q * (marginal - log_prior)).sum(),
    }
    repeats = [elbo_surgery(pair.model, pair.guide, x, 50) for _ in range(100)]
    for name, value in truth.items():
        found = torch.tensor([getattr(one, name) for one in repeats])
        assert_mean_close(found, value)
        for other, wrong in truth.items():
            assert other == name or z_score(found, wrong) > 8


def gaussian_model(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)


def test_truth_11_identical_posteriors_share_nothing():
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Laplace(torch.ones(2), 0.5).to_event(1))

    found = elbo_surgery(gaussian_model, guide, torch.randn(23), 3, chunk_size=60)
    assert abs(found.mutual_information) < 1e-12
    assert found.marginal_kl == pytest.approx(found.rate, abs=1e-12)
    assert found.rate > 0.1


def test_truth_11_clusters_far_apart_tell_the_log_of_their_number():
    """Four clusters of 3, 1, 5 and 3 data: the entropy of the cluster, not log 12 or log 4."""

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            loc = 100 * torch.stack([x, torch.zeros_like(x)], -1)
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    even = torch.arange(4.0).repeat(3)
    found = elbo_surgery(gaussian_model, guide, even, 2)
    assert found.mutual_information == pytest.approx(math.log(4), abs=1e-9)
    alone = elbo_surgery(gaussian_model, guide, torch.arange(9.0))
    assert alone.mutual_information == pytest.approx(math.log(9), abs=1e-9)
    sizes = torch.tensor([3, 1, 5, 3])
    uneven = elbo_surgery(gaussian_model, guide, torch.arange(4.0).repeat_interleave(sizes))
    shares = sizes / 12
    assert uneven.mutual_information == pytest.approx(entropy(shares), abs=1e-9)


def test_truth_11_a_vampprior_on_the_data_has_no_marginal_kl():
    def encode(x):
        loc = torch.stack([x, x.sin()], -1)
        return dist.Normal(loc, (0.3 * x[..., None]).exp() * torch.tensor([0.5, 1.0])).to_event(1)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", encode(x))

    def model_with(pseudo_inputs):
        def model(x):
            weights = dist.Categorical(logits=torch.zeros(len(pseudo_inputs)))
            prior = dist.MixtureSameFamily(weights, encode(pseudo_inputs))
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", prior)
                pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

        return model

    x = torch.randn(20)
    found = elbo_surgery(model_with(x), guide, x, 3, chunk_size=100)
    assert abs(found.marginal_kl) < 1e-12
    assert found.rate == pytest.approx(found.mutual_information, abs=1e-12)
    assert found.mutual_information > 0.1
    assert elbo_surgery(model_with(x + 1), guide, x, 3).marginal_kl > 0.05


def test_posteriors_without_common_support_and_programs_of_two_arguments():
    """q(z | t, y) = Uniform(t - 1, t + 1): others give a draw no density, which is no error."""

    def model(t, y):
        with pyro.plate("rows", len(t), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 3.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(t, y):
        with pyro.plate("rows", len(t), dim=-1):
            pyro.sample("z", dist.Uniform(t - 1, t + 1))

    t = torch.tensor([0.0, 0.0, 10.0, 20.0])
    found = elbo_surgery(model, guide, (t, t), 5, chunk_size=9)
    shares = torch.tensor([0.5, 0.25, 0.25])
    assert found.mutual_information == pytest.approx(entropy(shares), abs=1e-12)
    assert math.isfinite(found.marginal_kl)


def test_draws_are_counted():
    model, _, guide, x = oracle(3)
    with pytest.raises(pyro_vae.InputError, match="num_samples must be a whole number"):
        elbo_surgery(model, guide, x, 0)
    with pytest.raises(pyro_vae.InputError, match="chunk_size must be a whole number"):
        elbo_surgery(model, guide, x, 1, chunk_size=0)
