"""Posterior correlations against closed forms (truth 16), and their nulls where theory puts them.

Every planted truth is also missed by a wrong estimator: one shared set of proposals, a perturbed
guide without resampling, pairs chosen by the draws that measure them.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from analysis.measures import consistency
from analysis.measures import correlation as measures
from analysis.probes.correlation import patch_correlations, posterior_draws
from pyro_vae.torch_state import own_generators
from pyro_vae.weights.log_weights import log_weights
from tests.linear_gaussian import LinearModel, optimal_guide
from tests.statistics import double_precision, z_score

UNITS = 6


def triangle_of(covariance):
    covariance = np.asarray(covariance)
    sd = np.sqrt(covariance.diagonal())
    return (covariance / np.outer(sd, sd))[np.triu_indices(len(sd), 1)]


class LaplaceGuide:
    """q(z2) = N(m, S), q(z1 | x, z2) = Laplace(A z2 + c, b), the same for every x."""

    def __init__(self):
        rng = np.random.default_rng(3)
        root = torch.as_tensor(rng.normal(size=(2, 2)))
        self.S = root @ root.T + 0.3 * torch.eye(2)
        self.A = torch.as_tensor(rng.normal(size=(UNITS, 2)))
        self.b = torch.as_tensor(rng.uniform(0.3, 1.2, UNITS))

    def __call__(self, x):
        with pyro.plate("data", len(x), dim=-1):
            m = torch.ones(2).expand(len(x), 2)
            z2 = pyro.sample("z2", dist.MultivariateNormal(m, self.S))
            pyro.sample("z1", dist.Laplace(z2 @ self.A.T + 5.0, self.b).to_event(1))

    def triangle(self):
        return triangle_of(self.A @ self.S @ self.A.T + 2 * (self.b**2).diag())


def test_correlations_of_a_laplace_level_under_a_gaussian_one(float64):
    guide = LaplaceGuide()
    found = patch_correlations(
        None, guide, torch.zeros(40, 3), num_draws=400, units=np.arange(UNITS), chunk_size=4_000
    )
    # r is biased by -r (1 - r^2) / 2n at most, far below the standard error of 40 of them.
    assert z_score(found.triangles, guide.triangle()) < 5
    # Without the factor 2 of a Laplace variance, and without z2, the truth is missed.
    forgotten = triangle_of(guide.A @ guide.S @ guide.A.T + (guide.b**2).diag())
    assert z_score(found.triangles, forgotten) > 8
    assert z_score(found.triangles, np.zeros(UNITS * (UNITS - 1) // 2)) > 8


def test_pooled_covariance_and_means(float64):
    guide = LaplaceGuide()
    x = torch.zeros(40, 3)
    found = patch_correlations(None, guide, x, num_draws=200, units=np.arange(UNITS))
    truth = guide.A @ guide.S @ guide.A.T + 2 * (guide.b**2).diag()
    assert np.allclose(found.covariance, truth, rtol=0.2, atol=0.2)
    assert z_score(found.means, guide.A.sum(1) + 5.0) < 5
    assert z_score(found.means, guide.A.sum(1) + 5.5) > 8


def linear_gaussian():
    """A model with correlated z1 under its posterior, that posterior, and a guide blind to it.

    The blind guide has the posterior's marginals, wider by 1.3: finite chi2 of 1.2.
    """
    model = LinearModel()
    x = model.sample_x(1)
    covariance = model.posterior(x).covariance_matrix.detach().reshape(5, 5)
    blind = optimal_guide(model)
    with torch.no_grad():
        blind.W1 += blind.V1 @ blind.W2
        blind.c1 += blind.V1 @ blind.c2
        blind.V1.zero_()
        sd = 1.3 * covariance.diagonal().sqrt()
        blind.L1.copy_(sd[:3].log().diag())
        blind.L2.copy_(sd[3:].log().diag())
    return model, optimal_guide(model), blind, x, triangle_of(covariance[:3, :3])


def groups(model, guide, x, k, count=40, draws=100, seed=0):
    """Triangles from independent groups of draws: (count, 3)."""
    z = posterior_draws(model, guide, x, k, count * draws, seed=seed, chunk_size=200_000)
    return measures.correlations(z.numpy().reshape(count, draws, 3).transpose(1, 0, 2))


def test_resampling_tends_to_the_posterior_correlation():
    with double_precision(seed=2):
        model, optimal, blind, x, truth = linear_gaussian()
        assert np.abs(truth).max() > 0.4
        assert z_score(groups(model, optimal, x, 1), truth) < 5
        # The blind guide has none of it, and more proposals come closer until they are there.
        alone, few, many = (groups(model, blind, x, k) for k in (1, 4, 60))
    assert z_score(alone, np.zeros(3)) < 5
    assert z_score(alone, truth) > 8
    assert z_score(few, truth) > 5
    # 60 proposals leave a bias of about chi2 / k = 0.02; the standard error is 0.015.
    assert np.abs(many.mean(0) - truth).max() < 0.02 + 5 * 0.015
    assert np.abs(alone.mean(0) - truth).max() > 0.4


class IndependentPair:
    """z1 of independent units, in the guide and in the posterior: x says a little about each."""

    units = 12

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z1", dist.Normal(torch.zeros(self.units), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(0.5 * z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = torch.zeros(len(x), self.units)
            pyro.sample("z1", dist.Normal(z, 1.0).to_event(1))


def test_null_of_resampled_draws_wants_fresh_proposals(float64):
    pair, x, draws, patches = IndependentPair(), torch.zeros(1, 12), 200, 30
    num_pairs = 66
    chance = measures.chance_strongest(num_pairs, draws).mean()

    def top_ten(z):
        triangles = measures.correlations(z.reshape(patches, draws, 12).transpose(1, 0, 2))
        return np.abs(measures.strongest(triangles)[1]).mean(1)

    fresh = posterior_draws(pair.model, pair.guide, x, 4, patches * draws, chunk_size=50_000)
    assert z_score(top_ten(fresh.numpy()), chance) < 5
    with own_generators():
        torch.manual_seed(0)
        shared = []
        for _ in range(patches):  # one set of proposals for all the draws of a patch
            terms = log_weights(pair.model, pair.guide, x, 50)
            chosen = torch.distributions.Categorical(logits=terms.log_w[:, 0]).sample((draws,))
            shared.append(terms.latents["z1"][chosen, 0])
    assert z_score(top_ten(torch.cat(shared).numpy()), chance) > 8


def normal_triangles(patches, draws, units, seed=0):
    draws = np.random.default_rng(seed).normal(size=(draws, patches, units))
    return measures.correlations(draws)


def test_strongest_by_chance():
    triangles = normal_triangles(150, 100, 30)
    strongest = np.abs(measures.strongest(triangles, 10)[1])
    chance = measures.chance_strongest(30 * 29 // 2, 100)
    assert z_score(strongest, chance) < 5
    assert z_score(strongest, measures.chance_strongest(30 * 29 // 2, 110)) > 8
    assert z_score(np.abs(triangles).mean(1), measures.chance_mean(100)) < 5
    assert z_score((np.abs(triangles) > 0.1).mean(1), measures.chance_above(0.1, 100)) < 5


def test_chance_of_several_hundred_units_and_a_thousand_draws():
    for units in (250, 315, 450):
        ten = measures.chance_strongest(units * (units - 1) // 2, 1_000)
        assert 0.12 < ten.mean() < 0.13
        assert 0.13 < ten[0] < 0.145
        assert (np.diff(ten) < 0).all()


def test_chance_density_is_a_density_with_the_stated_moments():
    r = np.linspace(-1, 1, 200_001)
    density = measures.chance_density(r, 50)
    width = r[1] - r[0]
    assert math.isclose(density.sum() * width, 1.0, rel_tol=1e-6)
    assert math.isclose((r**2 * density).sum() * width, 1 / 49, rel_tol=1e-6)
    absolute = (np.abs(r) * density).sum() * width
    assert math.isclose(absolute, measures.chance_mean(50), rel_tol=1e-6)
    above = density[np.abs(r) > 0.2].sum() * width
    assert math.isclose(above, measures.chance_above(0.2, 50), rel_tol=1e-3)


def test_shuffled_draws_have_the_null_of_independent_units():
    rng = np.random.default_rng(0)
    common = rng.normal(size=(100, 60, 1))
    draws = common + rng.normal(size=(100, 60, 20))
    chance = measures.chance_strongest(190, 100)

    def top(found):
        return np.abs(measures.strongest(measures.correlations(found), 10)[1])

    mixed = measures.shuffled(draws, rng)
    assert z_score(top(mixed), chance) < 5
    assert z_score(top(draws), chance) > 8
    assert np.array_equal(np.sort(mixed, 0), np.sort(draws, 0))
    # Patches, and units, keep their own draws.
    assert not np.array_equal(mixed, draws)


def test_consistency_of_a_pair_that_was_not_chosen():
    """A reference among exchangeable patches: E|t| sqrt(1 + 1/P), 0.798 for many."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.2, 0.05, size=(21, 2_000))
    mean, sd = values[1:].mean(0), values[1:].std(0, ddof=1)
    # One pair per table, so there is nothing to choose.
    ratios = np.array(
        [
            consistency.ratios(values[:1, [m]], mean[[m]], sd[[m]], count=1)[0, 0]
            for m in range(2_000)
        ]
    )
    assert z_score(ratios, consistency.exchangeable_ratio(20)) < 5
    assert z_score(ratios, 1.0) > 8
    assert math.isclose(consistency.exchangeable_ratio(10**6), math.sqrt(2 / math.pi), rel_tol=1e-5)


