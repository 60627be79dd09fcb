"""Filters of a decoder: planted Gabor functions are counted, noise beside them is not."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity_gap import above_clear_gap, activity_gap
from pyro_vae.evaluation.filters import gabor
from pyro_vae.evaluation.filters.decoder_filters import (
    decoder_filters,
    linear_columns,
    noise_filters,
)
from pyro_vae.runs.summary import FilterCounts, Start
from tests.analysis.test_gabor import SMALL, planted
from tests.conftest import tiny_pair

ACTIVITY = np.array([0.5, 0.6, 1e-5, 0.7])


def toy_data(shape=SMALL, rows=5):
    x = torch.zeros(rows, int(np.prod(shape)))
    return pyro_vae.Dataset("toy", x, x, x, image_shape=shape, pixels="standardised")


@pytest.fixture
def model():
    """Four units of z1: three Gabor functions, the last two thirds as strong, and noise."""
    truth = planted(3).assign(x=[5.0, 6.0, 7.0], y=6.0, size=1.2, length=1.6, wavelength=4.0)
    images = gabor.gabor_images(truth, SMALL)
    noise = np.random.default_rng(0).normal(size=(1, *SMALL))
    model, _ = tiny_pair(levels=2, num_pixels=144)
    columns = np.concatenate([images, noise]).reshape(4, 144)
    with torch.no_grad():
        (layer,) = model.likelihood.loc.parts
        layer.weight.copy_(torch.as_tensor(columns.T))
        layer.bias.fill_(3.0)
    return model


def test_planted_filters_are_counted(model):
    found = decoder_filters(model, toy_data(), ACTIVITY, num_noise=10)
    assert found.counts() == FilterCounts(
        units=4,
        localised=3,
        non_localised=0,
        unresolved=1,
        above_gap=3,
        localised_above_gap=2,  # the third Gabor function is of a unit without activity
        noise=10,
        noise_localised=0,
    )
    assert (found.counts().shown, found.counts().localised_shown) == (3, 2)
    unclear = decoder_filters(model, toy_data(), np.full(4, 0.5), num_noise=0)
    assert unclear.noise is None
    counts = unclear.counts()
    assert (counts.above_gap, counts.localised_above_gap, counts.noise) == (None, None, 0)
    assert (counts.shown, counts.localised_shown) == (4, 3)


def test_counts_survive_the_file(model):
    counts = decoder_filters(model, toy_data(), ACTIVITY, num_noise=2).counts()
    start = Start("data", filters=counts)
    assert Start.of(json.loads(json.dumps(dataclasses.asdict(start)))) == start


def test_columns_are_those_of_the_decoder(model):
    (layer,) = model.likelihood.loc.parts
    np.testing.assert_allclose(linear_columns(model), layer.weight.detach().T, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((144,), "no image shape"), ((4, 36), "4 x 36 pixels"), ((12, 4, 3), "in colour")],
)
def test_what_has_no_filters_is_said(model, shape, words):
    with pytest.raises(InputError, match=words):
        decoder_filters(model, toy_data(shape), ACTIVITY)


def test_a_decoder_that_is_not_linear_has_none():
    curved, _ = tiny_pair(levels=2, num_pixels=144, pixels="binary")
    with pytest.raises(InputError, match="the decoder is not linear"):
        linear_columns(curved)


def test_noise_fills_the_space_of_the_data_and_nothing_else():
    data = pyro_vae.load_dataset(
        "natural", patch_size=8, components=9, num_train=60, num_valid=10, num_test=10
    )
    noise = noise_filters(data, 400).reshape(400, 64)
    inside = noise @ data.whitening.components.numpy().T
    np.testing.assert_allclose(np.linalg.norm(inside, axis=1), np.linalg.norm(noise, axis=1))
    # Variance 1 in each of the nine directions; its standard error over 400 is 0.07.
    np.testing.assert_allclose(inside.var(axis=0), 1, atol=0.3)
    assert noise_filters(toy_data(), 3).shape == (3, *SMALL)
    np.testing.assert_array_equal(noise_filters(data, 2), noise_filters(data, 2))


@pytest.mark.parametrize(
    ("activities", "clear"),
    [
        ([0.5, 0.4, 1e-5], True),
        ([0.5, 0.4, 0.004], True),
        ([0.5, 0.4, 0.3], False),  # the threshold is not in the gap, which is narrow
        ([0.5, 0.4, 0.06, 0.05], False),  # wide enough around the threshold only
        ([0.5, 0.4, 0.02, 0.015], True),
        ([0.5, 0.4, 0.02, 0.001], False),
        ([0.005, 0.004, 0.0002], False),  # no active unit
        ([0.03, 0.02, 0.009], False),  # hardly a gap
        ([0.5, 0.02, 0.003, 0.0005], True),  # active by the threshold, and apart from the first
        ([0.5, 1e-6], True),
    ],
)
def test_clear_gaps(activities, clear):
    assert activity_gap(np.array(activities)).clear == clear
    above = above_clear_gap(np.array(activities))
    assert (above is not None) == clear
    if clear:
        assert above.tolist() == [value > 0.03 for value in activities]


def test_one_unit_has_no_gap():
    assert above_clear_gap(np.array([0.5])) is None
