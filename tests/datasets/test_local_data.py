"""The real files, where a data folder is at hand."""

import os
from pathlib import Path

import pytest
import torch

from pyro_vae.datasets import load_dataset
from pyro_vae.datasets.cutting import PatchSettings
from pyro_vae.datasets.patches import PatchPipeline
from pyro_vae.datasets.photographs import bsds_photographs
from pyro_vae.errors import InputError


@pytest.fixture(scope="module")
def data_dir():
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("PYRO_VAE_DATA") or beside)
    if not folder.is_dir():
        pytest.skip("no data folder: set PYRO_VAE_DATA")
    return folder


def need(folder, file):
    if not (folder / file).exists():
        pytest.skip(f"{file} is not in the data folder")


def test_mnist_counts_of_burda(data_dir):
    need(data_dir, "mnist.npz")
    data = load_dataset("mnist", data_dir=data_dir, pixels="binary")
    assert [tuple(s.shape) for s in (data.train, data.valid, data.test)] == [
        (59_600, 784),
        (400, 784),
        (10_000, 784),
    ]
    assert torch.bincount(data.labels["test"]).tolist()[:3] == [980, 1135, 1032]
    # Drawn once, the test set has the mean of its grey levels, known from the archive.
    assert data.test.mean().item() == pytest.approx(
        0.1325, abs=5 * (0.1 / data.test.numel()) ** 0.5
    )


def test_idx_and_npz_of_mnist_agree(data_dir):
    need(data_dir, "mnist.npz")
    need(data_dir, "mnist-idx")
    from_npz = load_dataset(f"{data_dir / 'mnist.npz'}:x_test")
    from_idx = load_dataset(data_dir / "mnist-idx" / "t10k-images-idx3-ubyte.gz")
    assert torch.equal(from_npz.train, from_idx.train)


def test_omniglot_small(data_dir):
    need(data_dir, "omniglot_small.npz")
    data = load_dataset("omniglot", data_dir=data_dir)
    assert len(data.train) + len(data.valid) == 3630
    assert len(data.labels["train"].unique()) == 242


def test_cifar10_and_what_is_said_of_it(data_dir):
    need(data_dir, "cifar10.npz")
    data = load_dataset("cifar10", data_dir=data_dir, pixels="levels", image_size=16)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [8_500, 1_500, 2_000]
    assert data.channels_first == (3, 16, 16)
    assert torch.bincount(data.labels["test"]).tolist() == [200] * 10
    assert data.label_names[3] == "cat"
    assert "JPEG" in data.info["caveat"]
    assert "not comparable" in data.description
    # Whole levels; blue of ships and planes is above red, that of frogs and deer below.
    levels = 255 * data.test
    assert (levels - levels.round()).abs().max() < 1e-4
    red, _, blue = data.test.reshape(2_000, 3, 256).mean(2).T
    sky = torch.isin(data.labels["test"], torch.tensor([0, 8]))
    assert (blue - red)[sky].mean() > 0.02 > 0 > (blue - red)[~sky].mean()


def test_bsds(data_dir):
    need(data_dir, "bsds500_gray.npz")
    data = load_dataset("bsds", data_dir=data_dir, num_train=4000, num_valid=200, num_test=1000)
    photographs = data.info["photographs"]
    assert [len(photographs[s]) for s in ("train", "valid", "test")] == [180, 20, 100]
    # Photographs alike in kind: the scale fitted on train nearly fits the test.
    assert data.test.std() == pytest.approx(1, abs=0.1)
    assert 0.95 < data.info["variance_kept"] < 1


def test_the_radial_filter_leaves_pi_over_4_of_the_dimensions_of_bsds(data_dir):
    need(data_dir, "bsds500_gray.npz")
    photographs = bsds_photographs(data_dir).train[::6]
    settings = PatchSettings(whiten="radial", components=400, num_train=6000)
    variances = PatchPipeline.fit(photographs, settings).whitening.eigenvalues
    share = variances.cumsum(0) / variances.sum()
    assert 305 <= 1 + int((share < 0.999).sum()) <= 320


def test_mnist_called_fashion_mnist_is_noticed(data_dir, tmp_path):
    need(data_dir, "mnist-idx")
    (tmp_path / "fashion_mnist").symlink_to(data_dir / "mnist-idx")
    with pytest.raises(InputError, match="holds the images of mnist, not of fashion_mnist"):
        load_dataset("fashion_mnist", data_dir=tmp_path)
