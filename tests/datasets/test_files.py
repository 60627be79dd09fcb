"""Array files: what is read, how it is split and scaled, and one clear line for everything else."""

import gzip
import json
import struct
import zipfile

import numpy as np
import pytest
import torch

from pyro_vae.datasets import Batches, load_dataset
from pyro_vae.datasets.files import read_idx
from pyro_vae.errors import InputError

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx_bytes(array, dtype="u1"):
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[dtype], array.ndim, *array.shape)
    return header + array.astype(dtype).tobytes()


def images(rows=40, seed=0, high=256):
    return np.random.default_rng(seed).integers(0, high, (rows, 4, 5), dtype=np.uint8)


def fails(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(str(path), **options)
    assert "\n" not in str(caught.value)


def test_npy_is_split_by_a_seeded_permutation_and_standardised(tmp_path):
    path = tmp_path / "grey.npy"
    np.save(path, images(53))
    data = load_dataset(str(path))
    assert [len(s) for s in (data.train, data.valid, data.test)] == [43, 5, 5]
    assert data.image_shape == (4, 5)
    assert data.train.dtype == torch.float32
    assert data.train.double().mean().abs() < 1e-6
    assert data.train.double().std(correction=0) == pytest.approx(1, abs=1e-6)
    assert data.labels is None
    json.dumps(data.info)
    # Every row is in one split and comes back from mean and scale.
    rows = torch.cat([data.train, data.valid, data.test]) * data.info["scale"] + data.info["mean"]
    expected = {tuple(r) for r in images(53).reshape(53, -1).tolist()}
    assert {tuple(r) for r in rows.round().int().tolist()} == expected
    again, other = load_dataset(path), load_dataset(path, seed=1)
    assert torch.equal(data.test, again.test)
    assert not torch.equal(data.test, other.test)


def test_npz_with_one_array_a_named_one_or_train_and_test(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, faces=images())
    assert load_dataset(str(path)).train.shape == (32, 20)
    np.savez(path, faces=images(), houses=images(30, seed=1))
    assert load_dataset(f"{path}:houses").train.shape == (24, 20)
    fails(path, r"holds 2 arrays \(faces, houses\): choose one as a.npz:NAME")
    fails(f"{path}:cars", "no array 'cars'; it has faces, houses")
    np.savez(path, x_train=images(), x_test=images(7), y_train=np.arange(40) % 3)
    data = load_dataset(str(path))
    assert [len(s) for s in (data.train, data.valid, data.test)] == [36, 4, 7]
    assert data.labels is None  # no labels of the test rows: no labels


def test_labels_follow_their_rows(tmp_path):
    path = tmp_path / "a.npz"
    x = np.arange(60)[:, None].repeat(4, 1).astype(float)
    np.savez(path, x_train=x[:50], x_test=x[50:], y_train=np.arange(50), y_test=np.arange(50, 60))
    data = load_dataset(str(path))
    for split in ("train", "valid", "test"):
        values = getattr(data, split)[:, 0] * data.info["scale"] + data.info["mean"]
        assert torch.equal(values.round().long(), data.labels[split])
    names = np.array(["cat", "dog"])
    np.savez(path, x_train=x, x_test=x, y_train=names[np.arange(60) % 2], y_test=names[[1] * 60])
    data = load_dataset(str(path))
    assert data.label_names == ("cat", "dog")
    assert data.labels["test"].unique().tolist() == [1]
    one_hot = np.eye(3)[np.arange(60) % 3]
    np.savez(path, x_train=x, x_test=x, y_train=one_hot, y_test=one_hot)
    assert load_dataset(str(path)).labels["test"].tolist() == (np.arange(60) % 3).tolist()
    for labels, message in (
        (np.arange(59), r"labels of shape \(59,\) for 60 rows"),
        (np.full(60, 0.5), "labels must be whole numbers or text"),
        (np.full(60, np.nan), "labels must be whole numbers or text"),
    ):
        np.savez(path, x_train=x, x_test=x, y_train=labels, y_test=labels)
        fails(path, message)


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((7,), None),
        ((2, 2), (2, 2)),
        ((4, 5, 3), (4, 5, 3)),
        ((3, 5, 4), (5, 4, 3)),
        ((4, 5, 2), None),
        ((4, 5, 4), None),
    ],
)
def test_images_keep_their_shape_and_say_how_they_can_be_drawn(tmp_path, shape, drawn):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((20, *shape)))
    data = load_dataset(tmp_path / "a.npy")
    assert data.image_shape == shape
    assert data.picture_shape == drawn
    if drawn is None:
        with pytest.raises(InputError, match=r"cannot be drawn: images of shape .* are wanted"):
            data.preprocessing.shown(data.test)
    else:
        assert data.preprocessing.shown(data.test).shape == (len(data.test), *drawn)


