"""Flushing of denormal numbers, which importance weights produce and CPUs are slow at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def denormals_are_flushed() -> bool:
    """Whether float32 arithmetic in this thread flushes denormal results to zero."""
    # A denormal made in integer registers, so that no earlier flush has touched it.
    denormal = torch.tensor([1], dtype=torch.int32).view(torch.float32)
    return (denormal * 1.0).item() == 0.0


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flush denormals inside the block, and put back what held before.

    Normalised weights of losing particles underflow, their gradients are denormal, and matrix
    products on such numbers take up to ten times as long. Flushing changes nothing above 1e-38.
    """
    before = denormals_are_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
