"""Preprocessing: new images become the rows that load_dataset makes, and rows become images."""

from itertools import product
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae.datasets import Dataset, Preprocessing, load_dataset, tiles
from pyro_vae.datasets.cutting import PatchSettings, cut_split
from pyro_vae.datasets.intensity import grey_levels
from pyro_vae.datasets.photographs import folder_photographs
from pyro_vae.errors import InputError

SIDE = 6
SMALL = {"patch_size": SIDE, "components": 20, "num_train": 400, "num_valid": 20, "num_test": 30}


def pictures(colour=False, count=4, side=24):
    """Photographs uint8 whose pixels are like their neighbours."""
    rng = np.random.default_rng(0)
    rough = rng.random((count, side, side, 3) if colour else (count, side, side))
    smooth = sum(np.roll(rough, shift, axis) for shift in (0, 1, 2) for axis in (1, 2))
    low, high = smooth.min(), smooth.max()
    return np.uint8(255 * (smooth - low) / (high - low))


def write(folder, photographs):
    for index, picture in enumerate(photographs):
        Image.fromarray(picture).save(folder / f"{index}.png")


def raw_test_patches(folder, photographs, data, intensity, whiten):
    """The test patches as they stand in the files, found by what was made of them."""
    settings = PatchSettings(intensity=intensity, whiten=whiten, **SMALL)
    splits = folder_photographs(folder, 0)
    cut, _ = cut_split(splits.test, "test", settings, data.info["min_contrast"])
    (test,) = (photographs[int(name[0])] for name in data.info["photographs"]["test"])
    windows = np.lib.stride_tricks.sliding_window_view(test, (SIDE, SIDE), axis=(0, 1))
    windows = windows.reshape(-1, *windows.shape[2:])
    windows = windows if windows.ndim == 3 else np.moveaxis(windows, 1, -1)
    grey = grey_levels("", windows, colour=windows.ndim == 4).reshape(len(windows), -1)
    if intensity == "log":
        grey = np.log(grey + np.float32(0.05))
    known = {row.tobytes(): window for row, window in zip(grey, windows, strict=True)}
    return np.stack([known[row.tobytes()] for row in cut])


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize("intensity", ["log", "grey"])
@pytest.mark.parametrize("whiten", ["zca", "pca", "none"])
def test_patches_become_the_rows_of_the_test_set(tmp_path, whiten, intensity, colour):
    photographs = pictures(colour)
    write(tmp_path, photographs)
    data = load_dataset(tmp_path, whiten=whiten, intensity=intensity, **SMALL)
    raw = raw_test_patches(tmp_path, photographs, data, intensity, whiten)
    assert raw.shape == (30, SIDE, SIDE, *[3] * colour)
    data.preprocessing.save(tmp_path / "saved.npz")
    saved = Preprocessing.load(tmp_path / "saved.npz")
    for preprocessing in (data.preprocessing, saved):
        assert torch.equal(preprocessing.rows(raw), data.test)
        assert torch.equal(preprocessing.rows(raw / 255), data.test)  # as fractions
        assert preprocessing.picture_shape == (SIDE, SIDE)
        shown = preprocessing.shown(data.test.numpy())
        assert shown.shape == (30, SIDE, SIDE)
        assert np.array_equal(shown, data.whitening.filters(data.test.T).numpy())
        # Rows hold what the kept components hold of an image, and images give the rows back.
        images = preprocessing.images(data.test)
        inside = (images.min() >= 0) & (images.max() <= 1)
        back = preprocessing.rows(images.clip(0, 1))
        assert torch.allclose(back, data.test, atol=1e-3) or not inside
        if whiten == "none":
            grey = grey_levels("", raw, colour=colour)
            assert np.abs(images - grey).max() < 1e-6
        else:
            lost = np.square(images - grey_levels("", raw, colour=colour)).mean()
            assert 0 < lost < 0.3 * grey_levels("", raw, colour=colour).var()


