"""Inpainting and illusory contours: planted answers come back, and what is not there does not."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LinearRegression

from analysis.measures import illusion, occlusion
from analysis.measures.by_name import Named
from analysis.measures.illusion import ILLUSORY, ONE, OTHER, ROTATED
from analysis.pictures import stimuli as pictures
from analysis.probes import inpainting, stimuli, visible_weights
from analysis.reporting.sections import stimuli as section
from pyro_vae.datasets import Dataset
from pyro_vae.datasets.whitening import fit_whitening
from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.gabor import gabor_images
from pyro_vae.programs.likelihoods import BernoulliPixels, FixedNoiseNormal
from tests.conftest import tiny_pair
from tests.linear_gaussian import LinearModel, optimal_guide, perturbed
from tests.statistics import assert_mean_close, double_precision, z_score

HIDDEN = np.array([False, True, False, True])
SIDE = 20
GABOR = {
    "x": 9.5,
    "y": 9.5,
    "size": 2.0,
    "length": 2.5,
    "orientation": 0.0,
    "wavelength": 6.0,
    "phase": 0.0,
    "amplitude": 1.0,
    "r2": 0.9,
}


@pytest.fixture
def float64():
    with double_precision():
        yield


@pytest.fixture
def ax():
    return Figure().subplots()


def gabor_table(*changes):
    return pd.DataFrame([{"unit": unit} | GABOR | change for unit, change in enumerate(changes)])


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


def patches(count=120, side=6, kind="zca", components=12, seed=0):
    """A data set of smooth random patches, whitened with a cut."""
    rng = np.random.default_rng(seed)
    cut = rng.normal(size=(count, side * side)) @ rng.normal(size=(side * side, side * side))
    whitening = fit_whitening(cut, kind, components, (side, side))
    rows = whitening.transform(torch.as_tensor(cut)).float()
    third = count // 3
    return Dataset(
        "patches",
        rows[:third],
        rows[third : 2 * third],
        rows[2 * third :],
        image_shape=whitening.row_shape,
        pixels="standardised",
        whitening=whitening,
    )


def subject(model, guide, data, k=1, seed=0, label="k = 1", **measured):
    measured = {name: lambda values=values: values for name, values in measured.items()}
    found = SimpleNamespace(
        run=SimpleNamespace(model=model, guide=guide),
        natural=data,
        k=k,
        proposals=k,
        weighted=k > 1,
        seed=seed,
        label=label,
        name=f"{label}, seed {seed}",
        settings=SimpleNamespace(seed=0, stimuli=10, weighted_groups=2),
    )
    measured.setdefault("inpainting", lambda: inpainting.inpaint(found, **QUICK))
    measured.setdefault("contours", lambda: stimuli.contours(found))
    found.measured = lambda name: Named(measured[name]())
    return found


QUICK = {"sweeps": 8, "num_samples": 8, "num_particles": 16}


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


# Contours: stimuli


def test_stimuli_are_what_their_names_say():
    angles = np.linspace(0, np.pi, 7, endpoint=False)
    fits = gabor_table(*({"orientation": angle, "phase": 0.7} for angle in angles))
    images = illusion.render(fits, (SIDE, SIDE))
    full, illusory, rotated, one, other = np.moveaxis(images, 1, 0)
    fields = gabor_images(fits, (SIDE, SIDE))
    for unit in range(len(fits)):
        matched = (full * fields[unit]).sum((1, 2))
        assert matched.argmax() == unit  # the grating that the unit's own field likes best
    np.testing.assert_allclose(one + other, illusory)
    assert (one * other == 0).all()
    middle = np.abs(illusory) == 0
    rows, columns = np.indices((SIDE, SIDE)) - 9.5
    for unit, angle in enumerate(angles):
        along = rows * np.cos(angle) - columns * np.sin(angle)
        inside = np.abs(along) < 2
        assert middle[unit][inside].all()
        assert (rotated[unit][inside] == 0).all()
        outside = np.abs(along) > 4
        np.testing.assert_allclose(illusory[unit][outside], full[unit][outside])
        assert (illusory[unit][outside] != 0).any()


def test_the_rotated_control_has_the_carrier_of_the_other_axis():

    images = illusion.render(gabor_table({"x": 20, "y": 20, "wavelength": 4.0}), (41, 41))[0]
    peaks = {}
    for name, image in zip(illusion.CONDITIONS, images, strict=True):
        power = np.abs(np.fft.rfft2(image)) ** 2
        rows, columns = np.unravel_index(power.argmax(), power.shape)
        peaks[name] = min(rows, 41 - rows) / 41, columns / 41
    # (cycles per pixel down, across): vertical bars vary across, the control's down.
    assert abs(peaks["illusory"][1] - 0.25) < 0.05 > peaks["illusory"][0]
    assert abs(peaks["rotated"][0] - 0.25) < 0.05 > peaks["rotated"][1]


def test_units_are_testable_where_both_inducers_fit():
    fits = gabor_table(
        {},  # 9.5 pixels of room for 3 + 2.5
        {"length": 50.0},  # the gap does not depend on the field
        {"y": 5.0},  # vertical bars too near the upper edge
        {"x": 5.0},  # near the left edge, but the bars run along it
        {"y": 14.5},
        {"x": 5.0, "orientation": np.pi / 2},  # horizontal bars too near the left edge
        {"x": 4.5, "y": 15.0, "orientation": np.pi / 4},  # bars run up to the right, room 4.0 * 1.4
        {"x": 4.5, "y": 5.0, "orientation": np.pi / 4},  # both corners are 6.4 away or more
        {"x": 3.5, "y": 5.0, "orientation": np.pi / 4},  # only 4.9 to the left edge
        {"r2": 0.3},
        {"size": 5.1},  # wider than a quarter of the patch
        {"wavelength": 21.0},
        {"x": -1.0},
        {"r2": np.nan, "x": np.nan},
    )
    assert list(illusion.units_with_room(fits, (SIDE, SIDE))) == [0, 1, 3, 6, 7]


@pytest.mark.parametrize("kind", ["zca", "radial"])
def test_stimuli_lie_in_the_span_of_the_rows(kind):
    data = patches(kind=kind)
    images = np.random.default_rng(0).normal(size=(2, 3, 6, 6))
    rows = stimuli.stimulus_rows(images, data)
    assert rows.shape == (2, 3, 36)
    flat = rows.reshape(6, 36)
    there_and_back = data.whitening.transform(data.whitening.inverse(flat))
    torch.testing.assert_close(there_and_back, flat, atol=1e-5, rtol=0)
    raw = torch.as_tensor(images.reshape(6, 36)).float()
    assert (data.whitening.transform(data.whitening.inverse(raw)) - raw).abs().max() > 0.1
    torch.testing.assert_close(
        data.whitening.transform(data.whitening.inverse(raw)), flat, atol=1e-5, rtol=0
    )
    coefficients = stimuli.stimulus_rows(images, patches(kind="pca"))
    assert coefficients.shape == (2, 3, 12)
    plain = Dataset("x", *[torch.zeros(3, 36)] * 3, image_shape=(6, 6), pixels="standardised")
    torch.testing.assert_close(stimuli.stimulus_rows(images, plain).reshape(6, 36), raw)
    with pytest.raises(InputError, match="binary"):
        stimuli.stimulus_rows(images, Dataset("d", *[raw] * 3, (6, 6), "binary"))


# Contours: responses


class Planted:
    """q(z2 | x) = N(T x, s), q(z1 | x, z2) = N(W x + c z2, 1): contours act through z2."""

    def __init__(self, fields, templates, feedback):
        self.W, self.T, self.c = fields, templates, feedback

    def __call__(self, x):
        with pyro.plate("data", len(x), dim=-1):
            self.sample(x)

    def sample(self, x):
        z2 = pyro.sample("z2", dist.Normal(x @ self.T.T, 0.3).to_event(1))
        pyro.sample("z1", dist.Normal(x @ self.W.T + self.c * z2, 1.0).to_event(1))

    def model(self, x):
        """Its latents are the guide's, so that every weight is the same."""
        with pyro.plate("data", len(x), dim=-1):
            self.sample(x)
            pyro.sample("x", dist.Normal(torch.zeros_like(x), 1.0).to_event(1), obs=x)


