"""Truth 13: active units of constructed guides."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae
from pyro_vae.evaluation.activity import (
    active_units,
    count_active_units,
    pca_active_units,
    posterior_means,
)
from tests.statistics import assert_mean_close, z_score

pytestmark = pytest.mark.usefixtures("float64")


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


def test_posterior_means_of_a_scalar_latent():
    """One unit without an event axis, as many draws as data: E[z | x] = x, activity Var(x)."""

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0))

    x = torch.arange(8.0)
    means = pyro_vae.activity.posterior_means(guide, x, num_samples=8)["z"]
    assert torch.equal(means.mean[:, 0], x.double())
    assert means.activity.item() == pytest.approx(6.0)
