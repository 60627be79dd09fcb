"""Truths 1, 2, 17, and scales: the log-weights of a pair with known evidence and posterior."""

import math
from itertools import pairwise

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyro_vae
from pyro_vae import bounds
from pyro_vae.evaluation import evaluate
from pyro_vae.weights.diagnostics import effective_sample_size, pareto_khat
from pyro_vae.weights.log_weights import run_pair
from tests.linear_gaussian import chi2, elbo, oracle
from tests.statistics import assert_mean_close, gradients, z_score

pytestmark = pytest.mark.usefixtures("float64")


def test_truth_01_guide_is_the_posterior():
    """No variance is left: every weight is the evidence, and every diagnostic says so."""
    model, best, other, x = oracle()
    log_p = model.log_evidence(x)
    log_w = pyro_vae.log_weights(model, best, x, 100).log_w
    assert (log_w - log_p).abs().max() < 1e-9
    for k in (1, 2, 7, 100):
        assert (bounds.iwae(log_w[:k]) - log_p).abs().max() < 1e-9
        assert (effective_sample_size(log_w[:k]) - k).abs().max() < 1e-9 * k
    assert (pareto_khat(log_w) <= 0.7).all()
    figures = evaluate(model, best, x, num_particles=100, bound_particles=10)
    for values in (figures.elbo, figures.bound, figures.log_likelihood):
        torch.testing.assert_close(torch.from_numpy(values), log_p.detach(), rtol=0, atol=1e-9)
    assert (figures.khat <= 0.7).all()
    assert (figures.monte_carlo_error < 1e-6).all()

    wrong = pyro_vae.log_weights(model, other, x, 100).log_w
    assert ((wrong - log_p).abs().amax(0) > 0.1).all()
    assert (effective_sample_size(wrong) < 95).all()


@pytest.mark.parametrize("shift", [0.0, -1000.0])
def test_truth_01_rounding_is_not_a_heavy_tail(shift):
    """In float32 equal weights differ by rounding: that is no tail, far from zero too."""
    rounding = 1e-4 * torch.randn(200, 20, dtype=torch.float32)
    assert (pareto_khat(shift + rounding) < 0.7).all()
    assert (pareto_khat(shift + 0 * rounding) == 0).all()
    assert (pareto_khat(shift + 1e5 * rounding) > 0.7).all()


@torch.no_grad()
def test_truth_02_bounds_rise_with_k_to_the_evidence():
    model, _, guide, x = oracle()
    log_p = model.log_evidence(x)
    log_w = pyro_vae.log_weights(model, guide, x, 64 * 500).log_w
    groups = log_w.unflatten(0, (500, 64)).transpose(0, 1)  # (64, 500, B)
    sizes = (1, 2, 4, 16, 64)
    samples = [bounds.miwae(groups, k) for k in sizes]  # each (500, B), all on the same noise
    assert_mean_close(samples[0], elbo(model, guide, x))
    for smaller, larger in pairwise(samples):
        assert (larger >= smaller - 1e-12).all()
        assert z_score((larger - smaller).flatten(), 0) > 8
    for k, bound in zip(sizes, samples, strict=True):
        assert bound.mean(0).max() < log_p.max()
        # Removing the weights' own error, which has mean 0, shows each gap clearly.
        control = groups.unflatten(0, (-1, k)).sub(log_p).exp().mean(1).mean(0) - 1
        assert z_score(bound - control, log_p) > 8
    assert (samples[-1].mean(0) - log_p).abs().max() < 0.02


@torch.no_grad()
def test_truth_02_gap_and_sample_size_follow_chi2():
    """k (log p - L_k) tends to chi2 / 2, and ESS / k to 1 / (1 + chi2)."""
    model, _, guide, x = oracle(num_data=1)
    k, repeats = 400, 2_000
    divergence = chi2(model, guide, x)
    log_w = pyro_vae.log_weights(model, guide, x, k * repeats).log_w - model.log_evidence(x)
    log_w = log_w.unflatten(0, (repeats, k)).transpose(0, 1)  # (k, repeats, 1)
    weights = log_w.exp()
    assert_mean_close(weights.mean(0), 1.0)
    # mean(w) - 1 has mean 0: subtracting it takes away most of the noise of the gap.
    gap = k * (weights.mean(0) - 1 - bounds.iwae(log_w))
    assert_mean_close(gap, divergence / 2)
    assert z_score(gap, divergence) > 8
    assert z_score(gap / k, divergence / 2) > 8
    share = effective_sample_size(log_w) / k
    assert abs(share.mean() - 1 / (1 + divergence)) < 0.01
    assert abs(share.mean() - 1 / (1 + divergence / 2)) > 0.05
    few = effective_sample_size(log_w[:2]) / 2  # not yet the limit
    assert z_score(few, 1 / (1 + divergence)) > 8


