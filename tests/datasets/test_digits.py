"""MNIST and its kin: local files first, else a download that is checked, never a traceback."""

import gc
import gzip
import hashlib
import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae.datasets import DATASETS, PIXEL_SPACES, Dataset, cifar, digits, load_dataset
from pyro_vae.errors import InputError
from tests.datasets.test_files import idx_bytes

DIGITS = ("mnist", "fashion_mnist", "omniglot")
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nothing listens


@pytest.fixture(autouse=True)
def _away_from_the_network(tmp_path, monkeypatch):
    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for module in (digits, cifar):
        monkeypatch.setattr(module, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(cifar, "URL", NOWHERE + cifar.ARCHIVE)
    monkeypatch.setattr(
        digits, "DOWNLOADS", {name: (NOWHERE, f) for name, (_, f) in digits.DOWNLOADS.items()}
    )
    yield
    # requests leaves the socket of a refused connection to the garbage collector, which warns.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def arrays(train=2100, test=30):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (train, 28, 28), dtype=np.uint8),
        "y_train": np.arange(train) % 10,
        "x_test": rng.integers(0, 256, (test, 28, 28), dtype=np.uint8),
        "y_test": np.arange(test) % 10,
    }


def write_idx(folder, content, suffix=""):
    folder.mkdir(exist_ok=True, parents=True)
    names = zip(("x_train", "y_train", "x_test", "y_test"), digits.IDX_FILES.values(), strict=True)
    for key, file in names:
        data = idx_bytes(content[key])
        (folder / f"{file}{suffix}").write_bytes(gzip.compress(data) if suffix else data)


