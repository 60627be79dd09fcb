"""Truth 12: Pareto k-hat of known tails, of tied weights, and of proposals that are too narrow."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae
from pyro_vae.evaluation import evaluate
from pyro_vae.weights.diagnostics import (
    KHAT_LIMIT,
    effective_sample_size,
    khat_warning,
    pareto_khat,
)
from pyro_vae.weights.pareto_tail import pareto_shape
from tests.arviz_version import OLD_ARVIZ
from tests.statistics import assert_mean_close, z_score

pytestmark = pytest.mark.usefixtures("float64")


def unshrunk(khat, num_particles):
    """The Pareto fit before it is pulled towards 0.5 by a prior worth ten observations."""
    tail = min(num_particles / 5, 3 * num_particles**0.5)
    return (torch.as_tensor(khat) * (tail + 10) - 5) / tail


@pytest.mark.parametrize("index", [0.2, 0.5, 0.9, 1.5])
def test_truth_12_khat_of_a_pareto_tail(index):
    """Weights u^-k have a tail of index k."""
    num_particles = 10_000
    log_w = -index * torch.rand(num_particles, 60).log()
    found = unshrunk(pareto_khat(log_w), num_particles)
    assert_mean_close(found, index)
    for wrong in (2 * index, index + 0.25, -index):
        assert z_score(found, wrong) > 8


def khats_of_arviz(log_w):
    """By the ArviZ that is installed, and how far ours may be from it."""
    with np.errstate(over="ignore"):
        if OLD_ARVIZ:
            from arviz import psislw

            return [float(psislw(column.numpy().copy())[1]) for column in log_w.T], 1e-12
        from arviz_stats.base import array_stats  # which takes log-likelihoods, not weights

        return array_stats.psislw(-log_w.T.numpy())[1].tolist(), 0.05  # of another tail


def test_truth_12_khat_is_that_of_arviz():
    log_w = 3 * torch.randn(500, 6)
    found = pareto_khat(log_w).tolist()
    expected, tolerance = khats_of_arviz(log_w)
    assert found == pytest.approx(expected, abs=tolerance)
    assert pareto_khat(-log_w).tolist() != pytest.approx(expected, abs=tolerance)
    assert pareto_khat(log_w - 2_000.0).tolist() == pytest.approx(found, abs=1e-9)
    assert expected != pytest.approx([expected[0]] * 6, abs=2 * tolerance)


def test_truth_12_khat_does_not_depend_on_which_arviz_there_is():
    """The values that ``arviz.psislw`` of 0.23.4 gave for these weights."""
    log_w = torch.from_numpy(3 * np.random.default_rng(0).normal(size=(6, 500)).T)
    of_arviz = [
        0.9772310244197688,
        0.8983434752189705,
        0.98905123223959,
        0.9271908312876747,
        0.6871445720183906,
        1.0772910779206877,
    ]
    assert pareto_khat(log_w).tolist() == pytest.approx(of_arviz, abs=1e-12)


ATOMS = torch.tensor([0.2, 5 / 6, 0.25])  # p / q of a latent with three values
SHARES = torch.tensor([0.5, 0.3, 0.2])  # q


def drawn_atoms(num_particles, num_data, noise=0.0):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(SHARES, num_particles * num_data, True, generator=generator)
    log_w = ATOMS.log()[drawn].view(num_particles, num_data)
    return log_w + noise * torch.randn(log_w.shape, generator=generator)


@pytest.mark.parametrize("num_particles", [25, 100, 5_000])
@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_truth_12_tied_weights_are_no_tail(num_particles, noise):
    """A discrete latent: the tail begins at a weight that many particles have."""
    log_w = drawn_atoms(num_particles, 20, noise)
    khat = pareto_khat(log_w)
    assert (khat <= KHAT_LIMIT).all()
    assert np.isfinite(khat).all()
    assert khat_warning(khat) is None
    if OLD_ARVIZ:  # fits the rounding errors, or calls it infinite
        assert np.isinf(khats_of_arviz(log_w)[0]).any() or noise


@pytest.mark.parametrize("number", [1, 3, 4])
@pytest.mark.parametrize("ratio", [1.5, 10.0, 1_000.0])
def test_truth_12_a_few_weights_above_tied_ones_count_by_what_they_cost(number, ratio):
    """k-hat is that of Pareto weights with the same effective sample size."""
    num_particles = 5_000
    log_w = torch.zeros(num_particles, 1)
    log_w[:number] = math.log(ratio)
    found = pareto_khat(log_w)[0]
    assert (found > KHAT_LIMIT) == (ratio == 1_000)  # then they are a third of the sum
    pareto = -found * torch.arange(1, num_particles + 1).log()[:, None]
    torch.testing.assert_close(
        effective_sample_size(pareto), effective_sample_size(log_w), rtol=0.02, atol=0
    )
    # Where they stand out by rounding only they are tied too.
    log_w[:number] = 1e-7
    assert pareto_khat(log_w)[0] == 0.0


@pytest.mark.parametrize("ratio", [1.5, 10.0])
def test_truth_12_rounding_of_tied_weights_is_no_part_of_a_tail(ratio):
    """Ten weights above five thousand tied ones; the rest of the tail would be rounding errors."""
    log_w = torch.zeros(5_000, 1)
    log_w[:10] = math.log(ratio)
    rounded = log_w + 1e-9 * torch.randn(5_000, 1, generator=torch.Generator().manual_seed(0))
    assert pareto_khat(rounded)[0] == pytest.approx(pareto_khat(log_w)[0], abs=1e-5)
    if OLD_ARVIZ:
        assert khats_of_arviz(rounded)[0][0] > 1


def test_a_tail_of_the_smallest_numbers_is_infinitely_heavy():
    """Their reciprocals overflow; the largest is all that counts."""
    with np.errstate(all="raise"):
        assert pareto_shape(np.array([0.0, 5e-324, 1e-323, 1e-320, 1.0])) == np.inf
        assert pareto_shape(np.array([1e-308, 2e-308, 1e-200, 1e-100, 1.0])) > 1


def plane(x):
    """z ~ N(0, I) in two dimensions, x independent of it: the posterior of z is the prior."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z1", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(0.0, 1.0).expand((1,)).to_event(1), obs=x)