class SetLatents(poutine.messenger.Messenger):
    """Gives latents values chosen beforehand, in place of draws."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg):
        if msg["name"] in self.values:
            msg["value"], msg["done"] = self.values[msg["name"]], True


class OnNoise(nn.Module):
    """A guide whose particles are given."""

    def __init__(self, guide, latents):
        super().__init__()
        self.guide, self.latents = guide, latents

    def forward(self, x):
        with SetLatents(self.latents):
            self.guide(x)


def test_truth_17_a_batch_is_its_single_data():
    """The batch's L_k is the mean of the L_k of its data, on the same particles."""
    k = 8
    model, _, guide, x = oracle(num_data=5)
    terms = pyro_vae.log_weights(model, guide, x, k)
    batch = OnNoise(guide, terms.latents)
    loss = pyro_vae.IWAE(k)(model, batch)(x)
    losses = []
    for b in range(5):
        one = OnNoise(guide, {name: z[:, b : b + 1] for name, z in terms.latents.items()})
        log_w = pyro_vae.log_weights(model, one, x[b : b + 1], k).log_w
        torch.testing.assert_close(log_w[:, 0], terms.log_w[:, b], rtol=0, atol=1e-10)
        losses.append(pyro_vae.IWAE(k)(model, one)(x[b : b + 1]))
    single = torch.stack(losses)
    assert abs(loss / 5 - single.mean()) < 1e-10
    assert abs(bounds.iwae(terms.log_w).mean() + single.mean()) < 1e-10
    joint = bounds.iwae(terms.log_w.sum(1))  # weights joint over the batch: another number
    assert abs(joint + single.sum()) > 1e-3


NUM_DATA, SUBSAMPLE = 12, 4


class Subsampled(nn.Module):
    """The program on a random part of the data, in Pyro's own way."""

    def __init__(self, program):
        super().__init__()
        self.program = program

    def forward(self, x):
        with pyro.plate("data", NUM_DATA, subsample_size=SUBSAMPLE, dim=-1) as rows:
            self.program.inside_plate(x[rows])


@torch.no_grad()
@pytest.mark.parametrize("objective", [pyro_vae.IWAE, pyro_vae.DReG])
def test_subsampled_plate_multiplies_the_finished_bound(objective):
    model, _, guide, x = oracle(NUM_DATA)
    pair = Subsampled(model), Subsampled(guide)
    loss = objective(10)
    part = torch.tensor([loss.loss(*pair, x) for _ in range(200)])
    full = torch.tensor([loss.loss(model, guide, x) for _ in range(200)])
    assert_mean_close(part - full, 0.0)
    assert z_score(part * SUBSAMPLE / NUM_DATA - full, 0.0) > 8

    terms = pyro_vae.log_weights(*pair, x, 10)
    assert terms.log_w.shape == (10, SUBSAMPLE)
    assert terms.data_scale == NUM_DATA / SUBSAMPLE


@torch.no_grad()
def test_subsampled_plate_at_the_optimum_is_the_evidence():
    model, best, _, x = oracle(NUM_DATA)
    pair = Subsampled(model), Subsampled(best)
    evidence = model.log_evidence(x)
    loss = pyro_vae.IWAE(3)
    part = torch.tensor([loss.loss(*pair, x) for _ in range(300)])
    assert_mean_close(part, -evidence.sum())
    assert z_score(part * SUBSAMPLE / NUM_DATA, -evidence.sum()) > 8
    # Each loss is the scaled evidence of the data that were drawn, to rounding.
    sums = evidence[torch.combinations(torch.arange(NUM_DATA), SUBSAMPLE)].sum(-1)
    nearest = (part[:, None] + sums * NUM_DATA / SUBSAMPLE).abs().amin(1)
    assert nearest.max() < 1e-9


@pytest.mark.parametrize("objective", [pyro_vae.IWAE, pyro_vae.DReG])
def test_subsampled_gradient_is_the_full_gradient_on_average(objective):
    model, _, guide, x = oracle(NUM_DATA)
    parameters = [*model.parameters(), *guide.parameters()]

    def samples(*pair):
        loss = objective(5).differentiable_loss
        return torch.stack([gradients(loss(*pair, x), parameters) for _ in range(150)])

    full = samples(model, guide)
    part = samples(Subsampled(model), Subsampled(guide))
    assert_mean_close(part - full, torch.zeros(part.shape[1]))
    assert z_score(part * SUBSAMPLE / NUM_DATA - full, torch.zeros(part.shape[1])) > 8


