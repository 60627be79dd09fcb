"""Time of a training step: this library against a bare PyTorch loop and Pyro's RenyiELBO.

    python benchmarks/step.py

All variants train on the same data in turns, step by step, so that a busy machine slows them
alike; read the ratios. Before timing, the bare loop is checked to compute the same bound on the
same noise. Denormals are flushed for all.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyro
import torch

import pyro_vae
from benchmarks.bare import BareBurda1, BareTD, copy_parameters_
from pyro_vae.architectures import architecture
from pyro_vae.denormals import flushed_denormals
from pyro_vae.objectives import backward_function
from pyro_vae.training.optimisation import GradientStep

BATCH = 100
CASES = (("burda1", "small", 784), ("td", "small", 400), ("td", "paper", 400))
VARIANTS = ("bare", "iwae", "dreg", "pyro RenyiELBO")
Step = Callable[[torch.Tensor], None]


def bare_twin(model: str, preset: str) -> torch.nn.Module:
    if model == "burda1":
        return BareBurda1()
    arch = architecture(model, preset)
    return BareTD(arch.encoders, arch.feedback[0])


def ours(case: tuple, num_particles: int, objective: str = "iwae") -> Step:
    model, guide = pair(case)
    backward = backward_function(pyro_vae.make_objective(objective, num_particles), model, guide)
    gradient_step = GradientStep([model, guide], pyro_vae.OptimiserSettings())

    def step(x: torch.Tensor) -> None:
        backward(x)
        gradient_step(1 / len(x))

    return step


def bare(case: tuple, num_particles: int) -> Step:
    model, guide = pair(case)
    twin = bare_twin(*case[:2])
    copy_parameters_(twin, model, guide)
    adam = torch.optim.Adam(twin.parameters(), fused=True)

    def step(x: torch.Tensor) -> None:
        adam.zero_grad()
        loss = twin(x, num_particles) / len(x)
        loss.backward()
        adam.step()
        loss.item()

    return step


def pyro_renyi(case: tuple, num_particles: int) -> Step:
    loss = pyro.infer.RenyiELBO(
        alpha=0, num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True
    )
    svi = pyro.infer.SVI(*pyro_vae.for_svi(*pair(case)), pyro.optim.Adam({"lr": 1e-3}), loss=loss)
    return lambda x: svi.step(x)


def pair(case: tuple):
    model, preset, pixels = case
    return pyro_vae.build_pair(model, "topdown", num_pixels=pixels, preset=preset)


def check_same_bound(case: tuple, num_particles: int, x: torch.Tensor) -> None:
    """The bare loop and IWAE give the same loss on the same noise, or the ratio means nothing."""
    model, guide = pair(case)
    twin = bare_twin(*case[:2])
    copy_parameters_(twin, model, guide)
    torch.manual_seed(0)
    expected = pyro_vae.IWAE(num_particles)(model, guide)(x).item()
    torch.manual_seed(0)
    found = twin(x, num_particles).item()
    if abs(found / expected - 1) > 1e-5:
        raise AssertionError(f"{case}: bare loss {found}, library {expected}")


def data(case: tuple) -> torch.Tensor:
    if case[0] == "burda1":
        return torch.bernoulli(torch.full((BATCH, case[2]), 0.3))
    return torch.randn(BATCH, case[2])


def measure(case: tuple, num_particles: int, rounds: int) -> dict[str, float]:
    """Median seconds of a step per variant, steps taken in turns."""
    x = data(case)
    check_same_bound(case, num_particles, x)
    variants = {
        "bare": bare(case, num_particles),
        "iwae": ours(case, num_particles),
        "dreg": ours(case, num_particles, "dreg"),
        "pyro RenyiELBO": pyro_renyi(case, num_particles),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 3):
        for name, step in variants.items():
            start = time.perf_counter()
            step(x)
            if turn >= 3:  # the first turns allocate
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="timed steps per variant")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    flags = parser.parse_args()
    table = []
    print(f"{'case':14} {'k':>3} {'bare ms':>9}   ratio to bare:   " + "  ".join(VARIANTS[1:]))
    with flushed_denormals(), pyro.validation_enabled(False):
        for case in CASES:
            for num_particles in (1, 50):
                torch.manual_seed(0)
                medians = measure(case, num_particles, flags.rounds)
                base = medians["bare"]
                ratios = {name: value / base for name, value in medians.items()}
                label = f"{case[0]} {case[1]}"
                shown = "  ".join(f"{ratios[name]:>{len(name)}.2f}" for name in VARIANTS[1:])
                print(
                    f"{label:14} {num_particles:>3} {1e3 * base:>9.2f}   {'':14}   {shown}",
                    flush=True,
                )
                table.append({"case": label, "k": num_particles, "bare_ms": 1e3 * base, **ratios})
    if flags.json:
        machine = {
            "cores": torch.get_num_threads(), "torch": torch.__version__,
            "pyro": pyro.__version__, "python": platform.python_version(), "batch": BATCH,
        }  # fmt: skip
        flags.json.write_text(json.dumps({"machine": machine, "rows": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
