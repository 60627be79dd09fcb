"""Small files that unpack to more than fits the memory, and pictures of too many pixels."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from pyro_vae.datasets import cifar, digits, image_files, load_dataset, unpacking
from pyro_vae.datasets.files import read_arrays
from pyro_vae.datasets.image_files import read_levels
from pyro_vae.datasets.preprocessing import Preprocessing
from pyro_vae.errors import InputError

ROOM = 100_000  # bytes that any file may unpack to, in these tests
ZEROS = bytes(50 * ROOM)


@pytest.fixture
def little_room(monkeypatch):
    monkeypatch.setattr(unpacking, "FREE", ROOM)
    monkeypatch.setattr(unpacking, "FOLD", 2)


def refused(read, *arguments, **settings):
    with pytest.raises(InputError, match=r"unpacks to .* bytes, of .* on the disk") as caught:
        read(*arguments, **settings)
    assert "\n" not in str(caught.value)


def test_what_a_file_may_unpack_to():
    assert unpacking.most_bytes(10) == 2**30
    assert unpacking.most_bytes(26_000_000) == 6_500_000_000  # dSprites: 3 GB in 26 MB


def test_npz(tmp_path, little_room):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((500, 1000)))
    refused(load_dataset, str(path))
    np.savez_compressed(path, x=np.random.default_rng(0).random((100, 100)))
    assert load_dataset(str(path)).train.shape[1] == 100


def test_preprocessing(tmp_path, little_room):
    path = tmp_path / "preprocessing.npz"
    np.savez_compressed(path, format=1, kind="arrays", mean=np.zeros(ROOM))
    refused(Preprocessing.load, path)


def test_gzipped_idx(tmp_path, little_room):
    path = tmp_path / "a.idx.gz"
    path.write_bytes(gzip.compress(struct.pack(">4B2I", 0, 0, 8, 2, 50, ROOM) + ZEROS))
    refused(load_dataset, str(path))


def matlab_5(path, *elements):
    with open(path, "wb") as file:
        file.write(b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM"))
        for element in elements:
            packed = zlib.compress(element)
            file.write(struct.pack("<2I", 15, len(packed)) + packed)


def test_matlab_5(tmp_path, little_room):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.zeros((500, 1000))}, do_compression=True)
    refused(load_dataset, str(path))
    matlab_5(path, ZEROS[: ROOM // 2], ZEROS[:ROOM])  # whatever stands inside
    refused(read_arrays, path)
    rows = np.random.default_rng(0).random((100, 50))
    scipy.io.savemat(path, {"x": rows, "y": "text"}, do_compression=True)
    assert np.array_equal(read_arrays(path, "x").train, rows)


def test_matlab_7_3(tmp_path, little_room):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("x", shape=(10**6, 10**6), chunks=(10, 10), dtype="f8")  # none written
    refused(load_dataset, str(tmp_path / "a.mat"))


def header_of_gigabytes():
    """A member's extended header, which tarfile would read whole."""
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, len(ZEROS)
    return info


@pytest.mark.parametrize("where", ["passed over", "a batch", "a header"])
def test_archive_of_cifar10(tmp_path, little_room, where):
    names = {"passed over": "other", "a batch": f"{cifar.FOLDER}/data_batch_1"}
    info = tarfile.TarInfo(names.get(where, "x"))
    info.size = len(ZEROS)
    if where == "a header":
        info = header_of_gigabytes()
    with tarfile.open(tmp_path / cifar.ARCHIVE, "w:gz") as archive:
        archive.addfile(info, io.BytesIO(ZEROS))
    refused(load_dataset, "cifar10", data_dir=tmp_path)


def test_archives_of_omniglot(tmp_path, little_room):
    for file in digits.OMNIGLOT_FILES:
        with zipfile.ZipFile(tmp_path / file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/Greek/character01/0001_01.png", ZEROS)
    refused(load_dataset, "omniglot", data_dir=tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".pgm", ".jpg", ".webp", ".tif"])
def test_pictures_of_too_many_pixels(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(unpacking, "MAX_PIXELS", 100)
    path = tmp_path / f"a{suffix}"
    for side in (10, 11):
        Image.fromarray(np.zeros((side, side), np.uint8)).save(path)
        if side == 10:
            assert read_levels(path).shape[-2:] == (10, 10)
    with pytest.raises(InputError, match=r"a\.\w+ has 11 x 11 pixels; at most 100 are read"):
        read_levels(path)


def test_deep_tiffs_of_too_many_pixels(tmp_path, monkeypatch):
    """Those that Pillow does not decode, so that its own bound does not count."""
    monkeypatch.setattr(unpacking, "MAX_PIXELS", 100)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((11, 11)))
    with pytest.raises(InputError, match=r"a\.tif has 11 x 11 pixels"):
        read_levels(path)


def test_a_picture_that_promises_more_pixels_than_anybody_has(tmp_path):
    """Pillow's own limit is above ours; the header alone is read."""
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    for side in (14_500, 100_000):
        content[16:24] = struct.pack(">2I", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.png"):
            read_levels(path)


def test_a_file_that_is_a_program_for_a_printer_is_no_picture(tmp_path):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nquit\n")
    with Image.open(path) as image:
        assert image.format == "EPS"
    with pytest.raises(InputError, match=r"a\.png is not a readable image"):
        read_levels(path)
    assert "EPS" not in image_files.FORMATS
