"""What is damaged in the compiler's cache is discarded, and strangers cannot write there."""

import os
import struct
import sysconfig
from pathlib import Path

import pytest
import torch
from filelock import FileLock

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.training.compiler_cache import (
    check_private,
    discard_broken_libraries,
    is_cut_off,
    remember_libraries,
)
from pyro_vae.training.gradients import Gradients
from tests.conftest import tiny_pair


def library(body=9000, sections=29):
    """The frame of a shared library as linkers write it: header, contents, table of sections."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 0x28, 64 + body)
    struct.pack_into("<2H", header, 0x3A, 64, sections)
    return bytes(header) + b"\1" * body + bytes(64 * sections)


WHOLE = library()


def cache_with(folder, **libraries):
    """A cache with libraries of these bytes, each under a folder and a key as inductor has them."""
    paths = {}
    for key, content in libraries.items():
        paths[key] = folder / key[:2] / f"{key}.main.so"
        paths[key].parent.mkdir(parents=True, exist_ok=True)
        paths[key].write_bytes(content)
    return paths


@pytest.mark.parametrize("size", [0, 1, 63, 64, 5000, len(WHOLE) // 2, len(WHOLE) - 1])
def test_a_library_that_was_cut_off_is_told_from_a_whole_one(tmp_path, size):
    paths = cache_with(tmp_path, whole=WHOLE, cut=WHOLE[:size])
    assert not is_cut_off(paths["whole"])
    assert is_cut_off(paths["cut"])


def test_the_libraries_of_this_python_are_whole():
    folder = Path(sysconfig.get_path("platstdlib")) / "lib-dynload"
    assert not any(map(is_cut_off, [Path(torch._C.__file__), *folder.glob("*.so")]))


def test_room_that_was_never_written_is_no_library_and_other_formats_are_left_alone(tmp_path):
    other = b"\xfe\xed\xfa\xcf" + bytes(range(100))
    paths = cache_with(tmp_path, blank=bytes(5000), other=other)
    assert is_cut_off(paths["blank"])
    assert not is_cut_off(paths["other"])
    assert not is_cut_off(tmp_path / "missing.so")


def test_broken_libraries_alone_are_discarded(tmp_path):
    paths = cache_with(tmp_path, whole=WHOLE, cut=WHOLE[:5000], empty=b"")
    text = tmp_path / "cu" / "cut.main.cpp"
    text.write_text("int main;")
    with pytest.warns(UserWarning, match=r"\.so was damaged; it is compiled again"):
        found = discard_broken_libraries(tmp_path)
    assert sorted(found) == sorted([paths["cut"], paths["empty"]])
    assert paths["whole"].exists()
    assert text.exists()
    assert discard_broken_libraries(tmp_path) == []
    assert discard_broken_libraries(tmp_path / "no such folder") == []


def test_a_library_that_another_process_is_writing_is_left_alone(tmp_path):
    paths = cache_with(tmp_path, written=WHOLE[:5000])
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "written.lock"):
        assert discard_broken_libraries(tmp_path) == []
        assert paths["written"].exists()
    with pytest.warns(UserWarning, match="written"):
        assert discard_broken_libraries(tmp_path) == [paths["written"]]


def test_the_compiler_is_called_on_a_cache_without_broken_libraries(tmp_path, monkeypatch):
    paths = cache_with(tmp_path, whole=WHOLE, cut=WHOLE[:5000])
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    found = []

    def compiler(graph, inputs, **settings):
        found.append({key: path.exists() for key, path in paths.items()})
        return graph

    monkeypatch.setattr(torch._inductor, "compile", compiler)
    with pytest.warns(UserWarning, match="was damaged"):
        Gradients(pyro_vae.IWAE(3), *tiny_pair()).compile(torch.randn(4, 6))
    assert found == [{"whole": True, "cut": False}]


@pytest.mark.parametrize("place", [70, 5000, len(WHOLE) - 1])
def test_a_library_with_a_changed_bit_is_discarded(tmp_path, place):
    paths = cache_with(tmp_path, one=WHOLE, two=WHOLE, old=WHOLE)
    started = paths["one"].stat().st_mtime
    os.utime(paths["old"], (started - 10, started - 10))
    remember_libraries(tmp_path, started - 1)
    assert discard_broken_libraries(tmp_path) == []
    changed = bytearray(WHOLE)
    changed[place] ^= 4
    for name in ("one", "old"):  # one of another process, which nobody looked at, is left alone
        paths[name].write_bytes(changed)
    with pytest.warns(UserWarning, match=r"one\.main\.so was damaged"):
        assert discard_broken_libraries(tmp_path) == [paths["one"]]
    paths["one"].write_bytes(WHOLE + b"compiled anew")
    assert discard_broken_libraries(tmp_path) == []


def test_a_folder_that_others_can_write_to_is_refused(tmp_path, monkeypatch):
    """They could put a pickle or a library there, and the compiler would run it."""
    folder = tmp_path / "cache"
    check_private(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(InputError, match=r"others can write to .*TORCHINDUCTOR_CACHE_DIR"):
        check_private(folder)
    folder.chmod(0o755)
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner:
        with pytest.raises(InputError, match="others can write to"):
            check_private(folder)