@pytest.mark.parametrize("shape", [(4, 5, 1), (1, 4, 5)])
def test_a_single_channel_is_a_grey_image(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((20, *shape)))
    assert load_dataset(tmp_path / "a.npy").image_shape == (4, 5)


@pytest.mark.parametrize("suffix", ["-ubyte", "-ubyte.gz", ".idx", ".idx.gz"])
@pytest.mark.parametrize("dtype", CODES)
def test_idx_round_trip(tmp_path, suffix, dtype):
    path = tmp_path / f"images{suffix}"
    array = images(high=100)
    content = idx_bytes(array, dtype)
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    read = read_idx(path)
    assert np.array_equal(read, array)
    assert read.dtype.isnative
    assert load_dataset(str(path)).train.shape == (32, 20)


def test_damaged_idx(tmp_path):
    content = idx_bytes(images())
    plain, packed = tmp_path / "a-ubyte", tmp_path / "a-ubyte.gz"
    for length in (4, 8, 15):
        plain.write_bytes(content[:length])
        fails(plain, f"truncated: {length} bytes, its header alone has 16")
    plain.write_bytes(content[:-1])
    fails(plain, "truncated: 815 bytes, its header promises 816")
    plain.write_bytes(content + b"\0")
    fails(plain, "too long: 817 bytes")
    plain.write_bytes(b"")
    fails(plain, "not an IDX file: it starts with nothing")
    plain.write_bytes(b"\0\0\x07\x03" + content[4:])
    fails(plain, "not an IDX file: it starts with 00000703")
    packed.write_bytes(gzip.compress(content)[:-9])
    fails(packed, "not a readable IDX file: EOFError")
    packed.write_bytes(content)
    fails(packed, "not a readable IDX file: BadGzipFile")
    packed.write_bytes(gzip.compress(content)[:60] + b"x" * 300)
    fails(packed, "not a readable IDX file")
    plain.write_bytes(idx_bytes(np.arange(30)))
    fails(plain, r"rows \(N, D\) or images .* got shape \(30,\)")


def test_damaged_numpy_files(tmp_path):
    npy, npz = tmp_path / "a.npy", tmp_path / "a.npz"
    for path in (npy, npz):
        path.write_bytes(b"")
        fails(path, f"a{path.suffix} is not a readable")
        path.write_bytes(b"this is text, not numbers")
        fails(path, f"a{path.suffix} is not a readable")
    np.save(npy, images())
    npy.write_bytes(npy.read_bytes()[:-10])
    fails(npy, "not a readable .npy file")
    np.savez_compressed(npz, a=images())
    whole = npz.read_bytes()
    npz.write_bytes(whole[:-30])
    fails(npz, "not a readable .npz file")
    npz.write_bytes(whole[:100] + b"\1\2\3\4" + whole[104:])
    fails(npz, "not a readable .npz file")
    np.savez(npz)
    fails(npz, "holds 0 arrays")
    with open(npy, "wb") as file:
        np.savez(file, a=images())
    fails(npy, "an .npz archive under the name of an .npy file")
    with open(npz, "wb") as file:
        np.save(file, images())
    fails(npz, "an .npy file under the name of an .npz archive")
    fails(f"{npy}:a", "only .npz and .mat files hold named arrays")


