"""Truth 2 and more: the jackknife removes the bias of L_K, and L_k rises with k to log p."""

import itertools
import math

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae import bounds
from pyro_vae.evaluation import bound_curve, evaluate, log_likelihood
from tests.discrete import DiscretePair, tuples
from tests.linear_gaussian import chi2, elbo, oracle
from tests.statistics import assert_mean_close, z_score

pytestmark = pytest.mark.usefixtures("float64")


def naive_jackknife(log_w):
    """K L_K - (K - 1) mean_k L_(all but k), a whole log-sum-exp for every particle left out."""
    count = len(log_w)
    without = [torch.cat([log_w[:k], log_w[k + 1 :]]) for k in range(count)]
    mean = torch.stack([bounds.iwae(rest) for rest in without]).mean(0)
    return count * bounds.iwae(log_w) - (count - 1) * mean


@pytest.mark.parametrize("num_particles", [2, 3, 40])
@pytest.mark.parametrize("offset", [0.0, -3_000.0])
def test_jackknife_is_its_formula(num_particles, offset):
    log_w = offset + 3 * torch.randn(num_particles, 50)
    expected = naive_jackknife(log_w)
    torch.testing.assert_close(bounds.jackknife(log_w), expected, rtol=0, atol=1e-9)
    assert (expected - bounds.iwae(log_w)).abs().min() > 1e-4
    assert bounds.jackknife(log_w[:1]).isnan().all()


@pytest.mark.parametrize("gap", [10.0, 36.0, 40.0, 700.0, 5_000.0])
def test_jackknife_where_one_weight_is_nearly_everything(gap):
    """The sum of the others is lost in 1 - w~ = 0; it is then the distance that counts."""
    log_w = 2 * torch.randn(20, 8)
    log_w[7] += gap
    found = bounds.jackknife(log_w)
    torch.testing.assert_close(found, naive_jackknife(log_w), rtol=1e-12, atol=1e-9)
    if gap >= 40:
        assert torch.log1p(-bounds.normalised_weights(log_w)).isinf().any()
    # L_K plus (K - 1) / K of the distance to the others: nothing that one could call log p.
    assert ((found - bounds.iwae(log_w)) > 0.9 * (gap - 12)).all()


def test_jackknife_has_finite_gradients_there():
    log_w = torch.randn(5, 3)
    log_w[2] += 60
    log_w.requires_grad_()
    bounds.jackknife(log_w).sum().backward()
    assert log_w.grad.isfinite().all()
    # Adding a number to all weights adds it to the estimate.
    torch.testing.assert_close(log_w.grad.sum(0), torch.ones(3))


@pytest.mark.parametrize("k", [2, 3])
def test_expectation_of_the_jackknife_by_enumeration(k):
    """E = k L_k - (k - 1) L_(k-1) over all k-tuples of a discrete latent."""
    pair = DiscretePair(levels=1)
    log_w = pair.log_joint(1) - pair.log_guide(1)

    def expected(function, k):
        drawn = tuples(pair.states, k)
        return (pair.log_guide(1)[drawn].sum(0).exp() * function(log_w[drawn])).sum()

    truth = k * expected(bounds.iwae, k) - (k - 1) * expected(bounds.iwae, k - 1)
    assert abs(expected(bounds.jackknife, k) - truth) < 1e-12
    log_p = pair.log_joint(1).logsumexp(0)
    assert abs(truth - log_p) < 0.7 * abs(expected(bounds.iwae, k) - log_p)


def test_the_jackknife_is_no_lower_bound():
    """One draw in four has a tiny weight: E over pairs of draws lies above log p."""
    log_w = torch.tensor([-30.0, 0.0, 0.0, 0.0])
    pairs = torch.tensor([*itertools.product(range(4), repeat=2)]).T
    log_p = math.log(0.75)
    assert bounds.jackknife(log_w[pairs]).mean() > log_p + 1
    assert bounds.iwae(log_w[pairs]).mean() < log_p