def register(monkeypatch, name, folder, url):
    sums = {f.name: hashlib.md5(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}
    monkeypatch.setitem(digits.DOWNLOADS, name, (url, sums))


def is_of(data, content):
    rows = data.train * data.info["scale"] + data.info["mean"]
    expected = torch.from_numpy(content["x_train"][: len(rows)].reshape(len(rows), -1))
    return torch.equal(rows.round().byte(), expected) and data.image_shape == (28, 28)


def test_npz_in_the_data_folder_and_the_last_400_are_valid(tmp_path, monkeypatch):
    np.savez(tmp_path / "mnist.npz", **arrays())
    data = load_dataset("mnist", data_dir=tmp_path)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [1700, 400, 30]
    assert is_of(data, arrays())
    assert data.labels["valid"].tolist() == arrays()["y_train"][1700:].tolist()
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    assert torch.equal(load_dataset("mnist").train, data.train)
    binary = load_dataset("mnist", pixels="binary")
    assert set(binary.test.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("place", ["", "mnist", "mnist-idx"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_in_the_data_folder_or_below(tmp_path, place, suffix):
    write_idx(tmp_path / place, arrays(), suffix)
    assert is_of(load_dataset("mnist", data_dir=tmp_path), arrays())


def test_labels_are_optional_and_images_are_not(tmp_path):
    write_idx(tmp_path, arrays())
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert load_dataset("mnist", data_dir=tmp_path).labels is None
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(InputError, match="lacks t10k-images-idx3-ubyte"):
        load_dataset("mnist", data_dir=tmp_path)
    np.savez(tmp_path / "mnist.npz", x_train=arrays()["x_train"])
    with pytest.raises(InputError, match=r"mnist.npz must hold x_train and x_test"):
        load_dataset("mnist", data_dir=tmp_path)


def test_a_subfolder_goes_before_the_folder_that_two_sets_share(tmp_path):
    write_idx(tmp_path, arrays())
    fashion = {**arrays(), "x_train": 255 - arrays()["x_train"]}
    write_idx(tmp_path / "fashion_mnist", fashion)
    assert is_of(load_dataset("fashion_mnist", data_dir=tmp_path), fashion)
    assert is_of(load_dataset("mnist", data_dir=tmp_path), arrays())


def test_omniglot_small_holds_out_drawings_of_every_character(tmp_path):
    content = {**arrays(3630), "y_train": np.repeat(np.arange(242), 15)}
    np.savez(tmp_path / "omniglot_small.npz", **content)
    data = load_dataset("omniglot", data_dir=tmp_path)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [3230, 400, 30]
    assert len(data.labels["train"].unique()) == 242
    assert len(data.labels["valid"].unique()) > 150
    other_seed = load_dataset("omniglot", data_dir=tmp_path, seed=5)
    assert torch.equal(other_seed.valid, data.valid)


def test_download_is_checked_cached_and_read(server, tmp_path, monkeypatch):
    folder, url = server
    write_idx(folder, arrays(), ".gz")
    register(monkeypatch, "mnist", folder, url)
    assert is_of(load_dataset("mnist"), arrays())
    # The second time there is no network, nor a need for it; an empty data folder changes nothing.
    monkeypatch.setitem(digits.DOWNLOADS, "mnist", (NOWHERE, digits.DOWNLOADS["mnist"][1]))
    assert is_of(load_dataset("mnist", data_dir=folder.parent), arrays())


def test_wrong_checksum(server, monkeypatch):
    folder, url = server
    write_idx(folder, arrays(), ".gz")
    monkeypatch.setitem(digits.DOWNLOADS, "mnist", (url, digits.DOWNLOADS["mnist"][1]))
    fails_to_download("mnist", url + "train-images-idx3-ubyte.gz", "hash")


def test_missing_on_the_server(server, monkeypatch):
    _, url = server
    monkeypatch.setitem(digits.DOWNLOADS, "mnist", (url, digits.DOWNLOADS["mnist"][1]))
    fails_to_download("mnist", url + "train-images-idx3-ubyte.gz", "404")


@pytest.mark.parametrize("name", DIGITS)
def test_no_network(name):
    first = next(iter(digits.DOWNLOADS[name][1]))
    fails_to_download(name, NOWHERE + first, "(no connection: Connection refused)")


def test_no_room_for_the_cache(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    fails_to_download("mnist", NOWHERE, "cache")


def fails_to_download(name, url, reason):
    with pytest.raises(InputError) as caught:
        load_dataset(name)
    message = str(caught.value)
    assert f"could not download {url}" in message
    assert reason in message
    assert str(Path("cache") / name) in message
    assert "--data-dir" in message
    assert "\n" not in message


def drawing(size=105):
    """A PNG as Omniglot's: black strokes on white, one bit deep; here, its left half is ink."""
    paper = np.ones((size, size), bool)
    paper[:, : size // 2] = False
    file = io.BytesIO()
    Image.fromarray(paper).save(file, "png")
    return file.getvalue()


def write_omniglot(folder, png):
    for part, alphabet in (("background", "Greek"), ("evaluation", "Tengwar")):
        with zipfile.ZipFile(folder / f"images_{part}.zip", "w") as archive:
            for character in (1, 2):
                for number in range(1, 21):
                    name = f"images_{part}/{alphabet}/character{character:02}/0399_{number:02}.png"
                    archive.writestr(name, png)


def test_omniglot_download(server, monkeypatch):
    folder, url = server
    write_omniglot(folder, drawing())
    register(monkeypatch, "omniglot", folder, url)
    data = load_dataset("omniglot", pixels="binary")
    assert [len(s) for s in (data.train, data.valid, data.test)] == [48, 12, 20]
    assert torch.bincount(data.labels["test"]).tolist() == [5] * 4
    image = data.train[0].reshape(28, 28)
    # 52 of 105 columns are ink, so 13.87 of 28; white on black.
    assert (image[:, :13] == 1).all()
    assert (image[:, 14:] == 0).all()
    assert image[:, 13].unique().tolist() == pytest.approx([13.0 / 15], abs=1 / 255)


@pytest.mark.parametrize("content", [b"no png", b""])
def test_damaged_omniglot(tmp_path, content):
    write_omniglot(tmp_path, content)
    with pytest.raises(InputError, match=r"images_background.zip is not a readable Omniglot"):
        load_dataset("omniglot", data_dir=tmp_path)
    (tmp_path / "images_background.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"images_background.zip is not a readable Omniglot"):
        load_dataset("omniglot", data_dir=tmp_path)


def test_an_archive_of_omniglot_without_drawings_is_named(tmp_path):
    write_omniglot(tmp_path, drawing())
    with zipfile.ZipFile(tmp_path / "images_evaluation.zip", "w") as archive:
        archive.writestr("images_evaluation/readme.txt", "no drawing")
    with pytest.raises(InputError, match=r"images_evaluation\.zip holds no drawings \(\.png\)"):
        load_dataset("omniglot", data_dir=tmp_path)


@pytest.mark.parametrize("pixels", PIXEL_SPACES)
@pytest.mark.parametrize("name", DATASETS)
def test_every_name_is_a_dataset_or_one_clear_line_without_a_network(name, pixels):
    options = {"pixels": pixels, "num_train": 500, "num_valid": 20, "num_test": 20}
    bundled = name in ("natural", "textures") and pixels == "standardised"
    if not (bundled or name == "sprites"):
        with pytest.raises(InputError) as caught:
            load_dataset(name, **options)
        assert "\n" not in str(caught.value)
        return
    data = load_dataset(name, **options)
    assert isinstance(data, Dataset)
    assert data.name == name
    assert torch.isfinite(data.train).all()
    json.dumps(data.info)


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("{0}.idx{1}-ubyte", ""),
        ("{0}.idx{1}-ubyte", ".gz"),
        ("{0}-idx{1}-ubyte/{0}-idx{1}-ubyte", ""),
    ],
)
def test_idx_files_under_their_other_names(tmp_path, name, packed):
    write_idx(tmp_path, arrays(), packed)
    for file in digits.IDX_FILES.values():
        stem, _, axes = file.removesuffix("-ubyte").partition("-idx")
        new = tmp_path / "moved" / (name.format(stem, axes) + packed)
        new.parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / f"{file}{packed}").rename(new)
    (tmp_path / "moved").rename(tmp_path / "mnist")
    data = load_dataset("mnist", data_dir=tmp_path)
    assert is_of(data, arrays())
    assert data.labels is not None


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion_mnist", "FashionMNIST/raw"),
        ("fashion_mnist", "fashion-mnist"),
    ],
)
def test_folders_of_keras_and_torchvision(tmp_path, name, folder):
    write_idx(tmp_path / folder, arrays())
    assert is_of(load_dataset(name, data_dir=tmp_path), arrays())


@pytest.mark.parametrize(
    ("name", "other"), [("mnist", "fashion_mnist"), ("fashion_mnist", "mnist")]
)
@pytest.mark.parametrize("kind", ["idx", "npz"])
def test_one_set_under_the_name_of_the_other_is_noticed(tmp_path, monkeypatch, name, other, kind):
    content = hashlib.md5(idx_bytes(arrays()["x_train"])).hexdigest()
    monkeypatch.setattr(digits, "UNPACKED", {content: other})
    if kind == "idx":
        write_idx(tmp_path / name, arrays(), ".gz")
    else:
        np.savez(tmp_path / f"{name}.npz", **arrays())
    with pytest.raises(InputError, match=f"holds the images of {other}, not of {name}: keep"):
        load_dataset(name, data_dir=tmp_path)
    monkeypatch.setattr(digits, "UNPACKED", {content: name})
    assert is_of(load_dataset(name, data_dir=tmp_path), arrays())


@pytest.mark.parametrize("option", ["patch_size", "image_shape"])
def test_digits_refuse_what_they_have_no_use_for(option):
    value = {"patch_size": 8, "image_shape": (28, 28)}[option]
    with pytest.raises(InputError, match=f"{option} is for .*, not for mnist"):
        load_dataset("mnist", **{option: value})
