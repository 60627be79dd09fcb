"""Rows of whole levels: what they hold, what is refused, and colours drawn as they were."""

import dataclasses
import io

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from analysis.pictures.image_grids import plot_image_grid
from analysis.pictures.panels import panel
from analysis.probes.image_rows import as_effects, as_images, grey_limit, shaped
from pyro_vae.cli import pictures
from pyro_vae.datasets import Dataset, Preprocessing, load_dataset
from pyro_vae.errors import InputError

# Corners of the colour cube and one colour whose three channels differ.
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 100, 200]])
EVERY_LEVEL = np.arange(256).repeat(3).reshape(32, 4, 6)


def colour_images(count=30, height=4, width=5):
    """Images (N, H, W, 3) of known colours."""
    places = np.random.default_rng(0).integers(len(COLOURS), size=(count, height, width))
    return COLOURS[places].astype(np.uint8)


def load(path, train, test=None, **settings):
    """The data set of an .npz file of these arrays, whose test set is the start of its train."""
    np.savez(path / "a.npz", x_train=train, x_test=train[:10] if test is None else test)
    return load_dataset(path / "a.npz", **{"pixels": "levels", **settings})


@pytest.mark.parametrize(
    ("kind", "white"),
    [(kind, 255) for kind in (np.uint8, np.int64, np.uint16, np.float32, np.float64)]
    + [(kind, 1) for kind in (np.float32, np.float64)],
)
def test_rows_are_whole_levels_over_255_whatever_the_type(tmp_path, kind, white):
    stored = (EVERY_LEVEL * (white / 255)).astype(kind)
    data = load(tmp_path, stored, stored)
    # Not to rounding: exactly, so that 255 x is a whole number after rounding in any dtype.
    expected = (EVERY_LEVEL / 255).astype(np.float32).reshape(32, 24)
    assert data.test.dtype == torch.float32
    assert (data.test.numpy() == expected).all()
    assert (data.pixels, data.image_shape, data.channels_first) == ("levels", (4, 6), (1, 4, 6))
    assert torch.equal(data.preprocessing.rows(stored), data.test)
    images = data.preprocessing.images(data.test)
    assert np.abs(images - stored.astype(np.float64)).max() < 1e-4 * white
    assert np.array_equal(data.preprocessing.shown(data.test), expected.reshape(32, 4, 6))
    assert grey_limit(as_images(data.test.numpy(), data), data) is None


