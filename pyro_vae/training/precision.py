"""Matrix products in lower precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pyro_vae.errors import InputError, check_choice

PRECISIONS = ("auto", "float32", "tf32", "bf16")


def check_precision(name: str, device: torch.device) -> str:
    """InputError for unknown names, and for tf32 on a device that has no such products."""
    check_choice("precision", name, PRECISIONS)
    if name == "tf32" and device.type != "cuda":
        allowed = ", ".join(one for one in PRECISIONS if one != "tf32")
        raise InputError(
            f"precision 'tf32' wants a CUDA device, got {device.type}; allowed: {allowed}"
        )
    return name


@contextlib.contextmanager
def matrix_products(name: str, device: torch.device) -> Iterator[None]:
    """Products of this library's layers in the named precision; all else stays as it is.

    ``tf32`` rounds their inputs to 10 bits of mantissa, ``bf16`` to 7; sums, activations,
    densities and parameters keep float32 (``networks.MergedLinear`` returns to it). ``float32``
    and ``auto``, before it is decided, change nothing.
    """
    if name == "tf32":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
    elif name == "bf16":
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            yield
    else:
        yield
