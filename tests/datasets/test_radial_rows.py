"""Patches of filtered photographs: their rows, the dimensions left, the way back, new images."""

import json

import numpy as np
import pytest
import torch

from pyro_vae.datasets import Preprocessing, load_dataset, tiles
from pyro_vae.datasets.cutting import PatchSettings, Photograph, cut_split
from pyro_vae.datasets.photographs import folder_photographs
from pyro_vae.datasets.radial import radially_filtered
from pyro_vae.errors import InputError
from tests.datasets.test_preprocessing import pictures, write

SIDE, MARGIN = 6, 4
SMALL = {"patch_size": SIDE, "num_train": 400, "num_valid": 20, "num_test": 30, "whiten": "radial"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photographs")
    write(path, pictures(side=32))
    return path


@pytest.fixture(scope="module")
def data(folder):
    return load_dataset(folder, **SMALL)


@pytest.fixture(scope="module")
def test_photograph(data):
    """The photograph that the test patches were cut from, as bytes."""
    (name,) = data.info["photographs"]["test"]
    return pictures(side=32)[int(name[0])]


def training_patches(folder, data):
    """Training patches (N, P) after the filter and before it, in the order of the rows."""
    settings = PatchSettings(**SMALL, components=28)
    photographs = folder_photographs(folder, 0).train
    return [
        cut_split(photographs, "train", settings, data.info["min_contrast"], filtered=filtered)[0]
        for filtered in (True, False)
    ]


def windows(image):
    """All patches of an image that lie the margin away from its borders, (M, P)."""
    inside = image[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return np.lib.stride_tricks.sliding_window_view(inside, (SIDE, SIDE)).reshape(-1, SIDE**2)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize("intensity", ["log", "grey"])
def test_photographs_become_the_rows_of_the_test_set_before_and_after_saving(
    tmp_path, intensity, colour
):
    photographs = pictures(colour, side=32)
    write(tmp_path, photographs)
    data = load_dataset(tmp_path, intensity=intensity, **SMALL)
    data.preprocessing.save(tmp_path / "saved.npz")
    saved = Preprocessing.load(tmp_path / "saved.npz")
    (name,) = data.info["photographs"]["test"]
    photograph = photographs[int(name[0])]
    rows = []
    for preprocessing in (data.preprocessing, saved):
        whole = preprocessing.filtered(photograph[None])[0]
        every = preprocessing.whitening.transform(windows(whole))
        known = {row.tobytes() for row in every.numpy()}
        assert len(known) == 19**2
        # Every row of the test set, bit for bit.
        assert all(row.tobytes() in known for row in data.test.numpy())
        rows.append(preprocessing.rows(photographs))
        assert rows[-1].shape == (4 * 16, SIDE**2)
        # The patches lie side by side: the second of the first line, the first of the last one.
        at = [16 * int(name[0]) + place for place in (1, 12)]
        assert torch.equal(rows[-1][at], every[[SIDE, 18 * 19]])
        assert torch.equal(preprocessing.rows(torch.from_numpy(photographs)), rows[-1])
        assert preprocessing.pixels is data.pixels
    assert torch.equal(*rows)
    assert np.array_equal(data.preprocessing.images(rows[0]), saved.images(rows[0]))
    for name, value in vars(data.preprocessing.restoration).items():
        again = getattr(saved.restoration, name)
        assert torch.equal(value, again) if isinstance(value, torch.Tensor) else value == again
    json.dumps(data.info)


def test_rows_are_filtered_patches_inside_the_kept_directions(folder, data):
    filtered, before = training_patches(folder, data)
    centred = filtered - filtered.astype(np.float64).mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    kept = directions[:28]  # pi / 4 of 36
    expected = centred @ kept.T @ kept
    expected /= expected.std()
    assert np.allclose(data.train.numpy(), expected, atol=1e-5)
    assert data.info["variance_kept"] == pytest.approx(
        np.square(spread[:28]).sum() / np.square(spread).sum(), abs=1e-9
    )
    assert data.image_shape == (SIDE, SIDE)
    assert np.linalg.matrix_rank(data.train.double().numpy(), tol=1e-3) == 28
    # Contrast is judged before the filter, and contrasts of patches stay different.
    assert before.std(axis=1).min() >= data.info["min_contrast"]


def test_patches_keep_away_from_the_borders(folder, data):
    settings = PatchSettings(**SMALL, components=28)
    (photo,) = folder_photographs(folder, 0).test
    photo = Photograph("wide", photo.grey[:20])
    cut, _ = cut_split([photo], "test", settings, 0.0)
    whole = radially_filtered(np.log(photo.grey + np.float32(0.05)))
    inside = {patch.tobytes() for patch in windows(whole)}
    assert all(patch.tobytes() in inside for patch in cut)


def test_the_way_back_is_the_least_squares_one(folder, data):
    filtered, before = (patches.astype(np.float64) for patches in training_patches(folder, data))
    # An intercept and the rows: the regression that NumPy makes of them.
    rows = np.column_stack([np.ones(len(filtered)), data.train.double().numpy()])
    fitted = rows @ np.linalg.lstsq(rows, before, rcond=1e-5)[0]
    restored = np.log(data.preprocessing.images(data.train) + 0.05).reshape(len(before), -1)
    assert np.allclose(restored, fitted, atol=1e-3)

    def share(estimate, truth):
        return 1 - np.square(truth - estimate).sum() / np.square(truth - truth.mean(0)).sum()

    def within(patches):
        return patches - patches.mean(axis=1, keepdims=True)

    info = data.info
    assert info["variance_restored"] == pytest.approx(share(restored, before), abs=1e-4)
    assert info["variance_restored_within_patches"] == pytest.approx(
        share(within(restored), within(before)), abs=1e-4
    )


def test_held_out_patches_are_restored_but_for_their_mean(data, test_photograph):
    inside = test_photograph[MARGIN:-MARGIN, MARGIN:-MARGIN]
    patches = tiles(inside, SIDE) / 255
    restored = data.preprocessing.images(data.preprocessing.rows(test_photograph[None]))
    assert restored.shape == patches.shape == (16, SIDE, SIDE)
    logs = [np.log(images + 0.05) for images in (patches, restored)]
    within = [values - values.mean((1, 2), keepdims=True) for values in logs]
    lost = np.square(within[1] - within[0]).sum() / np.square(within[0]).sum()
    assert lost < 0.25  # 0.17; it is 0.75 of the filtered patch itself
    # A brighter photograph, here one of raw numbers, has the same rows.
    brighter, plain = (
        radially_filtered(np.log(test_photograph / 255 + 0.05) + shift) for shift in (2, 0)
    )
    assert np.allclose(brighter, plain, atol=1e-5)


def test_of_400_dimensions_the_filter_leaves_314():
    """On real photographs: as many components hold the energy, and lie below Nyquist's frequency.

    The bundled ones hold 0.998 of it in 308 components, BSDS500 0.999 in 312.
    """
    options = {"num_train": 5000, "num_valid": 2, "num_test": 2}
    whole = load_dataset("natural", whiten="radial", components=400, **options).whitening
    assert 300 <= holding(0.998, whole) <= 320
    frequency = np.hypot(np.fft.fftfreq(40)[:, None], np.fft.fftfreq(40))
    fields = whole.components.reshape(-1, 20, 20).numpy()
    power = np.abs(np.fft.fft2(fields, (40, 40))) ** 2
    mean = (power * frequency).sum((1, 2)) / power.sum((1, 2))
    assert 305 <= (mean < 0.5).sum() <= 325
    assert mean[:290].max() < 0.5 < mean[340:].min()
    cut = load_dataset("natural", whiten="radial", **options).whitening
    assert torch.equal(cut.components, whole.components[:314])


def holding(share, whitening):
    """How many of the leading components hold this share of the variance."""
    shares = whitening.eigenvalues.cumsum(0) / whitening.eigenvalues.sum()
    return 1 + int((shares < share).sum())


def test_textures_are_filtered_band_by_band():
    options = {**SMALL, "num_train": 1000}
    textures, natural = load_dataset("textures", **options), load_dataset("natural", **options)
    assert torch.equal(textures.whitening.components, natural.whitening.components)
    assert textures.whitening.scale == natural.whitening.scale
    assert torch.bincount(textures.labels["test"]).tolist() == [6] * 5
    with pytest.raises(InputError, match="patch_size must be at most 69 for textures"):
        load_dataset("textures", **{**options, "patch_size": 70})


def test_what_cannot_be_filtered_is_refused_in_one_line(data, folder, tmp_path):
    preprocessing = data.preprocessing
    need = r"photographs of at least 14 x 14 pixels are needed, which are filtered before patches"
    for images, message in (
        (np.zeros((2, SIDE, SIDE), np.uint8), need + r" of 6 x 6 .* got 6 x 6$"),
        (np.zeros((2, 36), np.uint8), need + r".* got rows of 36 pixels$"),
        (np.zeros((2, 13, 40), np.uint8), need + r".* got 13 x 40$"),
        (np.zeros((0, 20, 20), np.uint8), "with N >= 1"),
        (np.zeros((20, 20), np.uint8), r"\(N, 14, 14\) or \(N, 14, 14, 3\) with N >= 1, got"),
        (np.full((1, 20, 20), np.nan), r"must lie in \[0, 1\], got nan"),
        (np.full((1, 20, 20), 7.0), r"must lie in \[0, 1\], got 7 to 7"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            preprocessing.rows(images)
        assert "\n" not in str(caught.value)
    # A patch with its surroundings is a small photograph; a constant one has rows like any other.
    assert preprocessing.rows(np.zeros((3, 14, 14), np.uint8)).shape == (3, 36)
    write(tmp_path, pictures(side=13))
    with pytest.raises(InputError, match=r"\(13 x 13 pixels\) is smaller than patch_size 6 and 4"):
        load_dataset(tmp_path, **SMALL)
    write(tmp_path, np.full((4, 20, 20), 9, np.uint8))
    with pytest.raises(InputError, match="constant: zero variance in"):
        load_dataset(tmp_path, **SMALL)
    with pytest.raises(InputError, match=r"components must be at most 36 .* got 37"):
        load_dataset(folder, **SMALL, components=37)
