"""Rows that stay in their file, or come from a loader: the batches of the same rows in memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

import pyro_vae
from pyro_vae.datasets import Batches, arrays, files, load_dataset
from pyro_vae.datasets.far_rows import FileRows, rows_of_loader
from pyro_vae.errors import InputError
from tests.conftest import tiny_pair
from tests.test_docs import DOCS
from tests.test_docs import run as run_page

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Colour images of bytes, an odd number of them."""
    path = tmp_path_factory.mktemp("far") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (203, 4, 5, 3), dtype=np.uint8))
    return path


@pytest.fixture
def in_place(monkeypatch):
    """Every .npy file is read in place from here on."""
    return lambda: monkeypatch.setattr(files, "IN_PLACE_FROM", 0)


@pytest.mark.parametrize("pixels", ["standardised", "binary", "levels"])
def test_batches_are_those_of_the_same_rows_in_memory(pixels, stored, in_place):
    near = load_dataset(stored, pixels=pixels, seed=3)
    in_place()
    far = load_dataset(stored, pixels=pixels, seed=3)
    assert isinstance(far.train, FileRows)
    assert far.info == near.info
    assert far.description == near.description
    for split in ("valid", "test", "train_in_memory"):
        assert torch.equal(getattr(far, split), getattr(near, split))
    drawn = "access" if pixels == "binary" else None
    one, other = (Batches(d.train, 17, seed=1, binarise=drawn) for d in (near, far))
    for epoch, start in ((0, 0), (2, 4)):
        pairs = list(zip(one.epoch(epoch, start), other.epoch(epoch, start), strict=True))
        assert len(pairs) == len(one) - start
        assert all(torch.equal(*pair) for pair in pairs)


def test_few_rows_of_a_file_are_held_out(stored, in_place, monkeypatch):
    in_place()
    monkeypatch.setattr(arrays, "MOST_HELD_OUT", 7)
    data = load_dataset(stored)
    assert data.info["counts"] == {"train": 189, "valid": 7, "test": 7}


def test_other_rows_of_a_file_have_another_fingerprint(stored, tmp_path, in_place):
    in_place()
    before = load_dataset(stored)
    changed = np.load(stored)
    changed[100] += 1
    np.save(tmp_path / "changed.npy", changed)
    after = load_dataset(tmp_path / "changed.npy")
    assert before.fingerprint.agrees(load_dataset(stored).fingerprint)
    assert not before.fingerprint.agrees(after.fingerprint)


def test_what_wants_all_rows_at_once_is_refused(stored, in_place):
    in_place()
    data = load_dataset(stored)
    with pytest.raises(InputError, match="rows are not in memory; take some"):
        pyro_vae.evaluation.log_likelihood(*tiny_pair(num_pixels=60), data.train)
    with pytest.raises(InputError, match="read in place, and its images are taken as they are"):
        load_dataset(stored, image_size=2)
    with pytest.raises(InputError, match="drawn per access only"):
        load_dataset(stored, pixels="binary", binarise="static")
    with pytest.raises(InputError, match="draws all rows at once"):
        Batches(load_dataset(stored, pixels="binary").train, 9, seed=0, binarise="epoch")
    with pytest.raises(InputError, match="needs pixels in"):
        next(Batches(data.train, 9, seed=0, binarise="access").epoch(0))


def test_damaged_files_are_named_where_they_are_read_in_place(stored, tmp_path, in_place):
    in_place()
    (tmp_path / "cut.npy").write_bytes(stored.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"cut\.npy is not a readable \.npy file"):
        load_dataset(tmp_path / "cut.npy")
    values = np.zeros((30, 4), np.float32)
    values[21, 2] = np.nan
    np.save(tmp_path / "nan.npy", values)
    with pytest.raises(InputError, match="1 of 120 values are NaN"):
        load_dataset(tmp_path / "nan.npy")


# Trains on a sparse file with hardly more memory than the libraries themselves have taken.
LIMITED = """
import resource, sys
import pyro_vae
from pyro_vae.datasets import files, load_dataset

def train(data):
    pair = pyro_vae.PairConfig(latent=(2, 2), hidden=("4",)).build(data.train.shape[1])
    settings = dict(batch_size=50, objective="elbo", compile=False, precision="float32")
    return pyro_vae.fit(*pair, data.train, valid=data.valid[:5], epochs=1, max_minutes=1e-9,
                        progress=False, **settings)

path, place, spare = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
train(load_dataset(path.replace("large.npy", "small.npy")))
files.IN_PLACE_FROM = place
taken = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData"))
limit = (taken << 10) + spare
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
data = load_dataset(path)
print(train(data).steps, data.info["counts"]["train"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux has them")
def test_a_file_larger_than_the_memory_limit_is_trained_on(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "small.npy", rng.random((60, 8, 8)).astype(np.float32))
    size = (600_000, 8, 8)  # 154 MB, of which little is on disk
    stored = np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, size)
    stored[::60_000] = rng.random((10, 8, 8))
    stored.flush()
    assert os.stat(tmp_path / "large.npy").st_blocks * 512 < 5 << 20

    def train(place):
        words = [tmp_path / "large.npy", place, 64 << 20]
        return subprocess.run(
            [sys.executable, "-c", LIMITED, *map(str, words)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    done = train(1 << 20)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "580000"]
    loaded = train(1 << 40)
    assert loaded.returncode == 1
    assert "Unable to allocate" in loaded.stderr


def test_a_loader_trains_as_its_rows_do():
    rows = torch.randn(45, 6)
    images = TensorDataset(rows.reshape(45, 2, 3), torch.arange(45))

    def train(given):
        model, guide = tiny_pair(levels=1, num_pixels=6)
        settings = {"epochs": 2, "batch_size": 10, "progress": False, "compile": False}
        return pyro_vae.fit(model, guide, given, valid=rows[:9], **settings).history[1:]

    loader = DataLoader(images, batch_size=10, shuffle=True)
    before = torch.get_rng_state()
    assert train(loader) == train(rows)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_load_the_same_batches():
    rows = torch.randn(23, 4)
    loader = DataLoader(TensorDataset(rows), batch_size=5, num_workers=1)
    far = Batches(rows_of_loader(loader, 5, lambda batch: batch), 5, seed=2)
    near = Batches(rows, 5, seed=2)
    for one, other in zip(near.epoch(1, 2), far.epoch(1, 2), strict=True):
        assert torch.equal(one, other)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.zeros(9, 6))


@pytest.mark.parametrize(
    ("loader", "match"),
    [
        (DataLoader(Stream(), batch_size=10), "Stream can only be gone through"),
        (DataLoader(torch.zeros(9, 6), batch_size=4), "batches of 4, fit of 10; give batch_size=4"),
        (
            DataLoader(torch.zeros(9, 6), batch_size=10, sampler=WeightedRandomSampler([1.0], 3)),
            "leave the loader's WeightedRandomSampler out",
        ),
    ],
)
def test_loaders_that_cannot_be_gone_through_again_are_refused(loader, match):
    with pytest.raises(InputError, match=match):
        pyro_vae.fit(*tiny_pair(levels=1), loader, batch_size=10, progress=False)


def test_the_page_on_data_runs(capsys):
    run_page(DOCS / "data.md")
    assert capsys.readouterr().out.strip().endswith("6")
