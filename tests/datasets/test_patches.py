"""Patches: whitening, one scale for the whole set, held-out photographs and image areas."""

import json
import sys

import numpy as np
import pytest
import torch
from skimage import io

from pyro_vae.datasets import load_dataset
from pyro_vae.datasets.cutting import PatchSettings, cut_split
from pyro_vae.datasets.intensity import LOG_OFFSET
from pyro_vae.datasets.patches import FLAT_FRACTION
from pyro_vae.datasets.photographs import (
    NATURAL,
    natural_photographs,
    read_bundled,
    read_photograph,
)
from pyro_vae.datasets.textures import texture_bands
from pyro_vae.datasets.whitening import fit_whitening
from pyro_vae.errors import InputError

SMALL = {"patch_size": 12, "components": 40, "num_train": 2000, "num_valid": 100, "num_test": 200}


@pytest.fixture(scope="module")
def photographs():
    return natural_photographs()


def correlated_patches(rows=3000, side=6, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(side**2, side**2)) * np.geomspace(3, 0.05, side**2)[:, None]
    return (rng.normal(size=(rows, side**2)) @ mixing + 2).astype(np.float32)


@pytest.mark.parametrize("kind", ["zca", "pca"])
@pytest.mark.parametrize("components", [1, 9, 36])
def test_whitening_gives_identity_covariance_in_the_kept_subspace(kind, components):
    patches = correlated_patches()
    whitening = fit_whitening(patches, kind, components, (6, 6))
    rows = whitening.transform(patches.astype(np.float64)) * whitening.scale
    kept = rows if kind == "pca" else rows @ whitening.components.T
    covariance = kept.T @ kept / len(kept)
    assert torch.allclose(covariance, torch.eye(components, dtype=torch.float64), atol=1e-8)
    if kind == "zca":  # nothing outside the subspace, and symmetric: pixels stay pixels
        assert torch.allclose(kept @ whitening.components, rows, atol=1e-10)
        matrix = whitening.transform(np.eye(36) + whitening.mean.numpy())
        assert torch.allclose(matrix, matrix.T, atol=1e-12)


@pytest.mark.parametrize("kind", ["zca", "pca", "none"])
def test_rows_have_one_mean_and_one_scale(kind):
    patches = correlated_patches()
    rows = fit_whitening(patches, kind, 9, (6, 6)).transform(patches).double()
    assert rows.mean().abs() < 1e-6
    assert rows.std(correction=0) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", ["zca", "pca", "none"])
def test_inverse_recovers_low_pass_patches(kind):
    patches = correlated_patches()
    whitening = fit_whitening(patches, kind, 9, (6, 6))
    centred = torch.from_numpy(patches).double() - whitening.mean
    basis = whitening.components if kind != "none" else torch.eye(36, dtype=torch.float64)
    low_pass = centred @ basis.T @ basis + whitening.mean
    back = whitening.inverse(whitening.transform(low_pass))
    assert torch.allclose(back, low_pass, atol=1e-10)
    lost = (centred - (low_pass - whitening.mean)).square().sum() / centred.square().sum()
    if kind != "none":
        assert whitening.variance_kept == pytest.approx(1 - lost.item(), abs=1e-9)


def test_filters_of_pca_and_zca_decoders_look_alike():
    patches = correlated_patches()
    pca, zca = (fit_whitening(patches, kind, 9, (6, 6)) for kind in ("pca", "zca"))
    weights = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    pixels = zca.components.T.float() @ weights
    assert pca.filters(weights).shape == (4, 6, 6)
    assert torch.allclose(pca.filters(weights), zca.filters(pixels), atol=1e-6)
    assert torch.equal(zca.filters(pixels)[2].flatten(), pixels[:, 2])


def test_whitening_refuses_wrong_widths_and_too_few_patches():
    whitening = fit_whitening(correlated_patches(), "pca", 9, (6, 6))
    with pytest.raises(InputError, match=r"patches must have shape \(N, 36\), got \(2, 35\)"):
        whitening.transform(torch.zeros(2, 35))
    with pytest.raises(InputError, match=r"rows must have shape \(N, 9\)"):
        whitening.inverse(torch.zeros(2, 36))
    with pytest.raises(InputError, match=r"components must be at most 19, .* got 36"):
        fit_whitening(correlated_patches(rows=20), "zca", 36, (6, 6))


