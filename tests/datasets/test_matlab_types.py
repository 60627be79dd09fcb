"""Types of numbers in MATLAB files: all that there are, and no others."""

import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from pyro_vae import InputError
from pyro_vae.datasets.matlab import read_mat
from pyro_vae.datasets.matlab_types import check_types

KINDS = [*"fd", *"bhiqBHIQ"]
HEADER = 128


def saved(path, **arrays):
    savemat(path, arrays, do_compression=path.name.startswith("packed"))
    return path


@pytest.mark.parametrize("name", ["a.mat", "packed.mat"])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_every_type_are_read(tmp_path, name, kind):
    rows = np.arange(24).reshape(6, 4).astype(kind)
    path = saved(tmp_path / name, rows=rows, one=np.array([[3]], kind), text="words", cell={"a": 1})
    check_types(path)
    assert np.array_equal(read_mat(path, "rows").train, rows)


def places_of_types(path):
    """Where the tag of the numbers of the first array stands: behind flags, axes and name."""
    content = path.read_bytes()
    place = HEADER + 8
    for _ in range(3):
        first, length = struct.unpack("<2I", content[place : place + 8])
        place += 8 + (0 if first >> 16 else -(-length // 8) * 8)
    return place


@pytest.mark.parametrize("kind", [0, 8, 10, 11, 14, 19, 20, 200, 4_000, 65_535])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rows", [np.ones((5, 4)), np.ones((1, 1), "int16")], ids=["many", "small"])
def test_numbers_of_another_type_are_refused(tmp_path, rows, packed, kind):
    path = saved(tmp_path / "a.mat", rows=rows)
    place, content = places_of_types(path), bytearray(path.read_bytes())
    check_types(path)
    first = struct.unpack("<I", content[place : place + 4])[0]
    content[place : place + 4] = struct.pack("<I", (first & 0xFFFF0000) | kind)
    if packed:
        inner = zlib.compress(bytes(content[HEADER:]))
        content = content[:HEADER] + struct.pack("<2I", 15, len(inner)) + inner
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=rf"a\.mat is not a readable .mat file: .*of type {kind}, "
    ):
        read_mat(path)


@pytest.mark.parametrize("name", ["a.mat", "packed.mat"])
def test_arrays_that_are_called_complex_and_are_not_are_refused(tmp_path, name):
    """SciPy's reader would take what stands behind them for their imaginary part."""
    content = bytearray(
        saved(tmp_path / "a.mat", rows=np.ones((5, 4)), more=np.ones(3)).read_bytes()
    )
    content[HEADER + 17] |= 8
    if name == "packed.mat":
        inner = zlib.compress(bytes(content[HEADER:]))
        content = content[:HEADER] + struct.pack("<2I", 15, len(inner)) + inner
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="an array ends before its numbers"):
        read_mat(tmp_path / name, "rows")


def test_complex_numbers_pass(tmp_path):
    check_types(saved(tmp_path / "a.mat", rows=np.ones((5, 4)) * 1j))


def test_files_that_end_early_are_left_to_the_reader(tmp_path):
    content = saved(tmp_path / "packed.mat", rows=np.ones((50, 40))).read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "b.mat").write_bytes(content[:length])
        with pytest.raises(InputError):
            read_mat(tmp_path / "b.mat")
