"""Arrays of photographs cut into patches, MATLAB files, flat rows given a shape, few rows."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from pyro_vae.datasets import load_dataset
from pyro_vae.errors import InputError
from tests.datasets.test_preprocessing import pictures

SMALL = {"components": 20, "num_train": 300, "num_valid": 20, "num_test": 30}
CUT = {"patch_size": 6, **SMALL}


def fails(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(str(path), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("kind", ["npy", "npz", "mat"])
def test_a_stack_is_cut_like_a_folder_of_the_same_photographs(tmp_path, colour, kind):
    stack = pictures(colour, count=10)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index, picture in enumerate(stack):
        Image.fromarray(picture).save(folder / f"{index}.png")
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, stack)
    elif kind == "npz":
        np.savez(path, images=stack, other=stack[:1])
        path = f"{path}:images"
    else:
        savemat(path, {"images": np.moveaxis(stack, 0, -1)})
    own, data = load_dataset(folder, **CUT), load_dataset(path, **CUT)
    for split in ("train", "valid", "test"):
        assert torch.equal(getattr(data, split), getattr(own, split))
    assert data.info["photographs"]["test"] == [
        f"{path.name if kind != 'npz' else 'a.npz:images'}[{name[0]}]"
        for name in own.info["photographs"]["test"]
    ]
    assert data.image_shape == (6, 6)
    json.dumps(data.info)
    # Without a patch size, the photographs are the rows.
    whole = load_dataset(path)
    assert whole.image_shape == stack.shape[1:]
    textures = load_dataset("textures", fitted_on=path, **CUT)
    assert torch.equal(textures.whitening.components, data.whitening.components)


def test_a_stack_with_a_test_set_keeps_it(tmp_path):
    stack = pictures(count=8)
    np.savez(tmp_path / "a.npz", x_train=stack[:6], x_test=stack[6:])
    photographs = load_dataset(tmp_path / "a.npz", **CUT).info["photographs"]
    assert photographs["test"] == ["a.npz:x_test[0]", "a.npz:x_test[1]"]
    assert [len(photographs[split]) for split in ("train", "valid")] == [5, 1]
    assert len({*photographs["train"], *photographs["valid"]}) == 6
    np.savez(tmp_path / "a.npz", x_train=stack[:1], x_test=stack[6:])
    fails(tmp_path / "a.npz", "holds 1 photographs for train and 2 for test; at least 2", **CUT)


def test_numbers_of_any_range_are_taken_as_they_are(tmp_path):
    stack = np.random.default_rng(0).normal(size=(4, 20, 20))
    np.save(tmp_path / "a.npy", stack)
    fails(tmp_path / "a.npy", r"must lie in \[0, 1\], got .*intensity='raw' takes", **CUT)
    data = load_dataset(tmp_path / "a.npy", intensity="raw", whiten="none", **CUT)
    back = data.preprocessing.images(data.test)
    windows = np.lib.stride_tricks.sliding_window_view(np.float32(stack), (6, 6), axis=(1, 2))
    windows = windows.reshape(-1, 36)
    nearest = [np.abs(windows - patch.ravel()).max(1).min() for patch in back[:5]]
    assert max(nearest) < 1e-5
    assert torch.allclose(data.preprocessing.rows(back), data.test, atol=1e-5)
    with pytest.raises(InputError, match="NaN or infinite"):
        data.preprocessing.rows(np.full((1, 6, 6), np.nan))


def test_stacks_that_cannot_be_cut(tmp_path):
    np.save(tmp_path / "a.npy", pictures(count=2))
    fails(tmp_path / "a.npy", "holds 2 photographs, at least 3 are needed", **CUT)
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((20, 36)))
    fails(tmp_path / "a.npy", r"photographs \(N, H, W\) or .* got shape \(20, 36\)", **CUT)
    np.save(tmp_path / "a.npy", pictures(count=4, side=5))
    fails(tmp_path / "a.npy", r"a.npy\[2\] \(5 x 5 pixels\) is smaller than patch_size 6", **CUT)
    fails(tmp_path / "a.npy", "Gaussian", pixels="binary", **CUT)
    fails(tmp_path / "a.npy", "image_shape is for", image_shape=(5, 5), **CUT)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab_files(tmp_path, version):
    rng = np.random.default_rng(0)
    images, rows = rng.random((12, 5, 4)), rng.random((20, 7))
    content = {
        "IMAGES": np.moveaxis(images, 0, -1),
        "rows": rows,
        "title": "ten photographs",
        "x_train": np.moveaxis(images, 0, -1),
    }
    path = tmp_path / "a.mat"

    def write(content):
        if version == "5":
            savemat(path, content)
            return
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, array in content.items():
                if isinstance(array, str):
                    entry = file.create_dataset(name, data=np.frombuffer(array.encode(), "u1"))
                    entry.attrs["MATLAB_class"] = np.bytes_("char")
                else:
                    array = np.atleast_2d(array)
                    file.create_dataset(name, data=array.T).attrs["MATLAB_class"] = np.bytes_(
                        {"f": "double", "i": "int64"}[array.dtype.kind]
                    )
        with open(path, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))

    write(content)
    fails(path, r"holds 3 arrays \(.*\): choose one as a.mat:NAME")
    data = load_dataset(f"{path}:IMAGES")
    assert data.image_shape == (5, 4)
    every = torch.cat([data.train, data.valid, data.test]) * data.info["scale"] + data.info["mean"]
    assert {tuple(np.round(row, 5)) for row in every.tolist()} == {
        tuple(np.round(row, 5)) for row in images.reshape(12, -1)
    }
    assert load_dataset(f"{path}:rows").image_shape == (7,)
    fails(f"{path}:title", "has no array 'title'; it has")
    labelled = {"x_test": content["x_train"], "y_train": np.arange(12), "y_test": np.arange(12)}
    write(content | labelled)
    data = load_dataset(path)
    assert data.labels["test"].tolist() == list(range(12))
    assert data.image_shape == (5, 4)
    path.write_bytes(path.read_bytes()[:700])
    fails(path, "a.mat is not a readable .mat file")


def test_matlab_7_3_without_h5py_says_what_to_do(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
    fails(tmp_path / "a.mat", "version 7.3, which h5py reads: install it, or save .* '-v7'")


def test_flat_rows_are_given_a_shape(tmp_path):
    rows = np.random.default_rng(0).random((30, 60))
    np.save(tmp_path / "a.npy", rows)
    flat = load_dataset(tmp_path / "a.npy")
    assert flat.picture_shape is None
    for shape in ((6, 10), (4, 5, 3), [3, 4, 5]):
        data = load_dataset(tmp_path / "a.npy", image_shape=shape)
        assert data.image_shape == tuple(shape)
        assert data.picture_shape is not None
        assert torch.equal(data.test, flat.test)
        assert data.preprocessing.shown(data.test).shape == (3, *data.picture_shape)
    for shape in ((6, 9), (60,), (6, 0), (5, 3, 2, 2)):
        fails(tmp_path / "a.npy", r"image_shape must be", image_shape=shape)
    np.save(tmp_path / "a.npy", rows.reshape(30, 6, 10))
    assert load_dataset(tmp_path / "a.npy", image_shape=(6, 10)).image_shape == (6, 10)
    fails(
        tmp_path / "a.npy", r"for rows of shape \(6, 10\) in .* got \(10, 6\)", image_shape=(10, 6)
    )


@pytest.mark.parametrize("rows", [10, 13, 19, 20, 21])
def test_every_held_out_split_has_two_rows(tmp_path, rows):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(rows, 12)))
    data = load_dataset(tmp_path / "a.npy")
    assert len(data.valid) == len(data.test) == 2
    assert len(data.train) == rows - 4


def test_too_few_rows_are_refused_with_the_number_wanted(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(9))
    fails(
        tmp_path / "a.npy", "at least 10 rows are needed, got 9: standard errors want 2 rows each"
    )
    rows = np.random.default_rng(0).normal(size=(40, 12))
    np.savez(tmp_path / "a.npz", x_train=rows, x_test=rows[:1])
    fails(tmp_path / "a.npz", r"\(test\): at least 2 rows are needed, got 1: standard errors")
    np.savez(tmp_path / "a.npz", x_train=rows[:12], x_test=rows[:2])
    assert len(load_dataset(tmp_path / "a.npz").valid) == 2