def test_patches_of_one_grey_have_no_scale():
    with pytest.raises(InputError, match="training patches are constant: zero variance"):
        fit_whitening(np.full((20, 36), 0.5, np.float32), "none", 36, (6, 6))


@pytest.mark.parametrize("whiten", ["zca", "pca", "none"])
@pytest.mark.parametrize("intensity", ["log", "grey"])
def test_natural(whiten, intensity, photographs):
    data = load_dataset("natural", whiten=whiten, intensity=intensity, **SMALL)
    width = 40 if whiten == "pca" else 144
    assert [tuple(s.shape) for s in (data.train, data.valid, data.test)] == [
        (2000, width),
        (100, width),
        (200, width),
    ]
    assert data.train.dtype == torch.float32
    assert data.pixels == "standardised"
    assert data.image_shape == ((40,) if whiten == "pca" else (12, 12))
    assert data.train.double().mean().abs() < 1e-6
    assert data.train.double().std(correction=0) == pytest.approx(1, abs=1e-5)
    # One scale for the whole set: contrasts still differ from patch to patch.
    contrasts = data.train.std(dim=1)
    assert contrasts.quantile(0.9) > 3 * contrasts.quantile(0.1)
    # Back in the units of the photographs; nothing is lost but what the cut removed.
    patches, _ = cut_split(
        photographs.train,
        "train",
        PatchSettings(whiten=whiten, intensity=intensity, **SMALL),
        data.info["min_contrast"],
    )
    back = data.whitening.inverse(data.train).numpy()
    lost = np.square(back - patches).sum() / np.square(patches - patches.mean(0)).sum()
    assert lost == pytest.approx(1 - data.info["variance_kept"], abs=1e-4)
    json.dumps(data.info)


def test_photographs_of_the_splits_are_disjoint_and_bundled(photographs):
    names = load_dataset("natural", **SMALL).info["photographs"]
    every = [name for split in ("train", "valid", "test") for name in names[split]]
    assert len(every) == len(set(every)) == 8
    assert names["test"] == ["astronaut.png", "chelsea.png"]
    assert {s: len(f) for s, f in NATURAL.items()} == {s: len(photographs.of(s)) for s in NATURAL}


def test_photographs_of_a_package_that_is_not_there_are_named(monkeypatch):
    with pytest.raises(InputError, match=r"the installed skimage does not bundle data/moon2\.png"):
        read_bundled("skimage/data/moon2.png")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"sklearn is not installed, and sklearn/datasets/\w+"):
        load_dataset("natural", **SMALL)


def test_patches_are_cut_from_the_photographs_equally_and_none_is_flat(photographs):
    settings = PatchSettings(intensity="log", **SMALL)
    every, source = cut_split(photographs.train, "train", settings, 0.0)
    assert np.bincount(source).tolist() == [400] * 5
    low, high = np.log(LOG_OFFSET), np.log(1 + LOG_OFFSET)
    assert every.min() >= low - 1e-6
    assert every.max() <= high + 1e-6
    threshold = FLAT_FRACTION * every.std(axis=1).mean()
    kept, source = cut_split(photographs.train, "train", settings, threshold)
    assert (every.std(axis=1) < threshold).any()
    assert (kept.std(axis=1) >= threshold).all()
    assert np.bincount(source).tolist() == [400] * 5
    # A patch is a piece of its photograph.
    grey = np.exp(kept[0].reshape(12, 12)) - LOG_OFFSET
    windows = np.lib.stride_tricks.sliding_window_view(photographs.train[source[0]].grey, (12, 12))
    assert np.abs(windows - grey).max(axis=(2, 3)).min() < 1e-5


def test_seed_reproduces_and_changes_and_leaves_global_generators_alone():
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (load_dataset("natural", seed=s, **SMALL) for s in (1, 1, 2))
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.test, again.test)
    assert not torch.equal(first.train, other.train)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002