def noise_tables(count=40, patches=30, pairs=500):
    rng = np.random.default_rng(1)
    return rng.normal(0.0, 0.03, size=(count, 2, patches, pairs))


def test_choice_raises_the_ratio_of_pure_noise_and_other_draws_do_not():
    tables = noise_tables()
    chosen = [consistency.every_ratio(table[0]).mean() for table in tables]
    expected = consistency.noise_ratio(500, 29)
    assert expected > 2.5
    assert z_score(chosen, expected) < 5
    assert z_score(chosen, consistency.exchangeable_ratio(29)) > 8
    permuted = [consistency.permuted(table[0], replicates=3).mean() for table in tables]
    assert z_score(permuted, expected) < 5
    halves = [consistency.every_ratio(t[1], chosen_by=t[0]).mean() for t in tables]
    assert z_score(halves, consistency.exchangeable_ratio(29)) < 5
    # Any patch may be the reference: one that is dull everywhere changes little.
    dull = tables[0, 0].copy()
    dull[0] = dull[1:].mean(0)
    assert consistency.permuted(dull, replicates=3).mean() > 2.5


def test_correlations_that_belong_to_a_patch_stay_above_the_null_of_halves():
    rng = np.random.default_rng(2)
    tables = noise_tables(20)
    true = rng.normal(0.0, 0.1, size=(20, 1, *tables.shape[2:]))
    halves = [consistency.every_ratio(t[1], chosen_by=t[0]).mean() for t in tables + true]
    assert z_score(halves, consistency.exchangeable_ratio(29)) > 8
    # The same correlation at every patch does not.
    fixed = rng.normal(0.0, 0.1, size=(20, 1, 1, tables.shape[3]))
    halves = [consistency.every_ratio(t[1], chosen_by=t[0]).mean() for t in tables + fixed]
    assert z_score(halves, consistency.exchangeable_ratio(29)) < 5
