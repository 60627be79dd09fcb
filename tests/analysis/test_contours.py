"""Illusory contours: stimuli, and responses of planted units."""

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.measures import illusion
from analysis.measures.by_name import Named
from analysis.measures.illusion import ILLUSORY, ROTATED
from analysis.probes import stimuli
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.gabor import gabor_images
from tests.conftest import tiny_pair
from tests.stimuli import SIDE, gabor_table, patches, planted

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
