"""Whether this machine can compile what torch writes in C++: tests that need it are skipped."""

import functools
import sysconfig
from pathlib import Path

import pytest
from torch._inductor.cpp_builder import get_cpp_compiler


@functools.cache
def what_is_missing() -> str | None:
    """A line, or None where there is a compiler and Python's headers."""
    try:
        get_cpp_compiler()
    except Exception as error:  # of torch's own kinds, which differ between versions
        return f"no C++ compiler: {str(error).splitlines()[0]}"
    header = Path(sysconfig.get_path("include"), "Python.h")
    return None if header.exists() else f"{header} is missing: install Python's development headers"


def needs_compiler() -> None:
    """Skip this test where nothing can be compiled, and say why."""
    if what_is_missing():
        pytest.skip(what_is_missing())