@pytest.mark.parametrize("objective", [pyro_vae.IWAE(6), pyro_vae.DReG(6)])
def test_scale_around_both_programs_multiplies_bound_and_gradient(objective):
    model, _, guide, x = oracle()
    parameters = [*model.parameters(), *guide.parameters()]
    found = []
    for scale in (1.0, 5.0):
        torch.manual_seed(3)
        with poutine.scale(scale=scale):  # reaches model and guide alike
            loss = objective.differentiable_loss(model, guide, x)
        found.append((loss.detach(), gradients(loss, parameters)))
    torch.testing.assert_close(found[1][0], 5 * found[0][0])
    torch.testing.assert_close(found[1][1], 5 * found[0][1])
    torch.manual_seed(3)
    loss = objective.differentiable_loss(poutine.scale(model, 5.0), poutine.scale(guide, 5.0), x)
    torch.testing.assert_close(loss.detach(), 5 * found[0][0])
    # Scales inside the weights, as Pyro's own loss has them, are another objective.
    log_w = pyro_vae.log_weights(model, guide, x, 6).log_w
    assert (bounds.iwae(5 * log_w) - 5 * bounds.iwae(log_w)).min() > 0.1


@pytest.mark.parametrize("objective", [pyro_vae.IWAE(2), pyro_vae.DReG(2)])
def test_scale_on_one_program_alone_is_refused_by_name(objective):
    model, _, guide, x = oracle()
    for pair in ((poutine.scale(model, 3.0), guide), (model, poutine.scale(guide, 3.0))):
        with pytest.raises(ValueError, match=r"'z[12]'"):
            objective.differentiable_loss(*pair, x)
        with pytest.raises(ValueError, match=r"'z[12]'"):
            pyro_vae.log_weights(*pair, x, 2)


@pytest.mark.parametrize("objective", [pyro_vae.IWAE, pyro_vae.DReG])
def test_loss_module_is_minus_the_evidence_at_the_optimum(objective):
    model, best, other, x = oracle()
    for k in (1, 5):
        loss = objective(num_particles=k)(model, best)(x)
        assert abs(loss + model.log_evidence(x).sum()) < 1e-9
    assert abs(objective(num_particles=5)(model, other)(x) + model.log_evidence(x).sum()) > 0.05


def readings(x):
    """Two observed sites; z1 under a mixture, which has no KL in closed form, z2 under a normal."""
    with pyro.plate("data", len(x), dim=-1):
        z2 = pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        mixture = dist.MixtureSameFamily(
            dist.Categorical(torch.ones(2)), dist.Normal(z2, torch.tensor([0.5, 2.0]))
        )
        z1 = pyro.sample("z1", mixture)
        pyro.sample("first", dist.Normal(z1, 0.5), obs=x[:, 0])
        pyro.sample("second", dist.Normal(-z1, 0.7), obs=x[:, 1])


def of_readings(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z2", dist.Normal(x, 0.5).to_event(1))
        pyro.sample("z1", dist.Normal(x[:, 0], 0.5))


def test_terms_say_what_they_hold():
    """log-likelihood per observed site; a level has either its densities or its KL."""
    x = torch.randn(4, 2)
    terms, closed = [], []
    for analytic, found in ((False, terms), (True, closed)):
        torch.manual_seed(0)
        found.append(run_pair(readings, of_readings, (x,), {}, 3, analytic=analytic))
    (terms,), (closed,) = terms, closed
    for found in (terms, closed):
        assert found.levels == ("z2", "z1")
        assert list(found.log_likelihoods) == ["first", "second"]
        z1 = found.latents["z1"]
        second = torch.distributions.Normal(-z1, 0.7).log_prob(x[:, 1])
        torch.testing.assert_close(found.log_likelihoods["second"], second)
        both = found.log_likelihoods["first"] + found.log_likelihoods["second"]
        assert torch.equal(found.log_likelihood, both)
        minus = sum(found.log_ratios.values())
        torch.testing.assert_close(found.log_w, found.log_likelihood - minus)
    assert list(terms.log_prior) == list(terms.log_guide) == ["z2", "z1"]
    assert not terms.kl
    # In closed form z2 has no densities, and z1, which has no closed form, keeps them.
    assert list(closed.log_prior) == list(closed.log_guide) == ["z1"]
    by_hand = (x.square() + 0.25 - 1 - math.log(0.25)).sum(-1) / 2
    torch.testing.assert_close(closed.kl["z2"], by_hand.expand(3, -1))
    assert closed.log_ratios["z2"] is closed.kl["z2"]
    torch.testing.assert_close(closed.log_ratios["z1"], terms.log_ratios["z1"])


@pytest.mark.parametrize("beta", [0.0, 0.5, torch.tensor(0.0), torch.tensor(0.5)])
def test_a_level_annealed_to_0_takes_its_zeros_along(beta):
    """Weights to the power of 0 are 1: outside of the prior's support too."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Uniform(0.0, 1.0, validate_args=False))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0))

    with pyro.validation_enabled(False), pyro_vae.anneal({"z": beta}):
        terms = pyro_vae.log_weights(model, guide, torch.randn(5), 50)
    outside = terms.log_prior["z"].isneginf()
    assert 0.1 < outside.double().mean() < 0.9
    assert torch.equal(terms.log_w.isneginf(), outside)
    if beta == 0:
        assert torch.equal(terms.annealed_log_w, terms.log_likelihood)
    else:
        assert torch.equal(terms.annealed_log_w.isneginf(), outside)
