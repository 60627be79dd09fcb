"""Peak memory of a variant's step, measured in a process of its own.

    python benchmarks/memory.py td 100 50 bare

prints one line of JSON, in bytes:

``added``   highest resident memory (VmHWM) while the step is built and taken three times, above
            what the process held before: compilers included, imported packages not.
``steady``  the same for three later steps, which a long training holds: compilers are done. Null
            where the kernel does not let VmHWM be reset.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyro
import torch
from torch import Tensor

from benchmarks.cases import CASES, Case
from benchmarks.machine import flush_denormals
from benchmarks.variants import VARIANTS, Prepared

STEPS = 3


def status_bytes(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise KeyError(field)


def reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def measure(case: Case, batch: int, num_particles: int, variant: str) -> dict[str, int | None]:
    """Bytes, see the module; for a process that does nothing else."""
    flush_denormals()
    pyro.enable_validation(False)
    for module in VARIANTS[variant].modules:
        importlib.import_module(module)
    x = case.data(batch)
    before = status_bytes("VmRSS")
    reset_peak()  # importing may have held more for a moment
    step = VARIANTS[variant].prepare(case, num_particles, x)
    added = _peak_of(step) - before
    return {"added": added, "steady": _peak_of(step) - before if reset_peak() else None}


def _peak_of(step: Prepared) -> int:
    for _ in range(STEPS):
        step()
    return status_bytes("VmHWM")


def in_subprocess(case: str, batch: int, num_particles: int, variant: str) -> dict | None:
    """:func:`measure` in a fresh process; None where that failed."""
    command = [sys.executable, __file__, case, str(batch), str(num_particles), variant]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"    {variant}: no peak memory: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def estimate(case: Case, batch: int, num_particles: int) -> float:
    """Bytes that an eager step of the bare twin needs, times two for the greediest variant.

    What autograd saves of a step at batch 8 and k = 4, scaled; half as much again lives for a
    moment in the backward pass.
    """
    twin = case.twin()
    own = {parameter.data_ptr() for parameter in twin.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            saved[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = twin(case.data(8), 4)
    del loss
    return 2 * 1.5 * sum(saved.values()) / (8 * 4) * batch * num_particles


if __name__ == "__main__":
    name, *sizes, variant = sys.argv[1:]
    print(json.dumps(measure(CASES[name], *map(int, sizes), variant)))
