"""Posterior moments of q and q_EW against closed forms, the exact posterior and resampled draws.

Data are many copies of few rows, so that the rows of a result are independent estimates of one
number: their mean and standard error are compared with the truth.
"""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae.errors import InputError
from pyro_vae.evaluation.posterior_moments import posterior_moments
from pyro_vae.weights.resampling import sir
from tests.conftest import tiny_pair
from tests.linear_gaussian import SIZES, LinearModel, optimal_guide, perturbed
from tests.statistics import assert_mean_close, double_precision, z_score

A = torch.tensor([[1.0, 0.5], [0.0, -2.0], [0.0, 0.0]], dtype=torch.float64)
B = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)  # scales of z1 | z2
S = torch.tensor([0.7, 1.2], dtype=torch.float64)  # scales of z2


def two_level_guide(x):
    """q(z2 | x) = Normal(x, S), q(z1 | x, z2) = Laplace(A z2 + sum x, B); x (N, 2)."""
    with pyro.plate("data", len(x), dim=-1):
        z2 = pyro.sample("z2", dist.Normal(x, S).to_event(1))
        loc = z2 @ A.T + x.sum(-1, keepdim=True)
        pyro.sample("z1", dist.Laplace(loc, B).to_event(1))


def copies(row, number):
    return torch.tensor([row], dtype=torch.float64).expand(number, -1)


@pytest.fixture(scope="module")
def planted():
    """Moments at 4000 copies of one row, 4 draws each."""
    with double_precision():
        return posterior_moments(None, two_level_guide, copies([0.5, -1.0], 4000), num_samples=4)


X = torch.tensor([0.5, -1.0], dtype=torch.float64)
VARIANCE = (A.square() @ S.square()) + 2 * B.square()  # of z1


def test_moments_of_the_guide_are_the_closed_forms(planted):
    mean = A @ X + X.sum()
    assert_mean_close(planted["z1_mean"], mean)
    assert_mean_close(planted["z1_sd"] ** 2, VARIANCE)
    # The Gaussian formula for the Laplace scale, and the conditional variance alone, are wrong.
    assert z_score(planted["z1_sd"] ** 2, VARIANCE - B.square()) > 8
    assert z_score(planted["z1_sd"][:, :2] ** 2, 2 * B[:2].square()) > 8


def test_a_level_without_latent_parents_is_exact(planted):
    np.testing.assert_allclose(planted["z2_mean"], X.expand(4000, 2), rtol=1e-12)
    np.testing.assert_allclose(planted["z2_sd"], S.expand(4000, 2), rtol=1e-12)
    np.testing.assert_allclose(planted["z2_noise"], 0, atol=1e-24)
    # So is a unit whose parents do not reach it.
    np.testing.assert_allclose(planted["z1_sd"][:, 2], np.sqrt(2) * 2.0, rtol=1e-12)


def test_noise_is_the_variance_of_the_means(planted):
    centred = planted["z1_mean"] - planted["z1_mean"].mean(0)
    truth = A.square() @ S.square() / 4
    np.testing.assert_allclose(planted["z1_noise"], truth, rtol=0.1, atol=1e-12)
    assert_mean_close(centred[:, :2] ** 2, planted["z1_noise"][:2])
    assert z_score(centred[:, :2] ** 2, 4 * planted["z1_noise"][:2]) > 8


def test_scale_is_the_parameter_of_the_family(planted):
    np.testing.assert_allclose(planted["z1_scale"], B.expand(4000, 3), rtol=1e-12)
    np.testing.assert_allclose(planted["z2_scale"], S.expand(4000, 2), rtol=1e-12)


def test_draws_are_joint_draws(planted):
    z1, z2 = planted["z1_draw"], planted["z2_draw"]
    assert_mean_close(z1, A @ X + X.sum())
    assert_mean_close((z1 - z1.mean(0)) ** 2, VARIANCE)
    products = (z1[:, 0] - z1[:, 0].mean()) * (z2[:, 0] - z2[:, 0].mean())
    assert_mean_close(products, A[0, 0] * S[0] ** 2)
    assert z_score(products, 0.0) > 8


def oracle(number, size):
    """Model, its posterior as a guide, a perturbed guide, and ``number`` copies of one datum."""
    model = LinearModel()
    best = optimal_guide(model)
    return model, best, perturbed(best, size, widen=0.3), model.sample_x(1).expand(number, -1)


def joint(moments, name):
    """z1 and z2 side by side, as in the oracle's posterior."""
    return np.concatenate([moments[f"z1_{name}"], moments[f"z2_{name}"]], 1)


def exact(distribution):
    """Means and variances of a joint Gaussian at the first row."""
    return distribution.mean[0].detach(), distribution.variance[0].detach()


@pytest.mark.parametrize("k", [1, 2, 7])
def test_the_exact_guide_gives_the_posterior_for_any_k(k):
    with double_precision(), torch.no_grad():
        model, best, _, x = oracle(2000, 0.3)
        found = posterior_moments(model, best, x, k=k, num_samples=3)
        mean, variance = exact(model.posterior(x))
    assert_mean_close(joint(found, "mean"), mean)
    assert_mean_close(joint(found, "sd") ** 2, variance)
    if k > 1:
        # What one draw of k would vary by, without the variance between groups.
        assert z_score(joint(found, "sd") ** 2, variance * (1 - 1 / k)) > 5


def test_one_particle_is_the_guide():
    with double_precision(), torch.no_grad():
        model, _, guide, x = oracle(2000, 0.3)
        found = posterior_moments(model, guide, x, k=1, num_samples=3)
        mean, variance = exact(guide.joint(x))
        posterior, _ = exact(model.posterior(x))
    # Exact but for z1's means, which come through draws of z2.
    assert_mean_close(joint(found, "mean"), mean)
    assert_mean_close(joint(found, "sd") ** 2, variance)
    assert z_score(joint(found, "mean"), posterior) > 8