def planted(feedback=0.5, k=1, count=7):
    """A subject whose z2 reads the inducers of each unit; the last two units have no room."""
    fits = gabor_table(
        *({"orientation": angle, "phase": angle / 2} for angle in np.linspace(0, 3, count)),
        {"r2": 0.1},
        {"x": 2.0, "orientation": 1.5},
    )
    fields = torch.as_tensor(gabor_images(fits, (SIDE, SIDE)).reshape(-1, SIDE**2)).float()
    inducers = torch.as_tensor(illusion.render(fits, (SIDE, SIDE))[:, ILLUSORY]).flatten(1).float()
    guide = Planted(fields, inducers, feedback)
    rows = torch.randn(20, SIDE**2)
    data = Dataset("rows", rows, rows, rows, image_shape=(SIDE, SIDE), pixels="standardised")
    columns = {name: fits[name].to_numpy() for name in fits}
    filters = {"receptive": fields.numpy(), "projective": fields.numpy()}
    activity = {"z1_active": np.ones(len(fits), bool)}
    return subject(
        guide.model, guide, data, k=k, gabor=columns, filters=filters, activity=activity
    ), guide


def test_feedback_is_what_the_source_sends():
    _, guide = planted(feedback=2.0)
    x, source = torch.randn(2, 5, SIDE**2)
    own = stimuli.response(guide, x, num_samples=2_000)
    fed = stimuli.response(guide, x, source, num_samples=2_000)
    error = 2.0 * 0.3 / 2_000**0.5
    np.testing.assert_allclose(own, x @ guide.W.T + 2 * x @ guide.T.T, atol=5 * error)
    np.testing.assert_allclose(fed, x @ guide.W.T + 2 * source @ guide.T.T, atol=5 * error)
    assert np.abs(own - fed).max() > 100 * error
    # Common noise: what two calls differ in is the stimulus alone.
    exact = x @ guide.W.T + 2 * x @ guide.T.T
    twice = stimuli.response(guide, 2 * x, num_samples=4)
    once = stimuli.response(guide, x, num_samples=4)
    np.testing.assert_allclose(twice - once, exact, atol=1e-3)