def test_grey_bytes_are_the_same_fractions_however_they_are_read():
    levels = np.arange(256, dtype=np.uint8)
    # BSDS divides float32 by 255, photographs go through scikit-image.
    assert np.array_equal(grey_levels("", levels[None], colour=False)[0], np.float32(levels) / 255)


def raw_arrays(kind):
    rng = np.random.default_rng(1)
    if kind == "bytes":
        return rng.integers(0, 256, (60, 4, 5), dtype=np.uint8)
    if kind == "colour":
        return rng.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
    if kind == "one channel":
        return rng.random((60, 4, 5, 1))
    return rng.normal(10, 3, (60, 7)) if kind == "features" else rng.random((60, 4, 5))


@pytest.mark.parametrize(
    ("kind", "pixels"),
    [
        *product(("bytes", "fractions", "colour", "one channel"), ("standardised", "binary")),
        ("features", "standardised"),
    ],
)
def test_arrays_become_the_rows_of_the_test_set(tmp_path, kind, pixels):
    raw = raw_arrays(kind)
    np.savez(tmp_path / "a.npz", x_train=raw[:40], x_test=raw[40:])
    data = load_dataset(tmp_path / "a.npz", pixels=pixels, seed=3)
    data.preprocessing.save(tmp_path / "saved.npz")
    saved = Preprocessing.load(tmp_path / "saved.npz")
    test = raw[40:]
    for preprocessing in (data.preprocessing, saved):
        assert torch.equal(preprocessing.rows(test), data.test)
        assert torch.equal(preprocessing.rows(test.reshape(20, -1)), data.test)
        assert torch.equal(preprocessing.rows(torch.from_numpy(test)), data.test)
        assert preprocessing.image_shape == data.image_shape
        assert preprocessing.pixels is data.pixels
        images = preprocessing.images(data.test)
        assert images.shape == (20, *data.image_shape)
        if pixels == "standardised":
            assert np.allclose(images, test.reshape(images.shape), rtol=1e-5, atol=1e-5)
        else:
            # What 0.4.0 drew: uniform numbers of the stream of this seed and split.
            white = 255 if test.dtype == np.uint8 else 1
            uniform = np.random.default_rng(
                np.random.SeedSequence(3, spawn_key=(crc32(b"binarise"), crc32(b"test")))
            ).random((20, test[0].size), dtype=np.float32)
            drawn = uniform < np.float32(test.reshape(20, -1) / white)
            assert np.array_equal(data.test.numpy(), drawn)
            assert set(np.unique(images)) == {0.0, 255.0 if test.dtype == np.uint8 else 1.0}


def test_colour_is_shown_as_colour_and_filters_in_the_units_of_rows(tmp_path):
    raw = raw_arrays("colour")
    np.savez(tmp_path / "a.npz", x_train=raw[:40], x_test=raw[40:])
    data = load_dataset(tmp_path / "a.npz")
    assert data.picture_shape == (4, 5, 3)
    assert np.allclose(data.preprocessing.shown(data.test), raw[40:] / 255, atol=1e-6)
    effects = data.preprocessing.shown(data.test, effects=True)
    assert np.array_equal(effects, data.test.numpy().reshape(20, 4, 5, 3))
    # Colour may stand first; pictures have it last.
    np.savez(
        tmp_path / "a.npz",
        x_train=raw[:40].transpose(0, 3, 1, 2),
        x_test=raw[40:].transpose(0, 3, 1, 2),
    )
    data = load_dataset(tmp_path / "a.npz")
    assert data.image_shape == (3, 4, 5)
    assert np.allclose(data.preprocessing.shown(data.test), raw[40:] / 255, atol=1e-6)