def test_many_particles_reach_the_posterior():
    with double_precision(seed=1), torch.no_grad():
        model, _, guide, x = oracle(400, 0.15)
        mean, variance = exact(model.posterior(x))
        misses = []
        for k in (1, 10, 200):
            found = posterior_moments(model, guide, x[: 4000 // max(k, 10)], k=k, num_samples=8)
            misses.append(np.abs(joint(found, "mean").mean(0) - mean.numpy()).max())
    assert misses[0] > 2 * misses[1] > 4 * misses[2]
    assert_mean_close(joint(found, "sd") ** 2, variance, n_se=6)


@pytest.fixture(scope="module")
def resampled():
    """q_EW with k = 3 of a poor guide, and draws of sir, and the guide's own moments."""
    with double_precision(seed=2), torch.no_grad():
        model, _, guide, x = oracle(5000, 0.3)
        found = posterior_moments(model, guide, x, k=3, num_samples=4)
        drawn = sir(model, guide, x, 3).latents
        drawn = torch.cat([drawn["z1"][0], drawn["z2"][0]], 1).numpy()
        return found, drawn, exact(guide.joint(x))


@pytest.mark.parametrize("source", ["sir", "draw"])
def test_resampled_draws_have_these_moments(resampled, source):
    found, drawn, (of_guide, variance_of_guide) = resampled
    drawn = drawn if source == "sir" else joint(found, "draw")
    mean, variance = joint(found, "mean").mean(0), (joint(found, "sd") ** 2).mean(0)
    assert_mean_close(drawn, mean)
    assert_mean_close((drawn - mean) ** 2, variance)
    assert z_score(drawn, of_guide) > 8
    assert z_score((drawn - mean) ** 2, variance_of_guide) > 5


def test_draws_of_two_levels_come_from_one_particle(resampled):
    found, drawn, _ = resampled
    d1 = SIZES[1]

    def products(values):
        centred = values - values.mean(0)
        return centred[:, :d1, None] * centred[:, None, d1:]

    ours, theirs = (
        products(values).reshape(len(drawn), -1) for values in (joint(found, "draw"), drawn)
    )
    # Two samples of one law, each with an error.
    errors = np.sqrt((ours.var(0) + theirs.var(0)) / len(drawn))
    assert np.abs((ours.mean(0) - theirs.mean(0)) / errors).max() < 5
    assert np.abs(ours.mean(0) / (ours.std(0) / np.sqrt(len(drawn)))).max() > 8


def test_noise_of_weighted_means_is_their_variance(resampled):
    found, _, _ = resampled
    centred = joint(found, "mean") - joint(found, "mean").mean(0)
    noise = np.concatenate([found["z1_noise"], found["z2_noise"]])
    assert_mean_close(centred**2, noise)
    assert z_score(centred**2, noise * 4 / 3) > 5


@pytest.mark.parametrize("k", [1, 4])
def test_small_chunks_draw_in_several_passes(k):
    model, guide = tiny_pair()
    x = torch.randn(7, 6)
    whole = posterior_moments(model, guide, x, k=k, num_samples=40)
    parts = posterior_moments(model, guide, x, k=k, num_samples=40, chunk_size=80)
    for level in ("z1", "z2"):
        error = np.sqrt(2 * whole[f"{level}_noise"]) + 1e-6
        distance = np.abs(whole[f"{level}_mean"] - parts[f"{level}_mean"])
        assert (distance < 6 * error).all()
        np.testing.assert_allclose(whole[f"{level}_sd"], parts[f"{level}_sd"], rtol=0.6)


@pytest.mark.parametrize("guide", ["topdown", "bottomup", "meanfield"])
@pytest.mark.parametrize("k", [1, 3])
def test_every_guide_has_every_column(guide, k):
    model, guide = tiny_pair(guide, levels=3)
    found = posterior_moments(model, guide, torch.randn(5, 6), k=k, num_samples=2)
    names = ["mean", "sd", "draw", "noise"] + ["scale"] * (k == 1)
    sizes = {"z1": 4, "z2": 3, "z3": 2}
    assert sorted(found) == sorted(f"{level}_{name}" for level in sizes for name in names)
    for level, units in sizes.items():
        assert found[f"{level}_noise"].shape == (units,)
        assert {found[f"{level}_{n}"].shape for n in names if n != "noise"} == {(5, units)}


def test_the_seed_decides_and_the_global_generator_stays():
    model, guide = tiny_pair()
    x = torch.randn(3, 6)
    before = torch.get_rng_state()
    first, again, other = (posterior_moments(model, guide, x, k=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first["z1_mean"], again["z1_mean"])
    assert (first["z1_mean"] != other["z1_mean"]).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_samples": 1}, "num_samples must be a whole number of at least 2, got 1"),
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"x": torch.zeros(6)}, r"x has shape \(6,\)"),
        ({"x": torch.zeros(0, 6)}, r"x holds no data: its shape is \(0, 6\)"),
        ({"x": torch.full((2, 6), torch.nan)}, "not finite"),
    ],
)
def test_bad_input_is_refused(change, words):
    model, guide = tiny_pair()
    with pytest.raises(InputError, match=words):
        posterior_moments(**({"model": model, "guide": guide, "x": torch.zeros(2, 6)} | change))


def test_a_family_without_moments_is_refused():
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z1", dist.Cauchy(x, 1.0).to_event(1))

    with pytest.raises(InputError, match="z1_mean has values that are not finite"):
        posterior_moments(None, guide, torch.zeros(2, 3))