def scaled_proposal(x):
    """N(0, x^2 I): with |z|^2 / 2 exponential, the weights are x^2 u^-(1 - x^2)."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z1", dist.Normal(torch.zeros(2), x.expand(-1, 2)).to_event(1))


@pytest.mark.parametrize("scale", [0.3, 0.7])
def test_truth_12_proposal_narrower_than_its_target(scale):
    """Its index is 1 - scale^2; the mirror image, a proposal too wide, has bounded weights."""
    num_particles = 10_000
    x = torch.full((60, 1), scale)
    log_w = pyro_vae.log_weights(plane, scaled_proposal, x, num_particles).log_w
    found = unshrunk(pareto_khat(log_w), num_particles)
    assert_mean_close(found, 1 - scale**2)
    assert z_score(found, 1 - scale) > 8
    wide = pyro_vae.log_weights(plane, scaled_proposal, 1 / x, num_particles).log_w
    assert pareto_khat(wide).max() < 0.1


def test_truth_12_one_bad_datum_is_flagged_alone():
    x = torch.tensor([0.9, 1.0, 0.1, 1.3, 0.8])[:, None]
    figures = evaluate(plane, scaled_proposal, x, num_particles=20_000)
    assert (figures.khat > KHAT_LIMIT).tolist() == [False, False, True, False, False]
    # Weights of the whole batch together hide which datum is at fault.
    joint = pyro_vae.log_weights(plane, scaled_proposal, x, 20_000).log_w.sum(1, keepdim=True)
    assert pareto_khat(joint) > KHAT_LIMIT


def test_warning_tells_the_share_of_data_that_are_not_to_be_trusted():
    text = khat_warning(np.array([0.1, 0.9, np.nan, np.inf]))
    assert text.startswith("for 50% of the test data k-hat is above 0.7; their log-likelihood")
    assert "the stated Monte Carlo error is too small" in text
    for help_ in ("Longer training", "another guide", "fewer units", "bracket"):
        assert help_ in text
    for trusted in ([0.1, 0.7], [np.nan, np.nan]):
        assert khat_warning(np.array(trusted)) is None
    # The figures of an evaluation carry it: one of five data has a proposal far too narrow.
    x = torch.tensor([0.9, 1.0, 0.1, 1.3, 0.8])[:, None]
    figures = evaluate(plane, scaled_proposal, x, num_particles=5_000)
    assert figures.warning.startswith("for 20% of the test data")
    assert figures.first(2).warning is None
    assert evaluate(plane, scaled_proposal, x, num_particles=60, khat=False).warning is None


def test_khat_of_weights_that_are_nan_is_nan():
    log_w = torch.randn(100, 3)
    log_w[:, 1] = torch.nan
    log_w[7, 2] = torch.nan
    bad = [value != value for value in pareto_khat(log_w)]
    assert bad == [False, True, True]
