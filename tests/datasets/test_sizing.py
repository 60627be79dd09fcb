"""Images cut and reduced to one size: area means against exact fractions, crops by known pixels."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from pyro_vae.datasets import Preprocessing, load_dataset
from pyro_vae.datasets.sizing import Sizing, area_mean
from pyro_vae.errors import InputError


def exact_area_mean(image, size):
    """Overlap by overlap in whole fractions."""
    side = len(image)
    step = Fraction(side, size)

    def shares(new):
        return [
            max(Fraction(0), min(Fraction(old + 1), (new + 1) * step) - max(old, new * step)) / step
            for old in range(side)
        ]

    weights = [shares(new) for new in range(size)]
    return [
        [
            sum(
                a * b * int(image[i, j])
                for i, a in enumerate(down)
                if a
                for j, b in enumerate(across)
                if b
            )
            for across in weights
        ]
        for down in weights
    ]


@pytest.mark.parametrize(("side", "size"), [(8, 4), (7, 3), (7, 5), (5, 1), (6, 6), (28, 16)])
def test_the_area_mean_is_that_of_whole_fractions(side, size):
    image = np.random.default_rng(side).integers(0, 256, (side, side), dtype=np.uint8)
    exact = exact_area_mean(image, size)
    assert np.abs(area_mean(image, size) - np.array(exact, dtype=float)).max() < 1e-12
    rounded = Sizing(size).applied("a", image)
    assert rounded.tolist() == [[round(value) for value in row] for row in exact]
    # An average of channels or of a batch is that of each alone.
    both = np.stack([image, 255 - image])
    assert np.array_equal(area_mean(both, size)[1], area_mean(255 - image, size))


def test_halves_are_rounded_alike_everywhere():
    """Sums are whole numbers before they are divided: ties are ties, and go to the even level."""
    tie = np.array([[0, 1], [0, 1]], dtype=np.uint8)
    assert Sizing(1).applied("a", tie).tolist() == [[0]]
    assert Sizing(1).applied("a", tie + 1).tolist() == [[2]]


def test_crops_and_centred_squares_by_known_pixels():
    image = np.arange(200).reshape(10, 20).astype(np.uint8)
    assert np.array_equal(Sizing(crop=(2, 3, 4, 5)).applied("a", image), image[2:6, 3:8])
    assert np.array_equal(Sizing(10).applied("a", image), image[:, 5:15])
    assert np.array_equal(Sizing(4, (2, 3, 4, 7)).applied("a", image), image[2:6, 4:8])
    assert np.array_equal(Sizing(9).applied("a", image[:9, :10]), image[:9, :9])
    colour = np.stack([image, 200 - image, image // 2])
    cut = Sizing(crop=(0, 0, 2, 2)).applied("a", colour)
    assert np.array_equal(cut[1], 200 - image[:2, :2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "image_size must be a whole number of at least 1, got 0"),
        ({"size": 1.5}, "image_size must be a whole number"),
        ({"crop": (1, 2, 3)}, "crop must be four numbers, TOP LEFT HEIGHT WIDTH, got 3"),
        ({"crop": (-1, 0, 2, 2)}, "crop must be a whole number of at least 0, got -1"),
        ({"crop": (0, 0, 0, 2)}, "crop must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_sizes(settings, message):
    with pytest.raises(InputError, match=message):
        Sizing(**settings)


def test_images_too_small_are_named():
    image = np.zeros((8, 6), dtype=np.uint8)
    with pytest.raises(InputError, match="a: 8 x 6 pixels are smaller than the image size 7"):
        Sizing(7).applied("a", image)
    with pytest.raises(
        InputError,
        match=r"a: 8 x 6 pixels are smaller than the crop 4 0 5 6 \(top, left, height, width\), "
        "which ends at row 9 and column 6",
    ):
        Sizing(crop=(4, 0, 5, 6)).applied("a", image)


def colours(count=30, height=6, width=8):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("pixels", ["standardised", "levels"])
@pytest.mark.parametrize("stored_first", [False, True])
def test_arrays_are_reduced_and_their_new_images_too(tmp_path, pixels, stored_first):
    images = colours()
    stored = images.transpose(0, 3, 1, 2) if stored_first else images
    np.savez(tmp_path / "a.npz", x_train=stored, x_test=stored)
    data = load_dataset(tmp_path / "a.npz", pixels=pixels, image_size=2, crop=(0, 1, 5, 4))
    assert data.image_shape == data.channels_first == (3, 2, 2)
    # The square of side 4 is cut from 5 x 4 pixels at the top.
    squares = images[:, 0:4, 1:5].astype(float).reshape(30, 2, 2, 2, 2, 3).mean((2, 4))
    expected = np.rint(squares).transpose(0, 3, 1, 2)
    assert np.array_equal(data.preprocessing.images(data.test).round(), expected)
    data.preprocessing.save(tmp_path / "saved.npz")
    saved = Preprocessing.load(tmp_path / "saved.npz")
    assert saved.sizing == data.preprocessing.sizing == Sizing(2, (0, 1, 5, 4))
    for new in (images, images.transpose(0, 3, 1, 2), expected.astype(np.uint8)):
        assert torch.equal(saved.rows(new), data.test)
    assert torch.equal(saved.rows(expected.transpose(0, 2, 3, 1)), data.test)
    with pytest.raises(InputError, match=r"must be bytes \(uint8\), got float64"):
        saved.rows(images / 255)
    assert data.info["sizing"] == {"size": 2, "crop": (0, 1, 5, 4)}


def test_only_8_bit_images_are_reduced(tmp_path):
    np.save(tmp_path / "fractions.npy", colours() / 255)
    with pytest.raises(InputError, match=r"only 8-bit images .* are cut or reduced, got float64"):
        load_dataset(tmp_path / "fractions.npy", image_size=2)
    np.save(tmp_path / "flat.npy", colours().reshape(30, -1))
    with pytest.raises(InputError, match=r"got uint8 \(24, 144\)"):
        load_dataset(tmp_path / "flat.npy", image_size=2)
    shaped = load_dataset(tmp_path / "flat.npy", image_size=2, image_shape=(6, 8, 3))
    assert shaped.image_shape == (3, 2, 2)


@pytest.mark.parametrize("option", [{"image_size": 8}, {"crop": (0, 0, 8, 8)}])
def test_patches_are_no_whole_images(option, tmp_path):
    (name,) = option
    with pytest.raises(InputError, match=f"{name} is for images that are used whole, not for nat"):
        load_dataset("natural", **option)
    np.save(tmp_path / "a.npy", colours())
    with pytest.raises(InputError, match=f"{name} is for images that are used whole"):
        load_dataset(tmp_path / "a.npy", patch_size=4, **option)


def test_digits_are_reduced_too(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=images, x_test=images[:10])
    data = load_dataset("mnist", data_dir=tmp_path, pixels="levels", image_size=14)
    assert data.image_shape == (14, 14)
    halves = images[:10].reshape(10, 14, 2, 14, 2).astype(float).mean((2, 4))
    assert np.array_equal((255 * data.test.numpy()).round(), np.rint(halves).reshape(10, -1))
    with pytest.raises(InputError, match="28 x 28 pixels are smaller than the image size 32"):
        load_dataset("mnist", data_dir=tmp_path, image_size=32)
