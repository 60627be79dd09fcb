"""Sprites: every combination once, each image its own, moved and turned as its factors say."""

import numpy as np
import pytest
import torch

from pyro_vae import InputError, load_dataset
from pyro_vae.datasets.factors import Factor
from pyro_vae.datasets.sprites import FACTORS, RADII, SHAPES, STEP, all_sprites

SIZES = [factor.size for factor in FACTORS]


@pytest.fixture(scope="module")
def drawn():
    """Images (3, 6, 16, 8, 8, 32, 32) in 0 and 1, and factors."""
    images, factors = all_sprites()
    return (images > 0).reshape(*SIZES, 32, 32), factors


@pytest.fixture(scope="module")
def data():
    return load_dataset("sprites", pixels="binary")


def test_every_combination_is_drawn_once_and_looks_like_no_other(drawn):
    images, factors = drawn
    assert len(np.unique(factors, axis=0)) == len(factors) == np.prod(SIZES)
    packed = np.packbits(images.reshape(len(factors), -1), axis=1)
    assert len(np.unique(packed, axis=0)) == len(factors)  # so an image tells all of its factors


def test_places_move_a_sprite_and_nothing_else(drawn):
    images, _ = drawn
    for across, down in ((1, 0), (0, 1), (7, 3)):
        moved = np.roll(images[:, :, :, 0, 0], (STEP * down, STEP * across), (-2, -1))
        assert (images[:, :, :, across, down] == moved).all()


def test_a_quarter_turn_is_four_values_of_rotation_against_the_clock(drawn):
    images, _ = drawn
    inside = images[:, :, :, 0, 0, :18, :18]  # where sprites of place (0, 0) lie
    assert images[:, :, :, 0, 0].sum() == inside.sum()
    turned = np.rot90(inside, axes=(-2, -1))
    # Pixels on an edge may fall to either side of it.
    assert np.mean(np.roll(inside, -4, axis=2) != turned) < 0.005
    assert np.mean(np.roll(inside, 4, axis=2) != turned) > 0.05


def test_areas_grow_with_the_square_of_the_radius(drawn):
    images, _ = drawn
    areas = images[:, :, :, 0, 0].sum((-2, -1)).mean(-1)  # shapes, scales
    largest = np.repeat(areas[:, -1:] / RADII[-1] ** 2, len(RADII), axis=1)
    # A thin moon of few pixels is the furthest off.
    assert areas / np.square(RADII) == pytest.approx(largest, rel=0.2)
    assert (np.diff(areas) > 0).all()
    # Independently: the corner of two bars of 0.54 in the unit circle, 1.62 and 1.14 long.
    bars = 0.54 * 1.62 + 0.54 * 1.14 - 0.54 * 0.54
    assert areas[list(SHAPES).index("corner"), -1] / RADII[-1] ** 2 == pytest.approx(bars, rel=0.05)


def test_splits_hold_all_images_with_their_factors(data, drawn):
    images, _ = drawn
    assert {split: len(getattr(data, split)) for split in ("train", "valid", "test")} == {
        "train": 14_746,
        "valid": 1_843,
        "test": 1_843,
    }
    seen = []
    for split in ("train", "valid", "test"):
        values = data.factors.of(split)
        rows = getattr(data, split).numpy().reshape(-1, 32, 32)
        assert (rows == images[tuple(values.T)]).all()
        assert (data.labels[split].numpy() == values[:, 0]).all()
        for factor, column in zip(FACTORS, values.T, strict=True):
            assert np.bincount(column, minlength=factor.size).min() > 50
            assert len(np.unique(column[:100])) == factor.size  # the first are of all kinds
        seen.append(np.ravel_multi_index(tuple(values.T), SIZES))
    assert len(np.unique(np.concatenate(seen))) == len(images.reshape(-1, 1024))
    assert data.factors.names == ("shape", "scale", "rotation", "x", "y")
    assert data.info["factors"] == dict(zip(data.factors.names, SIZES, strict=True))
    assert data.label_names == ("heart", "corner", "moon")


def test_the_seed_moves_no_image_and_other_pixels_keep_the_factors(data):
    other = load_dataset("sprites", pixels="binary", seed=3)
    assert torch.equal(other.train, data.train)
    small = load_dataset("sprites", pixels="levels", image_size=16)
    assert small.test.shape == (1_843, 256)
    assert (small.factors.of("test") == data.factors.of("test")).all()


def test_circular_factors_are_points_of_a_circle():
    points = Factor("turn", 4, "circular").coordinates(np.array([0, 1, 3]))
    assert points == pytest.approx(np.array([[1, 0], [0, 1], [0, -1]]), abs=1e-12)
    assert Factor("a", 3).coordinates(np.array([2, 0])).tolist() == [[2.0], [0.0]]


def test_bad_input_is_one_line(data):
    for call, match in (
        (lambda: Factor("a", 1), "size of the factor a must be a whole number of at least 2"),
        (lambda: Factor("a", 3, "odd"), "unknown kind of factor 'odd'; allowed: class, ordered"),
        (lambda: data.factors.of("trial"), "unknown split 'trial'; allowed: train, valid, test"),
        (lambda: load_dataset("sprites", patch_size=8), "patch_size"),
    ):
        with pytest.raises(InputError, match=match) as error:
            call()
        assert "\n" not in str(error.value)
