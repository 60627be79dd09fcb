"""Truths 12 and 13: Pareto k-hat of known tails, and active units of constructed guides."""

import math

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae
from pyro_vae.evaluation import evaluate
from pyro_vae.evaluation.activity import (
    active_units,
    count_active_units,
    pca_active_units,
    posterior_means,
)
from pyro_vae.weights.diagnostics import (
    KHAT_LIMIT,
    effective_sample_size,
    khat_warning,
    pareto_khat,
)
from tests.statistics import assert_mean_close, z_score

pytestmark = pytest.mark.usefixtures("float64")


def unshrunk(khat, num_particles):
    """The Pareto fit before arviz pulls it towards 0.5 by a prior worth ten observations."""
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


def test_truth_12_khat_is_that_of_arviz():
    log_w = 3 * torch.randn(500, 6)
    expected = [float(arviz.psislw(column.numpy().copy())[1]) for column in log_w.T]
    assert pareto_khat(log_w).tolist() == pytest.approx(expected, abs=1e-12)
    assert pareto_khat(log_w - 2_000.0).tolist() == pytest.approx(expected, abs=1e-9)
    assert expected != pytest.approx([expected[0]] * 6, abs=1e-2)


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
    # ArviZ fits the rounding errors, or calls it infinite.
    theirs = [float(arviz.psislw(column.numpy().copy())[1]) for column in log_w.T]
    assert np.isinf(theirs).any() or noise


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
    with np.errstate(over="ignore"):
        assert float(arviz.psislw(rounded[:, 0].numpy().copy())[1]) > 1


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


class ConstructedGuide:
    """q(z2 | x) = N(R a x, s^2) and q(z1 | z2) = N(c z2, t^2), with a, c, s, t per unit."""

    slopes = torch.tensor([1.0, 0.5, 0.02], dtype=torch.float64)
    gains = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)

    def __init__(self, rotation=None, spread=1.0):
        self.rotation = torch.eye(3) if rotation is None else rotation
        self.spread = spread

    def __call__(self, x):
        with pyro.plate("data", len(x), dim=-1):
            q2 = dist.Normal((self.slopes * x) @ self.rotation.T, self.spread)
            z2 = pyro.sample("z2", q2.to_event(1))
            pyro.sample("z1", dist.Normal(self.gains * z2, 0.7).to_event(1))

    def activity(self, name):
        return self.slopes**2 * (self.gains**2 if name == "z1" else 1)


@pytest.mark.parametrize("method", ["conditional", "sample"])
@pytest.mark.parametrize("name", ["z1", "z2"])
def test_truth_13_activity_is_the_squared_slope(name, method):
    """Unbiased over data sets; without the correction too large by E Var_q(z) / S, as is known."""
    guide, num_samples, sets = ConstructedGuide(), 5, 150
    found, uncorrected = [], []
    for _ in range(sets):
        x = torch.randn(60, 3)
        means = posterior_means(guide, x, num_samples=num_samples, method=method)[name]
        found.append(means.activity)
        uncorrected.append(means.mean.var(0))
    found, uncorrected = torch.stack(found), torch.stack(uncorrected)
    truth = guide.activity(name)
    assert_mean_close(found, truth)
    noise = {
        ("z2", "conditional"): torch.zeros(3),
        ("z2", "sample"): torch.ones(3),
        ("z1", "conditional"): guide.gains**2,
        ("z1", "sample"): guide.gains**2 + 0.7**2,
    }[name, method]
    assert_mean_close(uncorrected, truth + noise / num_samples)
    if noise.any():
        assert z_score(uncorrected, truth) > 8
    assert z_score(found, guide.slopes.abs()) > 8


def rotation():
    return torch.linalg.qr(torch.tensor([[2.0, 1.0, 1.0], [1.0, -1.0, 2.0], [1.0, 3.0, -1.0]]))[0]


@pytest.mark.parametrize("method", ["conditional", "sample"])
def test_truth_13_rotation_changes_active_units_but_not_pca_active_units(method):
    x = torch.randn(2_000, 3)
    counts = {}
    for name, turn in (("straight", None), ("rotated", rotation())):
        means = posterior_means(ConstructedGuide(turn), x, num_samples=20, method=method)["z2"]
        counts[name] = int(active_units(means).sum()), pca_active_units(means)
    assert counts == {"straight": (2, 2), "rotated": (3, 2)}


