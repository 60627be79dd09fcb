"""The transition of annealed importance sampling: what it leaves invariant."""

import math

import pytest
import torch

from pyro_vae.evaluation.ais import hamiltonian
from pyro_vae.evaluation.ais.chains import Plan, pilot, weigh
from pyro_vae.evaluation.ais.hamiltonian import Point, transition
from pyro_vae.evaluation.ais.path import AnnealingPath
from tests.annealed import bad_pair, path_order
from tests.statistics import assert_mean_close, z_score

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def always_accepted(monkeypatch):
    """Metropolis' correction is left out."""
    monkeypatch.setattr(hamiltonian, "accepted", lambda p: torch.ones_like(p, dtype=torch.bool))


# The transition -----------------------------------------------------------------------------------


def moved(num_chains, num_transitions=6):
    """First and second moments of posterior draws after some transitions at t = 1: (chains, 30).

    Also their expectations under the posterior, and the acceptance.
    """
    model, guide, x = bad_pair(1)
    path = AnnealingPath(model, guide, x, "guide")
    posterior, order = model.posterior(x), path_order(path)
    with torch.no_grad():
        point = path.at(posterior.sample((num_chains,))[..., order])
    step = torch.full((1,), 0.5)
    for _ in range(num_transitions):
        point, probability = transition(path.at, point, 1.0, step, path.scale(1.0), 3)
    centred = (point.position - posterior.loc[:, order]).squeeze(1)
    products = (centred[:, :, None] * centred[:, None]).flatten(1)
    covariance = posterior.covariance_matrix[0][order][:, order]
    expected = torch.cat([torch.zeros(len(order)), covariance.flatten()])
    return torch.cat([centred, products], 1).detach(), expected.detach(), probability.mean()


def test_the_transition_leaves_its_target_invariant():
    moments, expected, acceptance = moved(20_000)
    assert 0.4 < acceptance < 0.9
    assert_mean_close(moments, expected)
    assert z_score(moments, 1.3 * expected) > 8


@pytest.mark.usefixtures("always_accepted")
def test_without_metropolis_the_target_is_not_invariant():
    moments, expected, _ = moved(20_000)
    assert z_score(moments, expected) > 8


def test_proposals_without_a_density_are_rejected():
    """N(0, 1) cut at 1.5, beyond which the density is NaN: chains stay inside, their law too."""

    def evaluate(position):
        inside = position.abs() < 1.5
        log_density = torch.where(inside, -0.5 * position**2, torch.nan)
        gradient = torch.where(inside, -position, torch.nan)
        zero = torch.zeros_like(position)
        return Point(position, log_density[..., 0], zero[..., 0], gradient, zero)

    inside = torch.distributions.Normal(0.0, 1.0).sample((80_000,))
    inside = inside[inside.abs() < 1.5][:, None, None]
    point = evaluate(inside)
    for _ in range(3):
        point, probability = transition(evaluate, point, 0.3, torch.ones(1), torch.ones(1, 1), 2)
    assert 0.3 < probability.mean() < 0.95
    assert point.position.abs().max() < 1.5
    edge = torch.tensor(1.5)
    mass = torch.erf(edge / 2**0.5)
    variance = 1 - 2 * edge * math.exp(-0.5 * 1.5**2) / (2 * math.pi) ** 0.5 / mass
    assert_mean_close(point.position[:, 0, 0] ** 2, variance)
    assert z_score(point.position[:, 0, 0] ** 2, 1.0) > 8


def test_the_pilot_finds_steps_that_accept_as_asked():
    model, guide, _ = bad_pair(1)
    x = model.sample_x(20)
    plan = Plan(20, 30, 2, "guide", None, 10_000)
    path = AnnealingPath(model, guide, x, "guide")
    steps = pilot(path, plan)
    assert steps.shape == (29, 20)
    chains = weigh(path, plan, steps)
    assert chains.acceptance.shape == (29, 20)
    assert abs(chains.acceptance.mean() - 0.65) < 0.05
    assert chains.acceptance.mean(0).min() > 0.5
    assert chains.acceptance.mean(1).min() > 0.5
    # Steps matter: three times as long ones are hardly accepted.
    assert weigh(path, plan, 3 * steps).acceptance.mean() < 0.3
