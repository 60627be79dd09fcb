"""``--device``: which devices there are, and why one is not."""

from __future__ import annotations

import os
import re

import torch

from pyro_vae.errors import InputError

ALLOWED = "auto, cpu, cuda, cuda:N"
HELP = "auto, cpu, cuda or cuda:N, the GPU of that number (default: auto)"
_INDEXED = re.compile(r"cuda:(\d+)")


def check_device(name: str) -> str:
    """The name, if it is one of those that ``--device`` takes anywhere.

    Raises:
        InputError: any other; ``mps`` with the reason.
    """
    if name in ("auto", "cpu", "cuda") or _INDEXED.fullmatch(name):
        return name
    if name.split(":")[0] == "mps":
        raise InputError(
            f"--device {name}: Apple's GPU has no double precision, in which training and "
            f"evaluation add up what they report; allowed: {ALLOWED}"
        )
    raise InputError(f"unknown device {name!r}; allowed: {ALLOWED}")


def device_named(name: str) -> torch.device:
    """The device of ``--device``; of several processes on one machine each has its own GPU.

    A GPU becomes the current one, on which graphs of operations are recorded.

    Raises:
        InputError: an unknown device, one that torch does not find here, or a GPU by its number
            for several processes.
    """
    if check_device(name) == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0 and name == "auto":
        return torch.device("cpu")
    if count == 0:
        raise InputError(f"--device {name}: torch finds no CUDA device here; allowed: auto, cpu")
    indexed = _INDEXED.fullmatch(name)
    if indexed and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError(
            f"--device {name}: each of several processes takes the GPU of its own number; give "
            "--device cuda, and choose GPUs by CUDA_VISIBLE_DEVICES"
        )
    index = int(indexed[1]) if indexed else int(os.environ.get("LOCAL_RANK", 0))
    if index >= count:
        raise InputError(
            f"--device {name}: torch finds {count} CUDA device{'s' * (count > 1)} here; the last "
            f"is cuda:{count - 1}"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device
