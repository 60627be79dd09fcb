"""Paths in archives and links in files stay inside: nothing is written, nothing else is read."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from pyro_vae.datasets import cifar, digits, load_dataset
from pyro_vae.datasets.files import read_arrays
from pyro_vae.errors import InputError

EVIL = ["../../escaped", "/tmp/escaped", "a/../../../escaped", "..\\escaped"]
SECRET = b"nobody may read this"


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def batch():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3072), dtype=np.uint8)
    return pickle.dumps({"data": pixels, "labels": list(range(8))}, protocol=2)


def member(name, content=b"", kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, target
    return info, io.BytesIO(content)


def write_tar(path, *extra, without=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for info, content in extra:
            archive.addfile(info, content)
        for name in cifar.BATCHES:
            if name not in without:
                archive.addfile(*member(f"{cifar.FOLDER}/{name}", batch()))


def test_names_that_lead_out_of_the_archive_of_cifar10_are_no_paths(tmp_path):
    data = tmp_path / "below" / "data"
    evil = [member(name, b"evil") for name in EVIL]
    evil += [member(f"{cifar.FOLDER}/../{name}", b"evil") for name in cifar.BATCHES]
    write_tar(data / cifar.ARCHIVE, *evil)
    assert len(load_dataset("cifar10", data_dir=data).test) == 8
    assert everything(tmp_path) == [f"below/data/{cifar.ARCHIVE}"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_the_archive_of_cifar10_are_passed_over(tmp_path, kind):
    (tmp_path / "secret").write_bytes(batch())
    link = member(f"{cifar.FOLDER}/test_batch", kind=kind, target=str(tmp_path / "secret"))
    write_tar(tmp_path / cifar.ARCHIVE, link, without=("test_batch",))
    with pytest.raises(InputError, match=r"lacks cifar-10-batches-py/test_batch"):
        load_dataset("cifar10", data_dir=tmp_path)


def test_names_that_lead_out_of_the_archives_of_omniglot_are_no_paths(tmp_path):
    from PIL import Image

    picture = io.BytesIO()
    Image.fromarray(np.eye(105, dtype=np.uint8) * 255).save(picture, "PNG")
    data = tmp_path / "below" / "data"
    data.mkdir(parents=True)
    for file in digits.OMNIGLOT_FILES:
        with zipfile.ZipFile(data / file, "w") as archive:
            for name in EVIL:
                archive.writestr(f"{name}/character01/0001_01.png", picture.getvalue())
                for number in range(20):
                    archive.writestr(f"{name}/character02/0002_{number}.png", picture.getvalue())
    assert len(load_dataset("omniglot", data_dir=data).image_shape) == 2
    assert everything(tmp_path) == sorted(f"below/data/{file}" for file in digits.OMNIGLOT_FILES)


@pytest.mark.parametrize("suffix", ["zip under another name", "npz"])
def test_an_npz_file_whose_arrays_are_called_like_paths(tmp_path, suffix):
    path = tmp_path / "below" / "a.npz"
    path.parent.mkdir()
    stream = io.BytesIO()
    np.save(stream, np.ones((20, 3)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped.npy", stream.getvalue())
    assert read_arrays(path, "../../escaped").train.shape == (20, 3)
    assert everything(tmp_path) == ["below/a.npz"]


@pytest.fixture
def hdf5(tmp_path):
    """A file under the name of a MATLAB file of version 7.3, with rows of its own."""
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(SECRET)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["rows"] = np.frombuffer(SECRET, np.uint8).reshape(10, 2)
    path = tmp_path / "a.mat"
    with h5py.File(path, "w") as file:
        file["own"] = np.ones((3, 20))
    return h5py, path


def test_arrays_of_a_matlab_file_that_lie_in_another_file_are_passed_over(tmp_path, hdf5):
    h5py, path = hdf5
    place = [(str(tmp_path / "secret"), 0, len(SECRET))]
    layout = h5py.VirtualLayout(shape=(10, 2), dtype="u1")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "rows", shape=(10, 2))
    with h5py.File(path, "a") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "rows")
        file["soft"] = h5py.SoftLink("/link")
        file.create_dataset("outside", shape=(10, 2), dtype="u1", external=place)
        file.create_virtual_dataset("virtual", layout)
        assert file["outside"][()].tobytes() == file["virtual"][()].tobytes() == SECRET
        assert file["soft"][()].tobytes() == SECRET
    for name in ("link", "soft", "outside", "virtual"):
        with pytest.raises(InputError, match=f"has no array '{name}'; it has own"):
            read_arrays(path, name)
    assert read_arrays(path).train.shape == (20, 3)
