"""The published patch files are read, and nothing that a pickle holds can run."""

import functools
import os
import pickle
import re
import warnings

import numpy as np
import pytest
import torch

from pyro_vae.datasets import load_dataset
from pyro_vae.datasets.safe_pickle import load_array_pickle
from pyro_vae.errors import InputError

PROTOCOLS = [2, 3, 4, 5]


def patch_file(rows=60, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.normal(size=(rows, 400)).astype(dtype),
        "train_labels": np.arange(rows) % 5,
        "test_images": rng.normal(size=(20, 400)).astype(dtype),
        "test_labels": np.arange(20) % 5,
    }


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def write_as(path, content, protocol, core, monkeypatch):
    """Pickle with the module names of NumPy 1 (``numpy.core``) or NumPy 2 (``numpy._core``)."""
    ours = pickle.whichmodule

    def theirs(obj, name):
        return re.sub(r"^numpy\._?core", core, ours(obj, name))

    monkeypatch.setattr(pickle, "whichmodule", theirs)
    with open(path, "wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 2 on the names of NumPy 1
        pickle._Pickler(file, protocol).dump(content)
    monkeypatch.undo()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("core", ["numpy._core", "numpy.core"])
def test_patch_files_are_used_as_they_are(tmp_path, protocol, core, monkeypatch):
    content, path = patch_file(), tmp_path / "patches.pkl"
    write_as(path, content, protocol, core, monkeypatch)
    assert core.encode() in path.read_bytes()
    data = load_dataset(str(path))
    assert torch.equal(data.train, torch.from_numpy(content["train_images"][:54]))
    assert torch.equal(data.valid, torch.from_numpy(content["train_images"][54:]))
    assert torch.equal(data.test, torch.from_numpy(content["test_images"]))
    assert data.labels["valid"].tolist() == content["train_labels"][54:].tolist()
    assert data.image_shape == (20, 20)
    assert data.pixels == "standardised"


@pytest.mark.parametrize("protocol", [0, 1, *PROTOCOLS])
@pytest.mark.parametrize(
    "content",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(20)[::3],
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(4, dtype=">i2"),
        np.array(["a", "bc"]),
        np.zeros((0, 4)),
        np.float32(2.5),
        [np.int64(3), "text", b"\xff\x00", None, True, (1, 2.5)],
    ],
    ids=str,
)
def test_arrays_scalars_and_containers_round_trip(tmp_path, protocol, content):
    read = load_array_pickle(write(tmp_path / "a.pkl", content, protocol))
    assert np.array_equal(read, content) if not isinstance(content, list) else read == content