@torch.no_grad()
@pytest.mark.parametrize("k", [10, 20])
def test_jackknife_removes_the_bias(k):
    """On the oracle: L_k is low by about chi^2 / (2 k), many standard errors; the jackknife not."""
    model, _, guide, x = oracle(1)
    log_w = pyro_vae.log_weights(model, guide, x.expand(40_000, -1), k).log_w
    log_p = model.log_evidence(x)
    assert_mean_close(bounds.jackknife(log_w), log_p)
    assert z_score(bounds.iwae(log_w), log_p) > 8
    assert_mean_close(bounds.iwae(log_w) + chi2(model, guide, x) / (2 * k), log_p, n_se=6)
    # Its price: no more spread than L_k has, but for a few parts in a hundred.
    assert bounds.jackknife(log_w).std() < 1.1 * bounds.iwae(log_w).std()


@torch.no_grad()
def test_the_jackknife_of_evaluations():
    model, _, guide, x = oracle(5)
    settings = {"num_particles": 40, "chunk_size": 90}

    def on_same_noise(function, **options):
        torch.manual_seed(3)
        return function(model, guide, x, **settings, **options)

    found = on_same_noise(evaluate, bound_particles=10)
    plain = on_same_noise(log_likelihood)
    corrected = on_same_noise(log_likelihood, jackknife=True)
    np.testing.assert_array_equal(found.log_likelihood, plain)
    np.testing.assert_array_equal(found.log_likelihood_jackknife, corrected)
    assert (corrected - plain).abs().min() > 1e-5
    assert "log_likelihood_jackknife" in found.summary()
    one = evaluate(model, guide, x, num_particles=1, bound_particles=1)
    assert np.isnan(one.log_likelihood_jackknife).all()
    assert found.first(2).log_likelihood_jackknife.shape == (2,)


@torch.no_grad()
def test_truth_02_the_curve_rises_from_the_elbo_to_log_p():
    model, _, guide, x = oracle(1)
    repeats = x.expand(400, -1)
    curve = bound_curve(model, guide, repeats, 1_000)
    assert curve.particles == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
    assert curve.values.shape == (10, 400)
    log_p, bottom = model.log_evidence(x), elbo(model, guide, x)
    assert_mean_close(curve.values[0], bottom)
    assert z_score(curve.values[0], log_p) > 8
    assert_mean_close(curve.values[-1], log_p)
    assert z_score(curve.values[-1], bottom) > 8
    # Neighbours share their noise, so their differences are known far better than their values.
    steps = np.diff(curve.values, axis=0)[:6]
    assert (steps.mean(1) > 5 * steps.std(1, ddof=1) / 20).all()
    for k, values in zip(curve.particles[4:7], curve.values[4:7], strict=True):
        assert_mean_close(values, log_p - chi2(model, guide, x) / (2 * k))
    np.testing.assert_allclose(curve.mean, curve.values.mean(1))
    np.testing.assert_allclose(curve.standard_error, curve.values.std(1, ddof=1) / 20)


@torch.no_grad()
def test_points_of_the_curve_are_the_figures_of_evaluate():
    model, _, guide, x = oracle(7)

    def on_same_noise(function, **settings):
        torch.manual_seed(2)
        return function(model, guide, x, num_particles=23, chunk_size=50, **settings)

    figures = on_same_noise(evaluate, bound_particles=5)
    curve = on_same_noise(bound_curve, particles=[23, 5, 1, 5])
    assert curve.particles == (1, 5, 23)
    for values, name in zip(curve.values, ("elbo", "bound", "log_likelihood"), strict=True):
        np.testing.assert_allclose(values, getattr(figures, name), rtol=0, atol=1e-12)
    assert on_same_noise(bound_curve).particles == (1, 2, 5, 10, 20, 23)


@pytest.mark.parametrize(
    ("particles", "message"),
    [([1, 30], "holds 30, but there are 20"), ([0], "at least 1"), ([2.5], "whole"), ([], "one")],
)
def test_points_that_no_curve_has_are_refused(particles, message):
    model, _, guide, x = oracle(2)
    with pytest.raises(pyro_vae.InputError, match=message):
        bound_curve(model, guide, x, 20, particles)