def test_textures_are_labelled_and_preprocessed_as_natural():
    textures, natural = load_dataset("textures", **SMALL), load_dataset("natural", **SMALL)
    assert textures.label_names == ("grass", "gravel", "brick", "tissue", "stars")
    for split, count in (("train", 400), ("valid", 20), ("test", 40)):
        assert torch.bincount(textures.labels[split]).tolist() == [count] * 5
        assert len(getattr(textures, split)) == 5 * count
    # The first rows are not one family: any prefix can stand for the whole.
    assert len(textures.labels["test"][:40].unique()) == 5
    assert torch.equal(textures.whitening.components, natural.whitening.components)
    assert textures.whitening.scale == natural.whitening.scale
    assert textures.info["min_contrast"] == natural.info["min_contrast"]


def test_textures_under_the_preprocessing_of_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(3):
        picture = rng.integers(0, 256, (60, 60)).astype(np.uint8)
        io.imsave(tmp_path / f"{index}.png", picture, check_contrast=False)
    textures = load_dataset("textures", fitted_on=tmp_path, **SMALL)
    own, natural = load_dataset(tmp_path, **SMALL), load_dataset("natural", **SMALL)
    assert torch.equal(textures.whitening.components, own.whitening.components)
    assert not torch.equal(textures.whitening.components, natural.whitening.components)
    assert textures.info["origin"].endswith(f"fitted on {str(tmp_path)!r}")
    with pytest.raises(InputError, match=r"fitted_on must be natural, bsds, a folder .* 'mnist'"):
        load_dataset("textures", fitted_on="mnist", **SMALL)


def test_texture_areas_share_no_pixel():
    bands = texture_bands()
    for family in range(5):
        areas = [bands.of(split)[family].grey for split in ("train", "valid", "test")]
        heights = {area.shape[0] for area in areas}
        whole = np.concatenate(areas, axis=1)
        assert len(heights) == 1
        assert whole.shape[1] == sum(area.shape[1] for area in areas)
        # Upright strips that, put side by side, are the picture itself.
        name = bands.train[family].name.split("[")[0]
        assert whole.shape in {(512, 512), (872, 1000)}, name
    with pytest.raises(InputError, match="patch_size must be at most 77 for textures"):
        load_dataset("textures", **{**SMALL, "patch_size": 78})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": 0}, "components must be a whole number of at least 1, got 0"),
        ({"components": 145}, "components must be at most 144 .* got 145"),
        ({"patch_size": 1}, "patch_size must be a whole number of at least 2, got 1"),
        ({"patch_size": 2.5}, "patch_size .* got 2.5"),
        ({"patch_size": 500, "components": 4}, "smaller than patch_size 500"),
        ({"num_train": 0}, "num_train must be .* got 0"),
        ({"num_test": -3}, "num_test must be .* got -3"),
        ({"num_valid": 1}, "num_valid must be a whole number of at least 2, got 1"),
        ({"intensity": "raw"}, "intensity='raw' is for patches cut from an array"),
        ({"image_shape": (12, 12)}, "image_shape is for arrays of flat rows .* not for natural"),
        ({"num_train": 20}, "components must be at most 19"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"seed": 1.5}, "seed must be .* got 1.5"),
        ({"whiten": "ica"}, "unknown whiten 'ica'; allowed: zca, pca, radial, none"),
        ({"intensity": "linear"}, "unknown intensity 'linear'; allowed: log, grey, raw"),
        ({"pixels": "binary"}, "standardised patches need a Gaussian likelihood"),
        ({"pixels": "raw"}, "unknown pixels 'raw'; allowed: standardised, binary"),
        ({"binarise": "never"}, "unknown binarise 'never'; allowed: static, epoch, access"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset("natural", **{**SMALL, **change})
    assert "\n" not in str(caught.value)


def write_photographs(folder, count, shape=(40, 50)):
    rng = np.random.default_rng(0)
    for index in range(count):
        grey = rng.integers(0, 255, shape, dtype=np.uint8)
        io.imsave(folder / f"photo{index}.png", grey, check_contrast=False)


def test_folder_of_photographs_in_many_formats(tmp_path):
    rng = np.random.default_rng(0)
    write_photographs(tmp_path, 4)
    colour = rng.integers(0, 255, (30, 40, 4), dtype=np.uint8)
    io.imsave(tmp_path / "alpha.PNG", colour, check_contrast=False)
    io.imsave(tmp_path / "colour.jpg", colour[..., :3], check_contrast=False)
    io.imsave(tmp_path / "deep.tif", (colour[..., 0] * 256.0).astype(np.uint16))
    (tmp_path / "notes.txt").write_text("not an image")
    data = load_dataset(str(tmp_path), **SMALL)
    photographs = data.info["photographs"]
    assert [len(photographs[s]) for s in ("train", "valid", "test")] == [5, 1, 1]
    assert len({name for names in photographs.values() for name in names}) == 7
    assert data.train.shape == (2000, 144)
    deep = read_photograph(tmp_path / "deep.tif").grey
    assert np.allclose(deep * 65535, colour[..., 0] * 256.0, atol=0.01)


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="holds 0 images, at least 3 are needed"):
        load_dataset(str(tmp_path), **SMALL)
    write_photographs(tmp_path, 2)
    with pytest.raises(InputError, match="holds 2 images, at least 3"):
        load_dataset(str(tmp_path), **SMALL)
    with pytest.raises(InputError, match="Gaussian"):
        load_dataset(str(tmp_path), pixels="binary")
    damaged = tmp_path / "photo9.png"
    for content in ((tmp_path / "photo0.png").read_bytes()[:300], b""):
        damaged.write_bytes(content)
        with pytest.raises(
            InputError, match=r"holds 2 images, .* \(1 cannot be read: .*photo9.png is not a read"
        ):
            load_dataset(str(tmp_path), **SMALL)
    io.imsave(damaged, np.zeros((8, 90), np.uint8), check_contrast=False)
    with pytest.raises(InputError, match=r"photo9.png \(8 x 90 pixels\) is smaller than"):
        load_dataset(str(tmp_path), **SMALL)
    io.imsave(damaged, np.full((40, 50), 7, np.uint8), check_contrast=False)
    with pytest.raises(InputError, match=r"photo9.png is too flat: 0 of"):
        load_dataset(str(tmp_path), **SMALL)