@pytest.mark.parametrize(("slope", "active"), [(0.0, 0), (1.0, 1)])
def test_truth_13_pca_active_units_with_noise_shared_between_units(slope, active):
    """z1 = 3 (z2, z2, z2, z2) + noise: the errors of its mean, drawn through z2, are correlated."""

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(slope * x, 1.0).to_event(1))
            pyro.sample("z1", dist.Normal(3 * z2.expand(*z2.shape[:-1], 4), 1.0).to_event(1))

    means = posterior_means(guide, torch.randn(1_000, 1), num_samples=20)["z1"]
    assert (means.activity - 9 * slope**2).abs().max() < 2
    assert active_units(means, threshold=0.5).sum() == 4 * active
    assert pca_active_units(means, threshold=0.5) == active


@pytest.mark.parametrize("spread", [1.0, 0.3])
def test_truth_13_the_single_sample_definition_counts_the_spread_of_drawn_parents(spread):
    """The mean of z1 at one z2 varies by c^2 (a^2 + s^2), where E[z1 | x] varies by c^2 a^2."""
    guide = ConstructedGuide(spread=spread)
    tables = {"burda": [], "test": []}
    for _ in range(150):
        x = torch.randn(60, 3)
        for definition, table in tables.items():
            found = count_active_units(guide, x, definition=definition, num_samples=5)
            table.append([torch.as_tensor(found[name].activity) for name in ("z2", "z1")])
    burda, corrected = (
        [torch.stack(level) for level in zip(*tables[name], strict=True)] for name in tables
    )
    assert_mean_close(burda[0], guide.activity("z2"))  # no latent parents, no bias
    assert_mean_close(burda[1], guide.activity("z1") + guide.gains**2 * spread**2)
    assert z_score(burda[1], guide.activity("z1")) > 8
    for level, name in zip(corrected, ("z2", "z1"), strict=True):
        assert_mean_close(level, guide.activity(name))


def test_truth_13_three_definitions_side_by_side():
    """Slopes 1, 0.5, 0.02: two units. Rotated three, in two directions; drawn parents add one."""
    x = torch.randn(2_000, 3)
    plain, rotated = ConstructedGuide(spread=0.2), ConstructedGuide(rotation(), spread=0.2)

    def counts(guide, definition):
        found = count_active_units(guide, x, definition=definition)
        return {name: level.count for name, level in found.items()}

    assert counts(plain, "test") == counts(plain, "pca") == {"z2": 2, "z1": 2}
    assert counts(plain, "burda") == {"z2": 2, "z1": 3}
    assert counts(rotated, "test")["z2"] == counts(rotated, "burda")["z2"] == 3
    assert counts(rotated, "pca")["z2"] == 2
    found = count_active_units(plain, x)
    assert found["z1"].mask.tolist() == [True, True, False]
    assert found["z1"].count == active_units(posterior_means(plain, x)["z1"]).sum()
    assert count_active_units(plain, x, threshold=2.0)["z1"].mask.tolist() == [True, False, False]
    directions = count_active_units(rotated, x, definition="pca")["z2"]
    assert directions.mask is None
    assert directions.activity.tolist() == sorted(directions.activity, reverse=True)
    assert directions.activity == pytest.approx(plain.slopes**2, abs=0.1)


def test_the_definition_of_burda_looks_at_500_rows():
    x = torch.cat([torch.zeros(500, 3), 10 * torch.randn(500, 3)])
    guide = ConstructedGuide()
    assert (count_active_units(guide, x, definition="burda")["z2"].activity == 0).all()
    assert count_active_units(guide, x)["z2"].count == 3
    few = count_active_units(guide, x[400:520], definition="burda")["z2"]
    assert few.activity[0] > 10  # fewer than 500 are all there are


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"definition": "PCA"}, "unknown definition 'PCA'; allowed: test, burda, pca"),
        ({"threshold": 0.0}, "threshold must be positive"),
        ({"num_samples": 1}, "num_samples must be a whole number of at least 2, got 1"),
    ],
)
def test_definitions_that_do_not_exist_are_refused(settings, message):
    with pytest.raises(pyro_vae.InputError, match=message):
        count_active_units(ConstructedGuide(), torch.randn(5, 3), **settings)


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


def test_posterior_means_of_a_scalar_latent():
    """One unit without an event axis, as many draws as data: E[z | x] = x, activity Var(x)."""

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0))

    x = torch.arange(8.0)
    means = pyro_vae.activity.posterior_means(guide, x, num_samples=8)["z"]
    assert torch.equal(means.mean[:, 0], x.double())
    assert means.activity.item() == pytest.approx(6.0)
