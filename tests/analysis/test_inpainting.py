"""Occluded patches: squares that are hidden, and how pairs fill them in."""

import dataclasses

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from sklearn.linear_model import LinearRegression

from analysis.measures import occlusion
from analysis.probes import inpainting, visible_weights
from pyro_vae.errors import InputError
from pyro_vae.programs.likelihoods import BernoulliPixels, FixedNoiseNormal
from tests.conftest import tiny_pair
from tests.linear_gaussian import LinearModel, optimal_guide, perturbed
from tests.statistics import assert_mean_close, z_score
from tests.stimuli import QUICK, patches, subject

HIDDEN = np.array([False, True, False, True])


# Occluded pixels


def test_the_square_lies_in_the_middle():
    mask = occlusion.centred_square((20, 20)).reshape(20, 20)
    assert mask.sum() == 36
    assert mask[7:13, 7:13].all()
    assert occlusion.centred_square((5, 9), 3).reshape(5, 9)[1:4, 3:6].all()


@pytest.mark.parametrize(("shape", "side"), [((20,), None), ((6, 6), 6), ((6, 6), 0), ((2, 2), 2)])
def test_squares_that_cannot_be_hidden_are_refused(shape, side):
    with pytest.raises(InputError, match=r"images|cannot be hidden"):
        occlusion.centred_square(shape, side)


def gaussian_rows(count=400, pixels=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, pixels)) @ rng.normal(size=(pixels, pixels)) + 3.0


def test_linear_filling_is_the_regression_of_hidden_on_visible_pixels():
    rows, hidden = gaussian_rows(), np.array([0, 1, 0, 0, 1, 0], dtype=bool)
    fitted = LinearRegression().fit(rows[:, ~hidden], rows[:, hidden])
    filled = occlusion.linear_fill(rows, rows[:9], hidden)
    np.testing.assert_allclose(filled, fitted.predict(rows[:9, ~hidden]), atol=1e-9)
    unread = rows[:9].copy()
    unread[:, hidden] = 1e6
    np.testing.assert_array_equal(occlusion.linear_fill(rows, unread, hidden), filled)


def test_low_rank_rows_give_hidden_pixels_away_but_not_through_noise():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(3, 10))
    train, test = (rng.normal(size=(count, 3)) @ mixing for count in (500, 50))
    hidden = np.arange(10) < 2
    exact = occlusion.linear_fill(train, test, hidden)
    np.testing.assert_allclose(exact, test[:, hidden], atol=1e-8)
    noise = 0.8
    seen = test + noise * rng.normal(size=test.shape)
    # The answer for the joint covariance of pixels and noisy pixels, by its textbook formula.
    spread = np.cov(train, rowvar=False)
    gain = spread[np.ix_(hidden, ~hidden)] @ np.linalg.inv(
        spread[np.ix_(~hidden, ~hidden)] + noise**2 * np.eye(8)
    )
    expected = train.mean(0)[hidden] + (seen - train.mean(0))[:, ~hidden] @ gain.T
    np.testing.assert_allclose(
        occlusion.linear_fill(train, seen, hidden, noise), expected, atol=1e-8
    )
    error = ((expected - test[:, hidden]) ** 2).mean()
    assert (
        (occlusion.linear_fill(train, seen, hidden) - test[:, hidden]) ** 2
    ).mean() > 1.05 * error


def test_the_error_of_a_mean_of_noisy_estimates_is_that_of_its_expectation():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(4_000, 3))
    estimates = truth + 0.5 + rng.normal(size=(2, *truth.shape))
    errors = occlusion.squared_error(estimates, truth)
    assert_mean_close(errors, 0.25)
    assert z_score(((estimates.mean(0) - truth) ** 2).mean(1), 0.25) > 8
    with pytest.raises(InputError, match="R >= 2"):
        occlusion.squared_error(estimates[:1], truth)


@pytest.mark.parametrize("mask", [np.ones(4, bool), np.zeros(4, bool), HIDDEN[:3], HIDDEN * 1])
def test_masks_that_do_not_fit_are_refused(mask):
    with pytest.raises(InputError, match="mask"):
        occlusion.check_mask(mask, 4)


# Pairs fill in


def conditional_mean(model, x):
    """E[x_hidden | x_visible] of the oracle, (N, H)."""
    evidence, hidden = model.evidence(), torch.as_tensor(HIDDEN)
    spread = evidence.covariance_matrix
    gain = spread[hidden][:, ~hidden] @ spread[~hidden][:, ~hidden].inverse()
    return (evidence.loc[hidden] + (x - evidence.loc)[:, ~hidden] @ gain.T).detach()


