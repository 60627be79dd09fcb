"""Annealed and bidirectional estimates against the oracle: exact expectations, exact brackets."""

import pytest
import torch

from pyro_vae.evaluation.ais import hamiltonian
from pyro_vae.evaluation.ais.annealed import ais, bidirectional
from pyro_vae.evaluation.ais.chains import Plan, temperatures
from pyro_vae.evaluation.ais.path import AnnealingPath
from tests.annealed import STARTS, bad_pair, path_order, posterior_draws, single_chains
from tests.linear_gaussian import elbo, oracle, quadratic
from tests.statistics import assert_mean_close, z_score

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def always_accepted(monkeypatch):
    """Metropolis' correction is left out."""
    monkeypatch.setattr(hamiltonian, "accepted", lambda p: torch.ones_like(p, dtype=torch.bool))


def weights(start="guide", num_data=4_000, spread=1.0):
    """w / p(x) of forward chains, p(x) / w of backward ones begun at ``posterior_draws``."""
    model, guide, x = bad_pair(num_data)
    exact = posterior_draws(model, x, spread)
    count = {"guide": 8, "prior": 24}[start]
    forward, backward = single_chains(model, guide, x, exact, start, count)
    log_p = model.log_evidence(x).detach()
    return (forward - log_p).exp(), (log_p - backward).exp()


@pytest.mark.parametrize("start", STARTS)
def test_forward_weights_have_mean_evidence_and_backward_ones_its_inverse(start):
    forward, backward = weights(start=start)
    assert_mean_close(forward, 1.0)
    assert_mean_close(backward, 1.0)
    # The two directions have different laws, and neither is any constant but its own.
    assert z_score(forward.log(), 0.0) > 8
    assert z_score(backward.log(), 0.0) > 8
    for wrong in (0.7, 1.3):
        assert z_score(forward, wrong) > 8
        assert z_score(backward, wrong) > 8


@pytest.mark.usefixtures("always_accepted")
def test_without_metropolis_the_expectations_are_wrong():
    forward, _ = weights()
    assert z_score(forward, 1.0) > 8


def test_backward_chains_must_begin_at_the_posterior():
    forward, backward = weights(spread=0.5)
    assert_mean_close(forward, 1.0)
    assert z_score(backward, 1.0) > 8


@pytest.mark.parametrize("start", STARTS)
def test_the_bracket_holds_and_shrinks_with_the_number_of_temperatures(start):
    """On average lower < log p(x) < upper: far apart with few temperatures, then within noise."""
    model, guide, x = bad_pair(300)
    log_p = model.log_evidence(x).detach().numpy()
    gaps = []
    for count in (3, 20):
        found = bidirectional(
            model,
            guide,
            x,
            posterior_draws(model, x),
            num_particles=1,
            num_temperatures=count,
            start=start,
            num_leapfrog=2,
            chunk_size=100_000,
        )
        for miss in (log_p - found.lower, found.upper - log_p):
            assert miss.mean() > 0 or z_score(miss, 0.0) < 5
            assert count > 3 or (miss.mean() > 0 and z_score(miss, 0.0) > 5)
        gaps.append(torch.from_numpy(found.gap))
    wide, narrow = gaps
    assert z_score(wide - narrow, 0.0) > 5
    assert wide.mean() > 2 * abs(narrow.mean())


@torch.no_grad()
def test_reported_standard_error_is_calibrated():
    model, guide, x = bad_pair(600)
    found = ais(
        model, guide, x, num_particles=50, num_temperatures=15, num_leapfrog=1, chunk_size=100_000
    )
    spread = (found.lower - found.lower.mean()) ** 2 * 600 / 599
    assert_mean_close(spread - found.lower_error**2, 0.0)
    assert z_score(spread - 2 * found.lower_error**2, 0.0) > 6
    assert z_score(spread - found.lower_error**2 / 2, 0.0) > 6
    assert 10 < found.ess.mean() < 50
    assert (found.ess >= 1).all()
    assert (found.ess <= 50).all()