def test_black_and_white_is_of_levels_too(tmp_path):
    ink = np.random.default_rng(0).integers(0, 2, (30, 4, 4), dtype=np.uint8)
    assert set(load(tmp_path, ink).test.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("stored_first", [False, True], ids=["colour last", "colour first"])
def test_colour_rows_hold_their_channels_one_after_the_other(tmp_path, stored_first):
    images = colour_images()
    first = images.transpose(0, 3, 1, 2)
    data = load(tmp_path, first if stored_first else images)
    assert data.image_shape == data.channels_first == (3, 4, 5)
    assert data.info["row_shape"] == [3, 4, 5]
    assert data.picture_shape == (4, 5, 3)
    expected = (first / 255).astype(np.float32).reshape(30, -1)
    assert np.array_equal(data.test, expected[:10])
    data.preprocessing.save(tmp_path / "saved.npz")
    for preprocessing in (data.preprocessing, Preprocessing.load(tmp_path / "saved.npz")):
        for new in (images, first, first.reshape(30, -1), torch.from_numpy(images)):
            assert np.array_equal(preprocessing.rows(new), expected)
        assert np.array_equal(preprocessing.images(expected).round(), first)


def test_other_pixel_spaces_keep_the_order_of_the_file(tmp_path):
    """Runs of versions that had no levels go on with the rows that they began with."""
    images = colour_images()
    data = load(tmp_path, images, pixels="standardised")
    assert data.image_shape == (4, 5, 3)
    assert data.channels_first is None
    values = data.preprocessing.images(data.test).round()
    assert np.array_equal(values, images[:10])
    assert load(tmp_path, images.transpose(0, 3, 1, 2), pixels="standardised").channels_first == (
        3,
        4,
        5,
    )


def test_what_is_no_image_has_no_channels(tmp_path):
    flat = np.arange(300).reshape(30, 10) % 256
    assert load(tmp_path, flat).channels_first is None
    narrow = colour_images(width=3)
    assert load(tmp_path, narrow).channels_first == (3, 4, 3)
    data = load(tmp_path, flat, image_shape=(2, 5))
    assert data.channels_first == (1, 2, 5)
    by_hand = Dataset("a", *[data.train[:, :3]] * 3, image_shape=(3, 1, 1), pixels="levels")
    assert by_hand.channels_first == (3, 1, 1)
    whitened = Dataset("a", *[data.train] * 3, image_shape=(20, 20), pixels="standardised")
    assert whitened.channels_first is None  # of whose images the rows hold components


def test_colours_are_drawn_as_they_were(tmp_path):
    images = colour_images()
    data = load(tmp_path, images)
    rows = data.test.numpy()
    assert np.array_equal((255 * as_images(rows, data)).round(), images[:10])
    assert np.array_equal((255 * as_effects(rows, data)).round(), images[:10])
    assert grey_limit(as_images(rows, data), data) is None
    flat = dataclasses.replace(
        data,
        image_shape=(60,),
        preprocessing=dataclasses.replace(data.preprocessing, image_shape=(60,)),
    )
    assert np.array_equal((255 * as_images(rows, shaped(flat, (3, 4, 5)))).round(), images[:10])
    _, ax = panel(4, 4)
    plot_image_grid(ax, as_images(rows, data), 10)
    sheet = ax.get_images()[-1].get_array()
    assert np.array_equal((255 * sheet[:, 6:11]).round(), images[1])


def test_a_sheet_of_samples_shows_levels_on_their_own_scale(tmp_path):
    """A dark image stays dark: the scale is that of the levels, not that of what is drawn."""
    data = load(tmp_path, colour_images())
    dark = np.broadcast_to(np.array([60, 0, 0])[None, :, None, None], (8, 3, 4, 5))
    file = io.BytesIO(pictures.grid(dark.astype(float), data.preprocessing))
    sheet = imageio.imread(file, extension=".png")[..., :3].reshape(-1, 3)
    found, counts = np.unique(sheet, axis=0, return_counts=True)
    shown = found[counts > 100]
    assert [60, 0, 0] in shown.tolist()
    assert [255, 0, 0] not in shown.tolist()


@pytest.mark.parametrize(
    ("value", "white", "message"),
    [
        (
            12.5,
            255,
            r"a\.npz \(train\): pixels='levels' needs whole levels 0\.\.255, got level "
            r"12\.5 at \[7, 2, 1\]",
        ),
        (0.3, 1, r"got level 76\.5 at \[7, 2, 1\]"),
        (300, 255, r"needs whole levels 0\.\.255 \(or fractions in \[0, 1\]\), got 0 to 300"),
        (-3, 255, r"got -3 to 255"),
        (-0.5, 1, r"got -0\.5 to 1"),
        (np.nan, 255, "values are NaN"),
    ],
)
def test_levels_that_are_not_whole_are_refused(tmp_path, value, white, message):
    images = EVERY_LEVEL * (white / 255)
    load(tmp_path, images)
    images[7, 2, 1] = value
    images[9, 0, 0] = value
    with pytest.raises(InputError, match=message):
        load(tmp_path, images)


def test_the_first_bad_level_of_many_is_found_in_the_file(tmp_path):
    many = np.zeros((20_000, 2, 2), dtype=np.float32)
    many[0] = 255
    many[12_345, 0, 1] = 3.25
    np.save(tmp_path / "b.npy", many)
    with pytest.raises(InputError, match=r"b\.npy: .* got level 3\.25 at \[12345, 0, 1\]"):
        load_dataset(tmp_path / "b.npy", pixels="levels")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((2, 4, 5, 3), 12.5), r"images: .* got level 12\.5 at \[0, 0, 0, 0\]"),
        (np.full((2, 4, 5, 3), 256), "were of 0 to 255 in training, got 256"),
        (np.linspace(0, 1, 60).reshape(1, 4, 5, 3), "fractions of 0 to 1: give bytes"),
        (np.zeros((2, 5, 4, 3)), r"must have shape \(N, 3, 4, 5\)"),
    ],
)
def test_new_images_are_checked_alike(tmp_path, images, message):
    preprocessing = load(tmp_path, colour_images()).preprocessing
    with pytest.raises(InputError, match=message):
        preprocessing.rows(images)


def test_photographs_cut_into_patches_have_no_levels():
    with pytest.raises(InputError, match="natural holds grey patches, for which pixels='levels'"):
        load_dataset("natural", pixels="levels")