def occluded(model, num_data=3):
    x = model.sample_x(num_data)
    fed = x.clone()
    fed[:, torch.as_tensor(HIDDEN)] = 0.0
    return x, fed


def test_sweeps_under_the_true_posterior_settle_at_the_conditional_mean(float64):
    model = LinearModel()
    guide = optimal_guide(model)
    x, fed = occluded(model)
    path = inpainting.impute(model, guide, fed, HIDDEN, sweeps=40, chains=300)
    assert path.shape == (40, 300, 3, 2)
    expected = conditional_mean(model, x)
    assert_mean_close(path[25:].mean(0), expected)
    # The first sweep is not there yet, nor is what is read off the occluded row.
    assert z_score(path[0], expected) > 8
    read_off = inpainting.feed_forward(model, guide, fed, 400)[..., torch.as_tensor(HIDDEN)]
    assert z_score(read_off, expected) > 8


def test_sweeps_keep_visible_pixels_and_start_where_they_are_told(float64):
    model = LinearModel()
    guide = optimal_guide(model)
    x, fed = occluded(model)
    before = fed.clone()
    other = model.sample_x(3)
    other[:, torch.as_tensor(HIDDEN)] = 0.0
    one = inpainting.impute(model, guide, fed, HIDDEN, sweeps=30, chains=100)[20:].mean((0, 1))
    two = inpainting.impute(model, guide, other, HIDDEN, sweeps=30, chains=100)[20:].mean((0, 1))
    assert torch.equal(fed, before)
    assert (one - two).abs().max() > 0.05  # other visible pixels, other fillings
    far = fed.expand(100, -1, -1).clone()
    far[..., torch.as_tensor(HIDDEN)] = 50.0
    start = inpainting.impute(model, guide, far, HIDDEN, sweeps=30, chains=100)
    assert (start[0].mean(0) - one).abs().min() > 0.5
    assert_mean_close(start[20:].mean(0), conditional_mean(model, x))


def test_more_particles_bring_the_sweeps_of_a_wrong_guide_nearer(float64):
    model = LinearModel()
    guide = perturbed(optimal_guide(model), 0.1, 0.2)
    x, fed = occluded(model, 10)
    expected = conditional_mean(model, x)
    distance = {
        k: (
            inpainting.impute(model, guide, fed, HIDDEN, sweeps=24, chains=20, k=k)[12:].mean(
                (0, 1)
            )
            - expected
        )
        .square()
        .mean()
        for k in (1, 20)
    }
    assert distance[20] < 0.3 * distance[1]


def test_sweeps_that_run_away_are_reported(float64):
    model = LinearModel()
    guide = optimal_guide(model)
    with torch.no_grad():
        guide.W1 *= 1e30
    _, fed = occluded(model)
    with pytest.raises(InputError, match="diverge"):
        inpainting.impute(model, guide, fed + 1e-3, HIDDEN, sweeps=30, chains=2)
    held = inpainting.impute(model, guide, fed + 1e-3, HIDDEN, sweeps=5, chains=2, limit=3.0)
    assert held.abs().max() == 3.0


def test_when_to_stop_is_told_by_validation_patches():
    data, pair = patches(), tiny_pair(num_pixels=36)
    plain = inpainting.inpaint(subject(*pair, data), **QUICK)
    other = dataclasses.replace(data, test=10 * data.test)
    assert inpainting.inpaint(subject(*pair, other), **QUICK)["stop"] == plain["stop"]
    mask = torch.as_tensor(plain["hidden"])
    grey = torch.where(mask, data.train.mean(0), data.valid[:10])
    limit = float(data.train.abs().max())
    path = inpainting.impute(*pair, grey, plain["hidden"], sweeps=8, limit=limit, seed=1)
    for wanted in (2, 6):
        told = grey.clone()
        told[:, mask] = path[wanted - 1].mean(0)
        other = dataclasses.replace(data, valid=told)
        assert inpainting.inpaint(subject(*pair, other), **QUICK)["stop"] == wanted


def test_weights_of_visible_pixels_give_the_conditional_mean_whatever_was_filled_in(float64):
    model = LinearModel()
    with torch.no_grad():
        model.B[torch.as_tensor(HIDDEN)] *= 0.6  # so that the weights have a variance
    guide = optimal_guide(model)
    x, fed = occluded(model)
    expected = conditional_mean(model, x)
    fed[:, torch.as_tensor(HIDDEN)] = expected + 1.0
    mean, ess = visible_weights.weighted_fill(model, guide, fed, HIDDEN, 2_000, groups=20)
    assert mean.shape == (20, 3, 2)
    assert ((ess > 100) & (ess < 2_000)).all()
    assert_mean_close(mean, expected)
    # Weights that count all pixels leave the guide's own answer to what was filled in.
    everything = inpainting.feed_forward(model, guide, fed, 2_000)[..., torch.as_tensor(HIDDEN)]
    assert z_score(everything, expected) > 8