def test_images_that_do_not_fit_are_refused_in_one_line(tmp_path):
    write(tmp_path, pictures())
    patches = load_dataset(tmp_path, **SMALL).preprocessing
    np.save(tmp_path / "bytes.npy", raw_arrays("bytes"))
    np.save(tmp_path / "fractions.npy", raw_arrays("fractions"))
    of_bytes = load_dataset(tmp_path / "bytes.npy").preprocessing
    fractions = load_dataset(tmp_path / "fractions.npy").preprocessing
    binary = load_dataset(tmp_path / "fractions.npy", pixels="binary").preprocessing
    for preprocessing, images, message in (
        (patches, pictures(), r"of 6 x 6 pixels, got 24 x 24; pyro_vae.datasets.tiles\(photogr"),
        (patches, np.zeros((2, 5, 6)), "of 6 x 6 pixels, got 5 x 6$"),
        (patches, np.zeros((2, 35)), r"\(N, 6, 6\), \(N, 6, 6, 3\) or \(N, 36\) .* got \(2, 35\)"),
        (patches, np.zeros((0, 6, 6)), "with N >= 1"),
        (patches, np.full((2, 6, 6), 7.0), r"must lie in \[0, 1\], got 7 to 7"),
        (patches, np.full((2, 6, 6), np.nan), r"must lie in \[0, 1\], got nan"),
        (patches, np.zeros((2, 6, 6), int), r"must be uint8 \(0..255\) or uint16"),
        (of_bytes, np.zeros((2, 4, 4)), r"\(N, 4, 5\) or \(N, 20\) with N >= 1, got \(2, 4, 4\)"),
        (of_bytes, np.zeros((2, 4, 5), complex), "must be numbers, got dtype complex128"),
        (of_bytes, np.full((2, 4, 5), np.inf), "NaN or infinite"),
        (of_bytes, raw_arrays("fractions"), "were of 0 to 255 in training, got fractions"),
        (fractions, raw_arrays("bytes"), "of 0 to 1 in training, got 0 to 255: divide bytes"),
        (binary, raw_arrays("fractions") + 0.5, "were of 0 to 1 in training, got"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            preprocessing.rows(images)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"rows must have shape \(N, 36\), got \(2, 35\)"):
        patches.images(torch.zeros(2, 35))


def test_tiles_are_patches_side_by_side(tmp_path):
    write(tmp_path, pictures())
    data = load_dataset(tmp_path, **SMALL)
    cut = tiles(pictures()[0][:20], SIDE)
    assert cut.shape == (12, SIDE, SIDE)
    assert np.array_equal(cut[5], pictures()[0][6:12, 6:12])
    assert data.preprocessing.rows(cut).shape == (12, 36)
    assert tiles(pictures(colour=True)[0], 12).shape == (4, 12, 12, 3)
    with pytest.raises(InputError, match="at least 6 x 6 pixels is needed, got shape"):
        tiles(np.zeros((5, 9)), SIDE)


def test_rows_of_a_dataset_built_by_hand_are_taken_as_they_are():
    x = torch.randn(3, 9)
    data = Dataset("toy", x, x, x, image_shape=(3, 3), pixels="standardised")
    assert torch.equal(data.preprocessing.rows(x), x)
    assert np.array_equal(data.preprocessing.shown(x), x.reshape(3, 3, 3).numpy())


def test_saved_files_that_are_damaged_are_refused(tmp_path):
    x = torch.randn(3, 9)
    path = tmp_path / "saved.npz"
    with pytest.raises(InputError, match=r"saved.npz is not a readable file of preprocessing"):
        Preprocessing.load(path)
    Dataset("toy", x, x, x, image_shape=(3, 3), pixels="standardised").preprocessing.save(path)
    whole = path.read_bytes()
    content = dict(np.load(path))
    for broken in (b"", whole[:-40], b"text"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"saved.npz is not a readable file of preprocess"):
            Preprocessing.load(path)
    for change, message in (
        ({"format": 2}, "no preprocessing of format 1, got 2"),
        ({"kind": "ica"}, "not a readable file of preprocessing: KeyError: 'ica'"),
        ({"surplus": 1}, "not a readable file of preprocessing: TypeError"),
    ):
        np.savez(path, **content | change)
        with pytest.raises(InputError, match=message):
            Preprocessing.load(path)