# Exact values -------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("chunk_size", [3, 16, 1_000])
def test_from_the_posterior_every_estimate_is_the_evidence(chunk_size):
    """For every datum in its place, however data and chains are split."""
    model, best, _, x = oracle(3)
    log_p = model.log_evidence(x).numpy()
    settings = {
        "num_particles": 7,
        "num_temperatures": 3,
        "num_leapfrog": 1,
        "chunk_size": chunk_size,
    }
    one_way = ais(model, best, x, **settings)
    both = bidirectional(model, best, x, posterior_draws(model, x), **settings)
    for found in (one_way.lower, both.lower, both.upper):
        assert abs(found - log_p).max() < 1e-9
    assert abs(both.gap).max() < 1e-9
    assert abs(one_way.ess - 7).max() < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("chunk_size", [300, 4_000])
def test_chunks_of_chains_and_data_do_not_change_the_law(chunk_size):
    model, guide, _ = bad_pair(1)
    x = model.sample_x(2)
    found = ais(
        model,
        guide,
        x,
        num_particles=1_000,
        num_temperatures=12,
        num_leapfrog=2,
        chunk_size=chunk_size,
    )
    distance = abs(found.lower - model.log_evidence(x).numpy())
    assert (found.lower_error < 0.1).all()
    assert (distance < 5 * found.lower_error).all()
    assert (abs(found.lower - elbo(model, guide, x).numpy()) > 8 * found.lower_error).all()


def test_one_temperature_is_importance_sampling():
    model, guide, x = bad_pair(2_000)
    found = ais(model, guide, x, num_particles=1, num_temperatures=1, chunk_size=100_000)
    assert_mean_close(found.lower, elbo(model, guide, x[:1]).item())
    assert found.acceptance_by_temperature.shape == (0,)
    assert z_score(found.lower, model.log_evidence(x[:1]).item()) > 8


@torch.no_grad()
def test_densities_and_gradients_along_the_path():
    """log f_1 is the posterior's density plus log p(x), log f_0 the guide's or the prior's."""
    model, _, guide, x = oracle(3)
    posterior, prior = model.posterior(x), torch.distributions.MultivariateNormal(*model.joint())
    for start, begun in (("guide", guide.joint(x)), ("prior", prior)):
        path = AnnealingPath(model, guide, x, start)
        point = path.draw(6)
        order = path_order(path)
        z = torch.empty_like(point.position)
        z[..., order] = point.position
        close = {"rtol": 0, "atol": 1e-9}
        torch.testing.assert_close(point.log_density(0.0), begun.log_prob(z), **close)
        target = posterior.log_prob(z) + model.log_evidence(x)
        torch.testing.assert_close(point.log_density(1.0), target, **close)
        for t, law in ((0.0, begun), (1.0, posterior)):
            gradient = -quadratic(law.precision_matrix, z - law.loc)[..., order]
            torch.testing.assert_close(point.gradient(t), gradient, **close)
        half = 0.5 * (point.log_density(0.0) + point.log_density(1.0))
        torch.testing.assert_close(point.log_density(0.5), half, **close)


@torch.no_grad()
def test_lengths_of_the_units_mix_precisions():
    model, best, _, x = oracle(400)
    path = AnnealingPath(model, best, x[:1].expand(400, -1), "prior")
    for t, law in ((0.0, model.joint()[1]), (1.0, model.posterior(x[:1]).covariance_matrix[0])):
        expected = law.diagonal()[path_order(path)]
        assert_mean_close(path.scale(t) ** 2, expected)
        assert z_score(path.scale(t) ** 2, 1.3 * expected) > 8
    between = 1 / path.scale(0.25) ** 2
    mixed = 0.75 / path.scale(0.0) ** 2 + 0.25 / path.scale(1.0) ** 2
    torch.testing.assert_close(between, mixed)


def test_temperatures():
    for count in (1, 2, 7):
        for schedule in ("linear", "sigmoid"):
            t = temperatures(count, schedule)
            assert t.shape == (count + 1,)
            assert (t[0], t[-1]) == (0, 1)
            assert (t.diff() > 0).all()
            torch.testing.assert_close(t, 1 - t.flip(0))
    assert torch.equal(temperatures(4), torch.tensor([0, 0.25, 0.5, 0.75, 1]))
    assert temperatures(4, "sigmoid")[1] < 0.12
    assert Plan(1, 4, 1, "guide", None, 1).temperatures == temperatures(4).tolist()
    assert Plan(1, 4, 1, "prior", None, 1).temperatures == temperatures(4, "sigmoid").tolist()
