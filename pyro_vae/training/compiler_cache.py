"""The folder in which inductor keeps what it compiled: whose it is, and what in it is damaged.

What lies there is run, libraries as well as pickles, so nobody else may be able to write to it. A
process that is killed while the linker writes leaves the first part of a shared library behind.
Inductor takes whatever lies there for whole: loading it fails, and where the part that is missing
is mapped into memory the process is ended by the system (SIGBUS), which nothing can catch. So
libraries are looked at before the compiler is called; and those that were whole after it are known
by their SHA-256, since a changed bit in one can do anything.
"""

from __future__ import annotations

import os
import stat
import struct
import warnings
from pathlib import Path

from filelock import FileLock, Timeout  # which torch brings

from pyro_vae.errors import InputError
from pyro_vae.storage import sha256, write_text

# Of the header of a 64-bit little-endian ELF file: where the table of sections begins, the size of
# an entry and their number. Linkers write that table last.
_HEADER, _TABLE, _ENTRIES = 64, 0x28, 0x3A


# In the cache: for each library a file with its SHA-256 under the same name.
_SUMS = "pyro_vae_sums"


def cache_folder() -> Path:
    """Inductor's folder (``TORCHINDUCTOR_CACHE_DIR``)."""
    from torch._inductor.runtime.runtime_utils import cache_dir  # a second of imports

    return Path(cache_dir())


def check_private(folder: Path) -> None:
    """InputError where the folder is somebody else's, or everybody may write to it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if not hasattr(os, "geteuid"):
        return
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & stat.S_IWOTH:
        raise InputError(
            f"others can write to {folder}, and what the compiler keeps there is run: name a "
            "folder of your own in TORCHINDUCTOR_CACHE_DIR, or train with --no-compile"
        )


def discard_broken_libraries(folder: Path) -> list[Path]:
    """Delete the libraries that are damaged, so that they are compiled again; which they were.

    They are cut off, or are others than :func:`remember_libraries` saw. A library that another
    process is writing at the moment is left alone. Nothing is deleted but files of the cache; one
    that cannot be deleted stays.
    """
    broken = [path for path in _libraries(folder) if is_cut_off(path) or _changed(path, folder)]
    broken = [path for path in broken if _discarded(path, folder)]
    for path in broken:
        warnings.warn(f"{path} was damaged; it is compiled again", stacklevel=2)
    return broken


def remember_libraries(folder: Path, since: float) -> None:
    """Write down the SHA-256 of libraries written since a time (of ``time.time()``)."""
    for path in _libraries(folder):
        if path.stat().st_mtime >= since and not is_cut_off(path):
            write_text(_sums(path, folder), sha256(path.read_bytes()))


def _libraries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.so"))


def _sums(library: Path, folder: Path) -> Path:
    return folder / _SUMS / f"{library.name}.sha256"


def _changed(library: Path, folder: Path) -> bool:
    sums = _sums(library, folder)
    try:
        return sums.is_file() and sums.read_text(encoding="utf-8") != sha256(library.read_bytes())
    except (OSError, ValueError):
        return False


def is_cut_off(library: Path) -> bool:
    """Whether a shared library (ELF, 64 bits, little-endian) is shorter than its header says.

    False for files of another format, and for those that cannot be read.
    """
    try:
        size = os.path.getsize(library)
        with library.open("rb") as file:
            header = file.read(_HEADER)
    except OSError:
        return False
    if len(header) < _HEADER:
        return True
    if header[:6] != b"\x7fELF\x02\x01":
        return not header.strip(b"\0")  # room was made for it, and nothing was written
    (start,) = struct.unpack_from("<Q", header, _TABLE)
    entry_size, entries = struct.unpack_from("<2H", header, _ENTRIES)
    return start == 0 or size < start + entry_size * entries


def _discarded(path: Path, folder: Path) -> bool:
    """Whether the file could be deleted under the lock that inductor's processes write under."""
    lock = folder / "locks" / f"{path.name.partition('.')[0]}.lock"
    lock.parent.mkdir(exist_ok=True)
    try:
        with FileLock(str(lock), timeout=0):
            path.unlink()
            _sums(path, folder).unlink(missing_ok=True)
    except (Timeout, OSError):
        return False
    return True
