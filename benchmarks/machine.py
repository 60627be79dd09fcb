"""The machine: its name, its best speed at matrix products, and whether it flushes denormals."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from pyro_vae.training.bfloat16 import BFLOAT16_SETS, instruction_sets

MATRIX_SETS = ("avx2", "avx512f", *BFLOAT16_SETS)
PACKAGES = ("torch", "pyro-ppl", "jax", "numpyro", "pythae", "pyro_vae")


def description() -> dict[str, object]:
    """What a reader needs to judge the times."""
    return {
        "cpu": _cpu_name(),
        "instruction_sets": sorted(instruction_sets() & {*MATRIX_SETS}),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT"),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def matmul_peak(size: int = 2048, repeats: int = 8) -> float:
    """FLOP/s of the best of several float32 products of square matrices, 2 size^3 each."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def flops(step: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products of one eager step, backward included."""
    counter = FlopCounterMode(display=False)
    with counter:
        step()
    return counter.get_total_flops()


def flush_denormals() -> None:
    """Flush denormals in all of torch's threads; call it before torch has started any.

    The setting is a register of each thread, inherited by the threads that it starts. Called later
    it changes the calling thread only, and the others go on at the pace of denormals.
    """
    torch.set_flush_denormal(True)
    share = flushed_share()
    if share < 1:
        raise RuntimeError(
            f"denormals are flushed in {share:.0%} of torch's work only: its threads were started "
            "before; call this first"
        )


def flushed_share() -> float:
    """Share of a parallel operation in which denormal results become zero."""
    # Made in integer registers, so that no earlier flush has touched them.
    denormals = torch.full((1 << 20,), 1, dtype=torch.int32).view(torch.float32)
    return ((denormals * 1.0).view(torch.int32) == 0).float().mean().item()
