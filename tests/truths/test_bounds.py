"""Truths 7 and 8: identities between the bounds on shared noise, and the KL of Laplace levels."""

from itertools import pairwise

import pyro
import pytest
import torch
from pyro import poutine
from torch.distributions import Laplace, Normal, kl_divergence

import pyro_vae
from pyro_vae import bounds
from tests.linear_gaussian import oracle
from tests.statistics import assert_mean_close, z_score, z_scores

pytestmark = pytest.mark.usefixtures("float64")


def assert_same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, -3_000.0])
def test_truth_07_bounds_meet_at_their_ends(offset):
    log_w = offset + 2 * torch.randn(12, 5)
    elbo, iwae = bounds.elbo(log_w), bounds.iwae(log_w)
    assert_same(elbo, log_w.mean(0))
    assert_same(iwae - offset, (log_w - offset).exp().mean(0).log())
    for alpha in (-1.0, 0.3, 0.5, 2.0):
        p = 1 - alpha
        powers = ((p * (log_w - offset)).exp().mean(0)).log() / p
        assert_same(bounds.renyi(log_w, alpha), bounds.power_mean(log_w, p))
        assert (bounds.renyi(log_w, alpha) - offset - powers).abs().max() < 1e-11
    assert_same(bounds.renyi(log_w, 0.0), iwae)
    assert_same(bounds.renyi(log_w, 1.0), elbo)
    assert_same(bounds.power_mean(log_w, 1.0), iwae)
    assert_same(bounds.power_mean(log_w, 0.0), elbo)
    assert (bounds.power_mean(log_w, 1e-7) - elbo).abs().max() < 1e-5
    assert_same(bounds.miwae(log_w, 12), iwae)
    assert_same(bounds.miwae(log_w, 1), elbo)
    assert_same(bounds.miwae(log_w, 4), sum(bounds.iwae(part) for part in log_w.split(4)) / 3)
    assert_same(bounds.ciwae(log_w, 0.0), iwae)
    assert_same(bounds.ciwae(log_w, 1.0), elbo)
    assert_same(bounds.ciwae(log_w, 0.25), 0.25 * elbo + 0.75 * iwae)
    # The ends differ, so that none of these holds by accident; and powers are ordered.
    ordered = [bounds.power_mean(log_w, p) for p in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    for smaller, larger in pairwise(ordered):
        assert (larger - smaller).min() > 0.01
    assert (bounds.miwae(log_w, 4) - elbo).min() > 0.01
    assert (iwae - bounds.miwae(log_w, 4)).min() > 0.01


@pytest.mark.parametrize("most", [1, 40, 10_000])
def test_truth_07_weights_in_parts_give_the_bound_of_the_whole(most):
    """Of 200 particles of 3 data no more numbers are held than asked for, and a part."""
    log_w = 3 * torch.randn(200, 3)
    log_w[:50, 1] = log_w[:, 2] = -torch.inf

    def parts():
        yield from log_w.split(7)

    found = bounds.streamed_iwae(parts(), most)
    torch.testing.assert_close(found, bounds.iwae(log_w), rtol=1e-13, atol=0)
    if most == 10_000:  # in one piece nothing is rounded otherwise
        assert torch.equal(found, bounds.iwae(log_w))


def test_truth_07_median():
    log_w = torch.tensor([[3.0, 1.0], [1.0, -1.0], [2.0, 5.0]])
    assert_same(bounds.median(log_w), torch.tensor([2.0, 1.0]))
    even = torch.cat([log_w, torch.tensor([[0.0, 4.0]])])
    middle = torch.tensor([[1.0, 1.0], [2.0, 4.0]]).exp().mean(0).log()
    assert_same(bounds.median(even), middle)


@pytest.mark.parametrize("inner", [0, 4, 7])
def test_groups_that_do_not_divide_the_particles_are_refused(inner):
    match = f"num_inner must divide the number of particles 6, got {inner}"
    with pytest.raises(pyro_vae.InputError, match=match):
        bounds.miwae(torch.zeros(6, 2), inner)


@pytest.mark.parametrize("beta", [-0.1, 1.5, float("nan")])
def test_shares_of_two_bounds_outside_the_unit_interval_are_refused(beta):
    with pytest.raises(pyro_vae.InputError, match=rf"beta must lie in \[0, 1\], got {beta}"):
        bounds.ciwae(torch.zeros(6, 2), beta)


@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0])
def test_truth_07_losses_are_these_bounds_on_the_same_noise(alpha):
    """IWAE, the k-sample VAE and Pyro's own Renyi loss against the bounds of one table."""
    k = 6
    model, _, guide, x = oracle()

    def on_same_noise(objective):
        torch.manual_seed(4)
        return objective.loss(model, guide, x)

    torch.manual_seed(4)
    log_w = pyro_vae.log_weights(model, guide, x, k).log_w
    iwae, elbo = -bounds.iwae(log_w).sum().item(), -bounds.elbo(log_w).sum().item()
    assert abs(on_same_noise(pyro_vae.IWAE(k)) - iwae) < 1e-12
    assert abs(on_same_noise(pyro_vae.DReG(k)) - iwae) < 1e-12
    assert abs(on_same_noise(pyro_vae.make_objective("elbo", k)) - elbo) < 1e-10
    renyi = -bounds.renyi(log_w, alpha).sum().item()
    assert abs(on_same_noise(pyro_vae.make_objective("renyi", k, alpha=alpha)) - renyi) < 1e-10
    assert abs(iwae - elbo) > 0.01