class Runs:
    """What pickle.load would turn into a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, protocol, nested):
    trace = tmp_path / "it_ran"
    attack = Runs(os.mkdir, str(trace))
    content = {**patch_file(), "train_labels": [1, attack]} if nested else attack
    path = write(tmp_path / "a.pkl", content, protocol)
    with pytest.raises(InputError, match=r"names (posix|nt|os).mkdir.* not run"):
        load_dataset(str(path))
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # the attack was a real one


@pytest.mark.parametrize(
    "attack",
    [
        Runs(eval, "1"),
        Runs(getattr, np.ndarray, "tofile"),
        Runs(np.load, "x.npy"),
        Runs(np.memmap, "x", "u1", "w+"),
        Runs(functools.partial, print),
        Runs(__import__, "os"),
        np.ma.zeros(3),
        np.random.default_rng(0),
        torch.zeros(2),
        np.testing.assert_equal,
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_every_other_name_is_refused(tmp_path, attack):
    with pytest.raises(InputError, match=r"a.pkl names \S+, which no pickle of NumPy arrays needs"):
        load_array_pickle(write(tmp_path / "a.pkl", attack))


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x02cnumpy\nndarray.tofile\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        # BUILD with a state that sets attributes: on an allowed function, on a type.
        b"\x80\x02c_codecs\nencode\nN}X\x09\0\0\0_functionNs\x86b.",
        b"\x80\x02c_codecs\nencode\n}X\x09\0\0\0_functionNsb.",
        b"\x80\x02cnumpy\nndarray\nN}X\x04\0\0\0dumpNs\x86b.",
        b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x05\0\0\0rot13\x86R.",
        b"\x80\x02X\x01\0\0\0aQ.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_hand_made_pickles_get_no_further(tmp_path, code):
    (tmp_path / "a.pkl").write_bytes(code)
    with pytest.raises(InputError, match=r"a\.pkl"):
        load_array_pickle(tmp_path / "a.pkl")
    assert load_array_pickle(write(tmp_path / "b.pkl", b"\xff", 2)) == b"\xff"


class ForgedDtype:
    """An integer dtype whose flags say that its values are the addresses of objects."""

    def __reduce__(self):
        return np.dtype, ("i8", False, True), (3, ">", None, None, None, -1, -1, 63)


def test_a_forged_dtype_state_counts_for_nothing_but_its_byte_order(tmp_path):
    from_buffer = np.zeros(1).__reduce_ex__(5)[0]
    address = (1).to_bytes(8, "big")
    path = write(tmp_path / "a.pkl", Runs(from_buffer, address, ForgedDtype(), (1,), "C"))
    read = load_array_pickle(path)
    assert read.dtype == np.dtype(">i8")
    assert not read.dtype.hasobject
    assert read.tolist() == [1]


def test_an_array_with_too_little_content(tmp_path):
    rebuild, arguments, state = np.arange(6.0).reshape(2, 3).__reduce__()
    short = (*state[:4], state[4][:-8])
    for wrong in (short, (*state[:4], 7), (*state[:4], [1.0] * 6), state[:3]):
        attack = Runs(rebuild, *arguments)
        attack.call = (rebuild, arguments, wrong)
        with pytest.raises(InputError, match=r"a\.pkl is not a readable pickle"):
            load_array_pickle(write(tmp_path / "a.pkl", attack))


def test_damaged_pickles(tmp_path):
    whole = write(tmp_path / "a.pkl", patch_file()).read_bytes()
    for content in (b"", b"no pickle", whole[:50], whole[: len(whole) // 2], whole[:-1]):
        (tmp_path / "a.pkl").write_bytes(content)
        with pytest.raises(InputError, match=r"a.pkl is not a readable pickle of NumPy arrays"):
            load_dataset(str(tmp_path / "a.pkl"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_images": np.zeros((60, 20, 20))},
            r"train_images must be rows \(N, D\), got shape",
        ),
        ({"train_images": np.zeros((60, 400))}, "all training values are 0.0: zero variance"),
        ({"train_images": np.full((60, 400), np.nan)}, "24000 of 24000 values are NaN"),
        ({"test_images": np.zeros((5, 81))}, "train rows have shape"),
        ({"test_images": [[1, 2], [3]]}, "not a readable patch file"),
        ({"test_images": np.array([[None]])}, "dtype 'O8' is not one of plain numbers or text"),
        ({"test_images": np.zeros((2, 400), "i4,f4")}, "dtype 'V8' is not one of plain"),
        ({"test_images": [["a", "b"]]}, "values must be numbers, got dtype <U1"),
        ({"train_labels": np.zeros(3)}, r"labels of shape \(3,\) for 60 rows"),
    ],
)
def test_bad_patch_files(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(str(write(tmp_path / "a.pkl", {**patch_file(), **change})))
    assert str(tmp_path / "a.pkl") in str(caught.value)


def test_pickles_that_are_no_patch_files(tmp_path):
    content = {key: [1] for key in ("train_images", "train_labels")}
    with pytest.raises(InputError, match="test_images, test_labels missing"):
        load_dataset(str(write(tmp_path / "a.pkl", content)))
    with pytest.raises(InputError, match="a dict with train_images"):
        load_dataset(str(write(tmp_path / "a.pkl", np.zeros((60, 400)))))
    with pytest.raises(InputError, match="Gaussian likelihood"):
        load_dataset(str(write(tmp_path / "a.pkl", patch_file())), pixels="binary")
