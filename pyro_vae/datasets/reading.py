"""What every reader of files shares: any failure of a decoder becomes one line naming the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_vae.errors import InputError


@contextmanager
def readable(path: str | Path, what: str) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into one InputError naming the file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders raise all sorts: zlib.error, SyntaxError, struct.error
        name = printable(path)
        raise InputError(f"{name} is not a readable {what}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The error's type and message without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def printable(path: str | Path) -> str:
    """The path as text that every terminal and file takes; bytes that are no UTF-8 as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