def test_folder_of_constant_photographs(tmp_path):
    for index in range(3):
        grey = np.full((40, 50), 9 * index, np.uint8)  # whose float32 mean is rounded
        io.imsave(tmp_path / f"{index}.png", grey, check_contrast=False)
    with pytest.raises(InputError, match="constant: zero variance in"):
        load_dataset(str(tmp_path), **SMALL)


def test_float_photographs_must_lie_in_the_unit_interval(tmp_path):
    path = tmp_path / "float.tif"
    io.imsave(path, np.full((20, 20), 3.5, np.float32), check_contrast=False)
    with pytest.raises(InputError, match=r"float pixels must lie in \[0, 1\], got 3.5 to 3.5"):
        read_photograph(path)


def test_bsds_says_what_is_missing_and_where(tmp_path, monkeypatch):
    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)
    with pytest.raises(InputError, match=r"bsds500_gray.npz: no data folder .* --data-dir"):
        load_dataset("bsds")
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    with pytest.raises(InputError, match=f"looked for it in {tmp_path}; PYRO_VAE_DATA"):
        load_dataset("bsds")


def test_bsds_of_a_small_file(tmp_path):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 255, (n, 30, 40), dtype=np.uint8) for n in (22, 3))
    np.savez(tmp_path / "bsds500_gray.npz", x_train=train, x_test=test)
    photographs = load_dataset("bsds", data_dir=tmp_path, **SMALL).info["photographs"]
    assert photographs["train"] == ["train/0", "train/1"]
    assert photographs["valid"] == [f"train/{i}" for i in range(2, 22)]
    assert photographs["test"] == ["test/0", "test/1", "test/2"]
    np.savez(tmp_path / "bsds500_gray.npz", x_train=train[:20], x_test=test)
    with pytest.raises(InputError, match="x_train needs more than 20 photographs"):
        load_dataset("bsds", data_dir=tmp_path, **SMALL)
    np.savez(tmp_path / "bsds500_gray.npz", x_train=train.astype(float), x_test=test)
    with pytest.raises(InputError, match="x_train must be uint8 photographs"):
        load_dataset("bsds", data_dir=tmp_path, **SMALL)
    np.savez(tmp_path / "bsds500_gray.npz", x_train=train)
    with pytest.raises(InputError, match="no array 'x_test'; it has x_train"):
        load_dataset("bsds", data_dir=tmp_path, **SMALL)
