"""torch's global generators: borrowed and given back, saved and restored."""

from __future__ import annotations

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
