"""torch's global state, borrowed and given back: generators of noise, and denormal numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def own_generators():
    """Global generators, of all devices, are put back after the block.

    All of them, since ``torch.manual_seed`` seeds all of them.
    """
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()))


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """States of the generators that draw the particles on this device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generator_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Put back what :func:`generator_states` returned."""
    torch.set_rng_state(states["cpu"].cpu())
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def reseed(seed: int, step: int, rank: int) -> None:
    """Start the noise of one process of several, from a step on; rank 0 follows ``seed`` itself."""
    key = () if rank == step == 0 else (rank, step)
    words = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)
    torch.manual_seed(seed if not key else int(words[0] >> np.uint64(1)))


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