@pytest.mark.parametrize("kind", ["meanfield", "bottomup"])
def test_guides_without_feedback_do_not_hear_the_source(kind):
    _, guide = tiny_pair(kind)
    x, source = torch.randn(2, 5, 6)
    np.testing.assert_array_equal(stimuli.response(guide, x), stimuli.response(guide, x, source))
    _, topdown = tiny_pair("topdown")
    assert np.abs(stimuli.response(topdown, x) - stimuli.response(topdown, x, source)).max() > 1e-4


def test_responses_want_a_level_and_rows_of_one_shape():
    _, guide = tiny_pair()
    with pytest.raises(InputError, match="no level 'z5'"):
        stimuli.response(guide, torch.randn(2, 6), level="z5")
    with pytest.raises(InputError, match="source"):
        stimuli.response(guide, torch.randn(2, 6), torch.randn(3, 6))
    with pytest.raises(InputError, match="cannot read these stimuli"):
        stimuli.response(guide, torch.full((2, 6), float("nan")))


def test_a_planted_illusory_contour_is_found_and_is_all_top_down():
    run, guide = planted(feedback=0.5)
    found = stimuli.contours(run)
    assert list(found["unit"]) == list(range(7))
    images = illusion.render(pd.DataFrame(run.measured("gabor")).iloc[:7], (SIDE, SIDE))
    rows = torch.as_tensor(images).float().flatten(2)
    factor = run.natural.test.norm(dim=1).median() / rows[:, :1].norm(dim=-1, keepdim=True)
    rows = rows * factor
    torch.testing.assert_close(torch.as_tensor(found["examples"]), rows[:6])
    seen = torch.einsum("ncd,nd->nc", rows, guide.W[:7]).numpy()
    sent = 0.5 * torch.einsum("ncd,nd->nc", rows, guide.T[:7]).numpy()
    np.testing.assert_allclose(found["response"], seen + sent, atol=1e-3)
    np.testing.assert_allclose(found["response_blank"], seen, atol=1e-3)
    np.testing.assert_allclose(found["response_rotated"], seen + sent[:, [ROTATED]], atol=1e-3)
    np.testing.assert_allclose(found["linear"], seen, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["leak"], 0.0)
    table = illusion.contrasts(found).set_index("contrast")
    full = (seen + sent)[:, 0].mean()
    np.testing.assert_allclose(
        table.loc["top-down, blank", "share"], sent[:, ILLUSORY].mean() / full, atol=1e-4
    )
    assert table.loc["top-down, blank", "p"] < 1e-4
    assert table.loc["illusory - rotated", "p"] < 1e-3
    # The guide is linear in the stimulus, feedback and all.
    assert abs(table.loc["illusory - both ends", "share"]) < 1e-4