def test_a_member_of_an_npz_file_that_is_no_array_is_named(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes", b"kept at 4 degrees")
    fails(path, r"a\.npz:notes is no array")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.float64(3), r"got shape \(\)"),
        (np.arange(30.0), r"got shape \(30,\)"),
        (np.zeros((20, 2, 2, 2, 2)), r"got shape \(20, 2, 2, 2, 2\)"),
        (np.zeros((0, 5)), r"empty, shape \(0, 5\)"),
        (np.zeros((20, 0)), r"empty, shape \(20, 0\)"),
        (
            np.random.default_rng(0).random((9, 5)),
            "at least 10 rows are needed, got 9: standard errors want 2 rows each",
        ),
        (np.full((20, 5), 0.1), "all training values are 0.1: zero variance"),
        (np.full((20, 5), True), "all training values are True: zero variance"),
        (np.where(np.eye(20) > 0, np.nan, 1.0), "20 of 400 values are NaN, infinite"),
        (np.where(np.eye(20) > 0, -np.inf, 1.0), "20 of 400 values are NaN, infinite"),
        (np.eye(20) * 1j, "values must be numbers, got dtype complex128"),
        (np.full((20, 5), "a"), "values must be numbers, got dtype <U1"),
        (np.full((20, 5), None), "Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    fails(tmp_path / "a.npy", f"a.npy.*{message}")
    fails(tmp_path / "a.npy", f"a.npy.*{message}", pixels="binary")


def test_train_and_test_must_match(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=images(), x_test=images()[:, :, :4])
    fails(path, r"train rows have shape \(4, 5\), test rows \(4, 4\)")
    np.savez(path, x_train=images(), x_test=np.full((5, 4, 5), np.nan))
    fails(path, r"\(test\): 100 of 100 values are NaN")
    np.savez(path, x_train=images(), x_test=images(0))
    fails(path, r"\(test\): empty")


@pytest.mark.parametrize(
    "name", ["", "no_such_set", "missing.npz", "missing.npz:a", "\0", "x" * 999]
)
def test_unknown_names_list_what_is_allowed(name):
    allowed = (
        "natural, bsds, textures, mnist, fashion_mnist, omniglot, cifar10, sprites, or the path of "
        "a .npy, .npz, .mat"
    )
    fails(name, f"unknown dataset .* allowed: {allowed}")


def test_other_bad_paths(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    fails(tmp_path / "a.csv", "a.csv is of no known kind; allowed: .npy, .npz, .mat, .pkl, IDX")
    fails(
        "natural", "data_dir names .*nowhere, which is not a folder", data_dir=tmp_path / "nowhere"
    )


def test_the_data_folder_of_the_environment_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "nowhere"))
    fails("natural", "PYRO_VAE_DATA names .*nowhere, which is not a folder")


@pytest.mark.parametrize(
    "array",
    [images(400), images(400) / 255, (images(400) / 255).astype(np.float32)],
    ids=["bytes", "double", "float"],
)
def test_binary_pixels_have_the_grey_level_as_mean(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    for binarise in ("static", "epoch", "access"):
        data = load_dataset(tmp_path / "a.npy", pixels="binary", binarise=binarise)
        assert data.pixels == "binary"
        binary = [data.valid, data.test] + ([data.train] if binarise == "static" else [])
        for rows in binary:
            assert set(rows.unique().tolist()) == {0.0, 1.0}
        grey = load_dataset(tmp_path / "a.npy", pixels="binary", binarise="epoch").train
        assert 0 <= grey.min() <= grey.max() <= 1
        assert len(grey.unique()) > 100
        drawn = torch.cat(list(Batches(data.train, 64, seed=0, binarise=binarise).epoch(0)))
        assert set(drawn.unique().tolist()) == {0.0, 1.0}
        error = (grey * (1 - grey)).mean(0).div(len(grey)).sqrt()
        assert ((drawn.mean(0) - grey.mean(0)).abs() < 5 * error).all()


def test_held_out_rows_are_binarised_once_per_seed(tmp_path):
    np.save(tmp_path / "a.npy", images())
    first, again = (
        load_dataset(tmp_path / "a.npy", pixels="binary", binarise=b) for b in ("static", "access")
    )
    assert torch.equal(first.valid, again.valid)
    assert torch.equal(first.test, again.test)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_zeros_and_ones_of_any_type_are_binary_pixels(tmp_path, dtype):
    pixels = images(high=2)
    np.savez(tmp_path / "a.npz", x_train=pixels.astype(dtype), x_test=pixels.astype(dtype))
    data = load_dataset(tmp_path / "a.npz", pixels="binary")
    assert torch.equal(data.test, torch.from_numpy(pixels.reshape(40, -1)).float())


def test_binary_pixels_out_of_range(tmp_path):
    np.save(tmp_path / "a.npy", images() / 100)
    fails(tmp_path / "a.npy", r"needs values in \[0, 1\] .* got 0 to 2.5", pixels="binary")
    np.save(tmp_path / "a.npy", images().astype(np.int32))
    fails(tmp_path / "a.npy", r"got 0 to 255", pixels="binary")
    np.save(tmp_path / "a.npy", images() / 255 - 0.5)
    fails(tmp_path / "a.npy", r"got -0.5 to 0.5", pixels="binary")


def test_huge_and_tiny_values(tmp_path):
    path = tmp_path / "a.npy"
    for size in (1e-30, 1.0, 1e34):
        np.save(path, size * images())
        assert load_dataset(path).train.std() == pytest.approx(1, abs=0.01)
    np.save(path, 1e200 * (1.0 + images()))
    fails(path, "800 of 800 values are NaN, infinite or beyond float32")
    np.save(path, 1e-200 * images())
    fails(path, "training values vary by 0 only: zero variance")
