"""What thinning costs in variance and gains in time: thinned against full gradients.

    python benchmarks/thinned_gradients.py --case burda1 --epochs 4 --json FILE

Trains the same pair from the same seeds with all gradients and with thinned ones, both compiled:
the held-out bound after equal steps and after equal time (CPU seconds of the process, which
a busy machine hardly changes), and the signal-to-noise ratio of both gradients at the trained pair.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

import pyro_vae
from benchmarks.machine import description, flush_denormals
from pyro_vae.datasets import Batches
from pyro_vae.evaluation import evaluate
from pyro_vae.objectives import default_kept
from pyro_vae.training import Gradients, GradientStep

NUM_PARTICLES = 50
VALID, BATCH, GRADIENTS = 1_000, 100, 200
CASES = {
    "burda1": ({"name": "mnist", "pixels": "binary", "binarise": "access"}, "access"),
    "td": ({"name": "natural"}, None),
}


@dataclass
class Curve:
    """A training, a number an epoch.

    Attributes:
        step: steps taken. seconds: of CPU time. bound: held-out L_50, nats per datum.
    """

    step: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    bound: list[float] = field(default_factory=list)

    def add(self, step: int, seconds: float, bound: float) -> None:
        self.step.append(step)
        self.seconds.append(seconds)
        self.bound.append(bound)

    def at(self, seconds: float) -> float:
        """The bound after so many seconds, interpolated between epochs."""
        return float(np.interp(seconds, self.seconds, self.bound))


def held_out_bound(model, guide, x: torch.Tensor) -> float:
    """Mean L_50, nats per datum, on the same noise every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = evaluate(
            model,
            guide,
            x,
            khat=False,
            num_particles=NUM_PARTICLES,
            bound_particles=NUM_PARTICLES,
        )
    return found.bound.mean().item()


def train(case: str, data, thin: int | None, seed: int, epochs: int) -> tuple:
    """The trained pair and its curve: steps, CPU seconds of training, held-out bound per epoch."""
    model, guide = pyro_vae.build_pair(
        case, num_pixels=data.train.shape[1], pixel_mean=data.train.mean(0), seed=seed
    )
    batches = Batches(data.train, BATCH, seed=seed, binarise=CASES[case][1])
    gradients = Gradients(pyro_vae.IWAE(NUM_PARTICLES, thin=thin), model, guide, BATCH * 50)
    gradients.compile(data.train[:BATCH])
    gradient_step = GradientStep([model, guide], pyro_vae.OptimiserSettings())
    torch.manual_seed(seed)
    curve = Curve()
    steps = seconds = 0
    for epoch in range(epochs):
        for x in batches.epoch(epoch):
            start = time.process_time()
            gradient_step(len(x), gradients(x).value.item())
            seconds += time.process_time() - start
            steps += 1
        curve.add(steps, seconds, held_out_bound(model, guide, data.valid[:VALID]))
    return model, guide, curve


def gradients(model, guide, x, thin: int | None) -> dict[str, torch.Tensor]:
    """``GRADIENTS`` independent gradients of one batch: program -> (draws, parameters)."""
    gradient = Gradients(pyro_vae.IWAE(NUM_PARTICLES, thin=thin), model, guide)
    gradient.compile(x)
    rows = {"model": [], "guide": []}
    for _ in range(GRADIENTS):
        gradient(x)
        for name, program in (("model", model), ("guide", guide)):
            flat = torch.cat([p.grad.flatten() for p in program.parameters()])
            rows[name].append(flat[:: max(1, len(flat) // 20_000)].clone())
            for parameter in program.parameters():
                parameter.grad = None
    return {name: torch.stack(values).double() for name, values in rows.items()}


def signal_to_noise(draws: torch.Tensor) -> float:
    """Norm of the mean gradient over the root of its total variance (one batch, one draw)."""
    mean, variance = draws.mean(0), draws.var(0)
    # The squared norm of a mean of n draws is high by the variance over n.
    signal = (mean.square().sum() - variance.sum() / len(draws)).clamp(min=0)
    return float((signal / variance.sum()).sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=sorted(CASES), default="burda1")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    flags = parser.parse_args()
    flush_denormals()
    data = pyro_vae.load_dataset(**CASES[flags.case][0])
    kept = default_kept(NUM_PARTICLES)
    rows = []
    for seed in range(flags.seeds):
        full_model, full_guide, full = train(flags.case, data, None, seed, flags.epochs)
        *_, thin = train(flags.case, data, kept, seed, flags.epochs)
        x = data.train[:BATCH]
        if CASES[flags.case][1]:
            x = (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < x).float()
        draws = {t: gradients(full_model, full_guide, x, t) for t in (None, kept)}
        seconds = min(full.seconds[-1], thin.seconds[-1])
        row = {
            "seed": seed,
            "bound_full": full.bound[-1],
            "bound_thin": thin.bound[-1],
            "equal_steps": thin.bound[-1] - full.bound[-1],
            "equal_time": thin.at(seconds) - full.at(seconds),
            "time_ratio": thin.seconds[-1] / full.seconds[-1],
            "curves": {"full": asdict(full), "thin": asdict(thin)},
        }
        for name in ("model", "guide"):
            row[f"snr_full_{name}"] = signal_to_noise(draws[None][name])
            row[f"snr_thin_{name}"] = signal_to_noise(draws[kept][name])
            variances = [draws[t][name].var(0).sum() for t in (kept, None)]
            row[f"variance_ratio_{name}"] = float(variances[0] / variances[1])
        rows.append(row)
        print({name: value for name, value in row.items() if name != "curves"}, flush=True)
    for name in rows[0]:
        if name not in ("seed", "curves"):
            values = [row[name] for row in rows]
            print(f"{name:24} mean {np.mean(values):10.4f}  sd {np.std(values, ddof=1):.4f}")
    if flags.json:
        content = {
            "machine": description(),
            "case": flags.case,
            "num_particles": NUM_PARTICLES,
            "kept": kept,
            "batch": BATCH,
            "epochs": flags.epochs,
            "rows": rows,
        }
        flags.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