def test_without_feedback_nothing_is_top_down_and_nothing_beyond_linear():
    found = stimuli.contours(planted(feedback=0.0)[0])
    table = illusion.contrasts(found).set_index("contrast")
    for name in ("top-down, blank", "top-down, rotated"):
        assert table.loc[name, "share"] == 0
        assert np.isnan(table.loc[name, "p"])
    assert abs(table.loc["illusory - linear", "share"]) < 1e-5
    shares = illusion.contour_shares(found["response"]).set_index("condition")["share"]
    linear = illusion.contour_shares(found["linear"]).set_index("condition")["share"]
    np.testing.assert_allclose(shares, linear, atol=1e-5)
    assert shares["full"] == 1


def test_with_equal_weights_q_ew_answers_as_the_guide_does():
    run, _ = planted(k=4)
    found = stimuli.contours(run)
    error = np.sqrt(found["response_ew_noise"].max())
    assert 0 < error < 1
    assert np.abs(found["response_ew"] - found["response"]).max() < 5 * error
    assert np.abs(found["response_ew"] - found["response_blank"]).max() > 8 * error
    assert "response_ew" not in stimuli.contours(planted()[0])


def test_shares_and_contrasts_of_constructed_responses():
    rng = np.random.default_rng(0)
    full = rng.uniform(1, 3, size=400)
    means = np.array([1.0, 0.4, 0.1, 0.1, 0.1])
    response = full[:, None] * means + 0.3 * rng.normal(size=(400, 5)) * (np.arange(5) > 0)
    table = illusion.contour_shares(response).set_index("condition")
    distance = (table["share"] - means) / table["standard_error"].clip(lower=1e-12)
    assert distance.abs().max() < 4
    # A delta-method error of 0.3 / sqrt(400) / mean(full), to a tenth.
    np.testing.assert_allclose(table["standard_error"].iloc[1:], 0.015 / full.mean(), rtol=0.1)
    found = {
        "response": response,
        "linear": 7 * full[:, None] * means,
        "response_blank": response - 0.2 * (np.arange(5) == ILLUSORY) * full[:, None],
        "response_rotated": response + rng.normal(size=response.shape),
    }
    table = illusion.contrasts(found).set_index("contrast")
    for name, expected in {
        "illusory - rotated": 0.3,
        "illusory - both ends": 0.2,
        "illusory - linear": 0.0,
        "top-down, blank": 0.2,
        "top-down, rotated": 0.0,
    }.items():
        row = table.loc[name]
        assert abs(row["share"] - expected) < 4 * row["standard_error"] + 1e-9, name
        assert (row["p"] < 1e-6) == (expected > 0), name
    np.testing.assert_allclose(
        illusion.contour_shares(response / 2, response)["share"],
        illusion.contour_shares(response)["share"] / 2,
    )


def test_responses_that_cannot_be_divided_by_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="4 units"):
        illusion.contour_shares(np.ones((4, 5)))
    with pytest.raises(InputError, match="do not answer"):
        illusion.contour_shares(rng.normal(size=(50, 5)))
    with pytest.raises(InputError, match="finite"):
        illusion.contour_shares(np.full((9, 5), np.nan))
    with pytest.raises(InputError, match="shape"):
        illusion.contour_shares(np.ones((9, 3)))
    noisy = {
        name: 1 + 0.1 * rng.random((9, 5))
        for name in ("response", "response_blank", "response_rotated")
    }
    table = illusion.contrasts(noisy | {"linear": rng.normal(size=(9, 5))}).set_index("contrast")
    assert np.isnan(table.loc["illusory - linear", "share"])
    assert np.isfinite(table.loc["illusory - rotated", "share"])


def test_inactive_units_are_left_out_and_a_run_without_localised_ones_says_so():
    run, _ = planted()
    known = {name: run.measured(name) for name in ("gabor", "filters", "activity")}
    active = np.arange(9) != 3
    run.measured = (known | {"activity": Named(z1_active=active)}).__getitem__
    assert list(stimuli.contours(run)["unit"]) == [0, 1, 2, 4, 5, 6]
    run.measured = (known | {"gabor": known["gabor"] | {"r2": np.zeros(9)}}).__getitem__
    with pytest.raises(InputError, match="none of 9 active units of 9"):
        stimuli.contours(run)


# The section


def study(*subjects):
    labels = list(dict.fromkeys(run.label for run in subjects))
    return SimpleNamespace(
        subjects=subjects,
        labels=labels,
        settings=SimpleNamespace(seed=0),
        examples=lambda: [next(s for s in subjects if s.label == label) for label in labels],
    )


def built(the_study):
    return {entry.name: entry.build for entry in section.entries(the_study)}


