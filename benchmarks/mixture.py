"""Density of a mixture of Normals, forward and backward: one matrix product against torch's own.

    python benchmarks/mixture.py

Latents of a batch under 500 components, with gradients of latents, weights, locations and scales.
Both densities are compared before they are timed; they take their turns in one process. The peak
memory of each is that of a fresh process, above what it held when the tensors were ready.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from benchmarks.machine import description, flush_denormals
from benchmarks.memory import reset_peak, status_bytes
from benchmarks.turns import interleave
from pyro_vae.distributions import MixtureOfNormals

MAX_SECONDS = 20.0
TIME, MEMORY = 0.2, 0.1  # what ours may take of torch's


@dataclass(frozen=True)
class Case:
    """K particles of B data, D units, M components."""

    particles: int = 50
    data: int = 100
    units: int = 40
    components: int = 500

    def tensors(self) -> list[Tensor]:
        """Logits, locations, scales and latents, in float32."""
        torch.manual_seed(0)
        loc = torch.randn(self.components, self.units)
        scale = (0.3 * torch.randn(self.components, self.units)).exp()
        value = torch.randn(self.particles, self.data, self.units)
        return [t.requires_grad_() for t in (torch.randn(self.components), loc, scale, value)]


def ours(logits: Tensor, loc: Tensor, scale: Tensor) -> torch.distributions.Distribution:
    return MixtureOfNormals(logits, loc, scale, validate_args=False)


def torchs(logits: Tensor, loc: Tensor, scale: Tensor) -> torch.distributions.Distribution:
    components = Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)
    weights = Categorical(logits=logits, validate_args=False)
    return MixtureSameFamily(weights, components, validate_args=False)


VARIANTS = {"ours": ours, "torch": torchs}


def step(variant: str, case: Case) -> Callable[[], tuple[Tensor, ...]]:
    """log p of all latents, and the gradient of its sum."""
    *parameters, value = case.tensors()

    def run() -> tuple[Tensor, ...]:
        log_p = VARIANTS[variant](*parameters).log_prob(value)
        return log_p.detach(), *torch.autograd.grad(log_p.sum(), (*parameters, value))

    return run


def check(case: Case) -> float:
    """The largest difference of the two, of its tensor's largest number."""
    pairs = zip(*(step(variant, case)() for variant in VARIANTS), strict=True)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


def peak_megabytes(variant: str, case: Case) -> float:
    """For a process that does nothing else."""
    run = step(variant, case)
    step(variant, Case(particles=1, data=2))()  # what torch loads once
    before = status_bytes("VmRSS")
    reset_peak()
    for _ in range(3):
        run()
    return (status_bytes("VmHWM") - before) / 1e6


def in_subprocess(variant: str, particles: int) -> float:
    command = [sys.executable, __file__, "--peak", variant, "--particles", str(particles)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, nargs="+", default=[1, 50], metavar="K")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--peak", choices=VARIANTS, help="print the peak in MB, and nothing else")
    flags = parser.parse_args()
    flush_denormals()
    if flags.peak:
        print(peak_megabytes(flags.peak, Case(flags.particles[0])))
        return
    rows = []
    for particles in flags.particles:
        case = Case(particles)
        off = check(case)
        steps = {variant: step(variant, case) for variant in VARIANTS}
        timing = interleave(steps, flags.rounds, MAX_SECONDS)
        ratio = timing.ratio("ours", "torch")
        times = {variant: timing.spread(variant).scaled(1e3) for variant in VARIANTS}
        peaks = {variant: in_subprocess(variant, particles) for variant in VARIANTS}
        memory = peaks["ours"] / peaks["torch"]
        print(
            f"K = {particles}: ours {times['ours'].median:.1f} ms, {peaks['ours']:.0f} MB; torch "
            f"{times['torch'].median:.1f} ms, {peaks['torch']:.0f} MB; ratios {ratio.median:.3f} "
            f"({ratio.lower:.3f} to {ratio.upper:.3f}; mark {TIME}) of the time, {memory:.3f} "
            f"(mark {MEMORY}) of the memory; they differ by {off:.1e} of the largest number"
        )
        rows.append(
            {
                "case": asdict(case),
                "rounds": timing.rounds,
                "milliseconds": {name: spread.as_dict() for name, spread in times.items()},
                "ratio": ratio.as_dict(),
                "megabytes": peaks,
                "difference": off,
            }
        )
    if flags.json:
        flags.json.write_text(json.dumps({"machine": description(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