@torch.no_grad()
def test_truth_07_power_above_one_and_median_can_exceed_the_evidence():
    model, _, guide, x = oracle(size=0.002, widen=0.05)  # a guide somewhat too wide
    log_p = model.log_evidence(x)
    log_w = pyro_vae.log_weights(model, guide, x, 300 * 101).log_w
    groups = log_w.unflatten(0, (300, 101)).transpose(0, 1)  # (101, 300, B)
    control = (groups - log_p).exp().mean(0) - 1  # has mean 0 and shares the bounds' noise
    for bound in (bounds.power_mean(groups, 2.0), bounds.median(groups)):
        assert (bound.mean(0) > log_p).all()
        assert z_scores(bound - control, log_p).min() > 8
    for p in (1.0, 0.5, 0.0, -1.0):
        bound = bounds.power_mean(groups, p) - control
        assert (bound.mean(0) < log_p).all()
        assert z_scores(bound, log_p).min() > 8


def gaussian_kl(q, p):
    """KL of Gaussians with these locations and scales: the wrong formula for Laplace units."""
    return kl_divergence(Normal(q.loc, q.scale), Normal(p.loc, p.scale))


def test_truth_08_laplace_kl():
    """Closed form, torch's function and quadrature agree; the Gaussian formula does not."""
    m, n = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.3, 0.5, -1.0])
    b, c = torch.tensor([0.5, 1.5, 0.4]), torch.tensor([2.0, 1.0, 0.3])
    found = kl_divergence(Laplace(m, b), Laplace(n, c))
    gap = (m - n).abs()
    closed = (c / b).log() - 1 + gap / c + b / c * (-gap / b).exp()
    torch.testing.assert_close(found, closed, rtol=0, atol=1e-12)
    # Simpson's rule between the kinks, where the integrand is smooth.
    total = torch.zeros(3)
    ends = torch.stack([torch.min(m, n) - 40 * b, torch.min(m, n), torch.max(m, n), m + 50 * b])
    steps = 2_000
    rule = torch.ones(steps + 1)
    rule[1:-1:2], rule[2:-1:2] = 4, 2
    for low, high in pairwise(ends):
        high = torch.max(low, high)
        t = low + (high - low) * torch.linspace(0, 1, steps + 1)[:, None]
        log_q, log_p = Laplace(m, b).log_prob(t), Laplace(n, c).log_prob(t)
        total += (high - low) / steps / 3 * (rule[:, None] * log_q.exp() * (log_q - log_p)).sum(0)
    torch.testing.assert_close(found, total, rtol=0, atol=1e-6)
    assert (gaussian_kl(Laplace(m, b), Laplace(n, c)) - total).abs().min() > 0.05


def test_truth_08_analytic_elbo_agrees_with_monte_carlo_on_a_laplace_level():
    """TraceMeanField_ELBO on the library's pair, a top-down guide with Laplace z1."""
    arch = pyro_vae.Architecture(
        units=(3, 2),
        families=("laplace", "normal"),
        encoders=((4,), (3,)),
        feedback=((3,),),
        priors=((3,),),
        decoder=(),
        pixels="standardised",
    )
    model, guide = pyro_vae.build_model(arch, 5), pyro_vae.build_guide("topdown", arch, 5)
    x = torch.randn(4, 5)
    k = 50
    objective = pyro_vae.make_objective("elbo-analytic", k)
    estimates = {
        "analytic": lambda: -objective.loss(model, guide, x),
        "sampled": lambda: bounds.elbo(pyro_vae.log_weights(model, guide, x, k).log_w).sum(),
        "right KL": lambda: _elbo_with(kl_divergence, model, guide, x, k),
        "Gaussian KL": lambda: _elbo_with(gaussian_kl, model, guide, x, k),
    }

    def on_seed(estimate, seed):
        torch.manual_seed(seed)
        return estimate()

    with torch.no_grad():
        found = {
            name: torch.tensor([on_seed(estimate, seed) for seed in range(200)])
            for name, estimate in estimates.items()
        }
    assert_mean_close(found["analytic"] - found["sampled"], 0.0)
    assert (found["analytic"] - found["right KL"]).abs().max() < 1e-10
    assert z_score(found["Gaussian KL"] - found["sampled"], 0.0) > 8


def _elbo_with(kl_of_z1, model, guide, x, k):
    """The ELBO with the KL of z1 from the given formula."""
    with pyro.plate("particles", k, dim=-2):
        drawn = poutine.trace(guide).get_trace(x)
        scored = poutine.trace(poutine.replay(model, drawn)).get_trace(x)
    total = scored.nodes["x"]["fn"].log_prob(x)
    for name, kl in (("z1", kl_of_z1), ("z2", kl_divergence)):
        q, p = (trace.nodes[name]["fn"].base_dist for trace in (drawn, scored))
        total = total - kl(q, p).sum(-1)
    return total.mean(0).sum()