def test_every_entry_is_built_and_a_run_that_fails_is_left_out():
    good = planted()[0]
    pair = tiny_pair(num_pixels=36)
    weighted = subject(*pair, patches(), k=3, label="k = 3", contours=good.measured("contours"))
    good.measured = {
        "inpainting": inpainting.inpaint(subject(*pair, patches()), **QUICK),
        "contours": good.measured("contours"),
    }.__getitem__
    good.natural = patches()
    good.run.model, good.run.guide = pair
    weighted.natural = good.natural

    def refuse(name):
        raise InputError("a dead model")

    dead = SimpleNamespace(label="dead", seed=0, name="dead, seed 0", measured=refuse)
    entries = built(study(good, weighted, dead))
    for name in (
        "inpainting-errors",
        "inpainting-course",
        "inpainting-differences",
        "contour-responses",
        "contour-contrasts",
    ):
        item = entries[name]()
        assert item.sentence.endswith(".")
        assert list(item.table.columns[:2]) == ["model", "seed"]
        assert set(item.table["model"]) == {"k = 1", "k = 3"}
    assert entries["inpainting-examples"]().figure is not None
    with pytest.raises(InputError, match="a dead model"):
        built(study(dead))["contour-responses"]()
    for name in entries:
        with pytest.raises(InputError, match="a dead model"):
            built(study(dead))[name]()


def test_contour_stimuli_are_shown():
    item = built(study(planted()[0]))["contour-stimuli"]()
    (ax,) = item.figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == list(illusion.CONDITIONS)
    assert "unit 0" in [label.get_text() for label in ax.get_yticklabels()]


def test_error_tables_hold_means_errors_and_paired_differences():
    rng = np.random.default_rng(0)
    base = rng.normal(5, 2, size=300)
    found = {
        "error_grey": base,
        "error_sweeps": base - 1 + 0.1 * rng.normal(size=300),
        "error_linear_noise": rng.permutation(base) - 1,
        "error_sweeps_ew": base[:40] - 1.5 + 0.1 * rng.normal(size=40),
    }
    table = section.error_table(found).set_index("method")
    assert list(table.index) == ["grey", "sweeps", "sweeps_ew", "linear_noise"]
    np.testing.assert_allclose(table.loc["grey", "error"], base.mean())
    np.testing.assert_allclose(table.loc["grey", "standard_error"], base.std(ddof=1) / 300**0.5)
    paired = section.difference_table(found).set_index("against")
    assert abs(paired.loc["grey", "difference"] + 1) < 5 * paired.loc["grey", "standard_error"]
    assert paired.loc["grey", "standard_error"] < 0.01 < table.loc["grey", "standard_error"]
    assert paired.loc["grey", "p"] < 1e-9 < 0.001 < paired.loc["linear_noise", "p"]
    assert paired.loc["sweeps", "patches"] == 40
    assert abs(paired.loc["sweeps", "difference"] + 0.5) < 0.1


def test_pictures_name_methods_and_models(ax):
    table = pd.DataFrame(
        {
            "model": ["a", "a", "b", "b"],
            "seed": 0,
            "method": ["grey", "sweeps"] * 2,
            "error": [1.0, 0.5, 1.0, 0.4],
            "standard_error": 0.1,
        }
    )
    assert pictures.plot_errors(ax, table, section.METHODS) is ax
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        section.METHODS["grey"],
        section.METHODS["sweeps"],
    ]
    assert ax.get_legend_handles_labels()[1] == ["a", "b"]
    drawn = [bars[0].get_xdata() for bars in ax.containers]
    np.testing.assert_array_equal(drawn, [[1.0, 0.5], [1.0, 0.4]])


def test_courses_and_shares_are_drawn_as_given():
    one, two = Figure().subplots(1, 2)
    course = np.linspace(1, 0.5, 5)
    pictures.plot_course(one, {"a": [course, course + 1], "b": [course]}, 1.2, 0.3)
    np.testing.assert_array_equal(one.lines[1].get_ydata(), course + 1)
    assert [line.get_ydata()[0] for line in one.lines[-2:]] == [1.2, 0.3]
    table = illusion.contour_shares(1 + np.random.default_rng(0).random((9, 5)))
    table.insert(0, "model", "a")
    pictures.plot_shares(two, table, "condition")
    np.testing.assert_allclose(two.containers[0][0].get_xdata(), table["share"])
    assert [text.get_text() for text in two.get_yticklabels()] == list(illusion.CONDITIONS)
    assert [ONE, OTHER] == [3, 4]
