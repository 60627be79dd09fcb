"""The folder in which inductor keeps what it compiled, and libraries in it that were cut off.

A process that is killed while the linker writes leaves the first part of a shared library behind.
Inductor takes whatever lies there for whole: loading it fails, and where the part that is missing
is mapped into memory the process is ended by the system (SIGBUS), which nothing can catch. So
libraries are looked at before the compiler is called.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from filelock import FileLock, Timeout  # which torch brings

# Of the header of a 64-bit little-endian ELF file: where the table of sections begins, the size of
# an entry and their number. Linkers write that table last.
_HEADER, _TABLE, _ENTRIES = 64, 0x28, 0x3A


def discard_broken_libraries(folder: str | Path | None = None) -> list[Path]:
    """Delete the libraries that were cut off, so that they are compiled again; which they were.

    Args:
        folder: of the cache; default inductor's own (``TORCHINDUCTOR_CACHE_DIR``).

    A library that another process is writing at the moment is left alone. Nothing is deleted but
    files of the cache; one that cannot be deleted stays.
    """
    if folder is None:
        from torch._inductor.runtime.runtime_utils import cache_dir  # a second of imports

        folder = cache_dir()
    folder = Path(folder)
    return [path for path in folder.glob("*/*.so") if is_cut_off(path) and _discarded(path, folder)]


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
    except (Timeout, OSError):
        return False
    return True