@pytest.mark.parametrize(
    "fn",
    [
        FixedNoiseNormal(torch.randn(5, 3, 4).double(), 0.4),
        BernoulliPixels(torch.randn(5, 3, 4).double()),
        dist.Normal(torch.randn(5, 3, 4).double(), 0.7).to_event(1),
    ],
    ids=lambda fn: type(fn).__name__,
)
def test_the_visible_likelihood_differs_between_particles_by_the_visible_pixels_alone(fn):
    x = torch.randint(0, 2, (3, 4)).double()
    visible = torch.tensor([True, False, True, True])
    found = visible_weights._visible_log_likelihood(fn, x, visible)
    # Hidden pixels set to what each particle expects of them cannot tell particles apart ...
    hidden_terms = {
        "FixedNoiseNormal": lambda: dist.Normal(fn.loc, 0.4).log_prob(x),
        "BernoulliPixels": lambda: dist.Bernoulli(logits=fn.logits).log_prob(x),
        "Independent": lambda: fn.base_dist.log_prob(x),
    }[type(fn).__name__]()[..., ~visible].sum(-1)
    # ... so the whole likelihood less theirs is the visible one, up to a constant.
    difference = found - (fn.log_prob(x) - hidden_terms)
    torch.testing.assert_close(difference, difference[:1].expand_as(difference))
    assert (found - fn.log_prob(x)).std(0).min() > 0.01


def test_pixels_that_depend_on_each_other_have_no_visible_likelihood():
    fn = dist.MultivariateNormal(torch.zeros(4), torch.eye(4))
    with pytest.raises(InputError, match="MultivariateNormal"):
        visible_weights._visible_log_likelihood(fn, torch.zeros(3, 4), torch.as_tensor(HIDDEN))


def test_a_run_is_asked_to_fill_in_test_patches():
    pair = tiny_pair(num_pixels=36)
    state = torch.get_rng_state()
    found = inpainting.inpaint(subject(*pair, patches(), k=3), **QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    assert found["hidden"].sum() == 4
    for name in (
        "grey",
        "linear",
        "linear_noise",
        "seen",
        "feedforward",
        "sweeps",
        "weighted",
        "sweeps_ew",
    ):
        assert found[f"error_{name}"].shape == (10,)
        assert np.isfinite(found[f"error_{name}"]).all(), name
    # 12 components and 32 visible pixels: linear algebra knows the rest; a noisy observer does not.
    assert found["error_linear"].max() < 1e-6 < found["error_linear_noise"].min()
    data = patches()
    rows, hidden = data.test[:10].numpy(), found["hidden"]
    grey = ((data.train.mean(0).numpy() - rows)[:, hidden] ** 2).mean(1)
    np.testing.assert_allclose(found["error_grey"], grey, rtol=1e-5)
    assert found["course"].shape == found["course_ew"].shape == (8,)
    assert 1 <= found["stop"] <= 8
    assert found["course"][found["stop"] - 1] == pytest.approx(found["error_sweeps"].mean())
    assert found["course_ew"][found["stop_ew"] - 1] == pytest.approx(
        found["error_sweeps_ew"].mean()
    )
    assert ((found["ess"] >= 1) & (found["ess"] <= 16)).all()
    np.testing.assert_array_equal(found["rows_true"], rows[:8])
    for name in ("grey", "linear", "linear_noise", "feedforward", "sweeps"):
        filled = found[f"rows_{name}"]
        np.testing.assert_array_equal(filled[:, ~hidden], rows[:8, ~hidden])
    error = ((found["rows_grey"] - rows[:8])[:, hidden] ** 2).mean(1)
    np.testing.assert_allclose(error, grey[:8], rtol=1e-5)
    again = inpainting.inpaint(subject(*pair, patches(), k=3), **QUICK)
    np.testing.assert_array_equal(found["error_sweeps_ew"], again["error_sweeps_ew"])


def test_unweighted_runs_have_no_q_ew_and_coefficients_cannot_be_hidden():
    pair = tiny_pair(num_pixels=36)
    assert "error_sweeps_ew" not in inpainting.inpaint(subject(*pair, patches()), **QUICK)
    with pytest.raises(InputError, match="occluded"):
        inpainting.inpaint(subject(*tiny_pair(num_pixels=12), patches(kind="pca")))
