"""Data as rows: one tensor, or a tuple of tensors that share their first axis."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

Data = Tensor | tuple[Tensor, ...]


def as_arguments(x: Data) -> tuple[Tensor, ...]:
    """The arguments that a program is called with."""
    return x if isinstance(x, tuple) else (x,)


def count_rows(x: Data) -> int:
    """Number of data."""
    return len(as_arguments(x)[0])


def pieces(total: int, most: int) -> list[int]:
    """``total`` particles or draws as pieces of at most ``most``; the last one may be smaller."""
    return [min(most, total - start) for start in range(0, total, most)]


def split_rows(x: Data, size: int) -> Iterator[Data]:
    """The data in pieces of at most ``size`` rows, of the same form as ``x``."""
    if isinstance(x, tuple):
        return zip(*(part.split(size) for part in x), strict=True)
    return iter(x.split(size))
