"""Time and memory of a log-likelihood from 5000 particles, against a bare loop.

    python benchmarks/likelihood.py

100 images of burda1. The bare loop runs the hand-written twin without gradients, in the chunk of
particles that is fastest for it; both estimates are compared before they are timed. Peak memory is
that of a fresh process above what it held when the pair and the data were ready.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from benchmarks.cases import CASES
from benchmarks.machine import description, flush_denormals
from benchmarks.memory import reset_peak, status_bytes
from pyro_vae.evaluation import log_likelihood

NUM_PARTICLES, NUM_DATA = 5_000, 100
CHUNKS = (250, 500, 1_000, 2_500, 5_000)


@torch.no_grad()
def bare(twin: nn.Module, x: Tensor, chunk: int) -> Tensor:
    """L_5000 per datum: one datum and ``chunk`` particles at a time."""
    parts = NUM_PARTICLES // chunk
    return torch.stack(
        [
            torch.logsumexp(torch.stack([-twin(row, chunk) for _ in range(parts)]), 0)
            - math.log(parts)
            for row in x.split(1)
        ]
    )


def data() -> Tensor:
    """0/1 rows of MNIST's size; only their number matters to the time."""
    return (torch.rand(NUM_DATA, 784, generator=torch.Generator().manual_seed(0)) < 0.2).float()


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_megabytes() -> float:
    """Of our evaluation, above the process that is ready to start it."""
    case = CASES["burda1"]
    model, guide = case.pair()
    x = data()
    log_likelihood(model, guide, x[:1], 10)
    before = status_bytes("VmRSS")
    reset_peak()
    log_likelihood(model, guide, x, NUM_PARTICLES)
    return (status_bytes("VmHWM") - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument(
        "--peak", action="store_true", help="print the peak in MB, and nothing else"
    )
    flags = parser.parse_args()
    flush_denormals()
    if flags.peak:
        print(peak_megabytes())
        return
    case, x = CASES["burda1"], data()
    (model, guide), twin = case.pair(), case.twin()
    ours, theirs = log_likelihood(model, guide, x, NUM_PARTICLES), bare(twin, x, 2_500)
    print(f"mean L_{NUM_PARTICLES}: ours {ours.mean():.3f}, bare {theirs.mean():.3f} nats")
    times: dict[str, list[float]] = {name: [] for name in ("ours", *map(str, CHUNKS))}
    for _ in range(flags.rounds):
        times["ours"].append(seconds(lambda: log_likelihood(model, guide, x, NUM_PARTICLES)))
        for chunk in CHUNKS:
            times[str(chunk)].append(seconds(lambda chunk=chunk: bare(twin, x, chunk)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min(CHUNKS, key=lambda chunk: medians[str(chunk)])
    ratio = statistics.median(a / b for a, b in zip(times["ours"], times[str(best)], strict=True))
    done = subprocess.run(
        [sys.executable, __file__, "--peak"], check=True, capture_output=True, text=True
    )
    peak = float(done.stdout)
    for name, value in medians.items():
        print(f"{name:>6}: {value:.2f} s")
    print(f"ours / bare in its best chunk ({best}): {ratio:.2f}; peak memory {peak:.0f} MB")
    if flags.json:
        content = {
            "machine": description(),
            "seconds": medians,
            "best_chunk": best,
            "ratio": ratio,
            "peak_megabytes": peak,
            "log_likelihood": [ours.mean().item(), theirs.mean().item()],
        }
        flags.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
