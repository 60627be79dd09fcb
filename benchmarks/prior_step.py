"""Training steps per second with every prior, and their ratio to those of the standard prior.

    python benchmarks/prior_step.py
    python benchmarks/prior_step.py --compiled --particles 1

MNIST's sizes: 784 binary pixels, tanh layers of 200 and 200, 40 units, batches of 100. A step is
loss, gradient and Adam, the gradient run from its record as ``pyro_vae.fit`` runs it, or compiled.
All priors take their steps in turns; a ratio is the median over rounds of the time over that of the
standard prior in the same round. Before timing, each recorded or compiled gradient is compared with
the plain one on the same noise. Time is the processor's, of one thread, so that other work on the
machine is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

import pyro_vae
from benchmarks.machine import description, flush_denormals
from benchmarks.turns import Spread, interleave
from pyro_vae.training import Gradients, GradientStep

PIXELS, BATCH, UNITS = 784, 100, 40
MAX_SECONDS = 10.0
# Those of the defaults, but for sizes that follow from the units or are a tenth of them.
PRIORS = (
    "standard",
    "learned",
    "mixture:components=500",
    "vamp:components=500",
    "realnvp",
    "maf",
    "spline",
    "spatial:shape=10x2x2,width=32",
)


@dataclass(frozen=True)
class Row:
    """One prior's steps.

    Attributes:
        per_second: steps per second of processor time; median and quartiles over rounds.
        ratio: time over that of the first prior, by default the standard one.
        parameters: numbers that the prior learns.
        off: norm of the difference of the gradient from the plain one, of its norm.
        prepared: seconds of processor time that recording or compiling took here; a compiler of its
            own processes is not in them.
    """

    prior: str
    particles: int
    compiled: bool
    per_second: Spread
    ratio: Spread
    parameters: int
    off: float
    prepared: float

    @property
    def words(self) -> str:
        ratio = self.ratio
        return (
            f"{self.per_second.median:7.1f} steps a second, {ratio.median:.2f} ({ratio.lower:.2f} "
            f"to {ratio.upper:.2f}) of the first one's time; {self.parameters} parameters; "
            f"{self.off:.0e} off the plain gradient; {self.prepared:.1f} s to prepare"
        )


class PriorStep:
    """A pair with one prior, and the step that it takes.

    Args:
        prior: as ``--prior`` has it.
    """

    def __init__(self, prior: str, particles: int, x: Tensor, *, compiled: bool) -> None:
        config = pyro_vae.PairConfig(
            "burda1", latent=(UNITS,), hidden=("200,200",), prior=prior, guide="topdown"
        )
        model, guide = config.build(PIXELS, rows=x)
        self.model, self.x = model, x
        objective = pyro_vae.IWAE(particles) if particles > 1 else pyro_vae.ELBO(1)
        self.gradients = Gradients(objective, model, guide)
        self.parameters = [*model.parameters(), *guide.parameters()]
        plain = self._gradient()
        started = time.process_time()
        self.gradients.compile(x, compiler=compiled)
        found = self._gradient()
        self.prepared = time.process_time() - started
        self.off = ((found - plain).norm() / plain.norm()).item()
        self.step_of = GradientStep([model, guide], pyro_vae.OptimiserSettings())

    def _gradient(self) -> Tensor:
        """On noise that is always the same; leaves no gradient behind."""
        torch.manual_seed(1)
        self.gradients(self.x)
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        return torch.cat([one.flatten() for one in found])

    def __call__(self) -> None:
        self.step_of(len(self.x), self.gradients(self.x).value.item())

    @property
    def size(self) -> int:
        return sum(p.numel() for p in self.model.prior.parameters())


def measure(priors: list[str], particles: int, rounds: int, *, compiled: bool) -> list[Row]:
    """A row for every prior, their steps in turns; the first one is what others are compared to."""
    generator = torch.Generator().manual_seed(0)
    x = torch.bernoulli(torch.full((BATCH, PIXELS), 0.3), generator=generator)
    steps: dict[str, PriorStep] = {}
    for prior in priors:
        torch.manual_seed(0)
        steps[prior] = PriorStep(prior, particles, x, compiled=compiled)
        print(f"  ready: {prior}, {steps[prior].off:.0e} off the plain gradient", flush=True)
    timing = interleave(steps, rounds, MAX_SECONDS, time.process_time)
    return [
        Row(
            prior,
            particles,
            compiled,
            Spread.of([1 / seconds for seconds in timing.seconds[prior]]),
            timing.ratio(prior, priors[0]),
            step.size,
            step.off,
            step.prepared,
        )
        for prior, step in steps.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, nargs="+", default=[1, 5], metavar="K")
    parser.add_argument("--priors", nargs="+", default=PRIORS, metavar="NAME", help="as --prior")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--compiled", action="store_true", help="by the compiler; minutes to start")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    flags = parser.parse_args()
    flush_denormals()
    torch.set_num_threads(1)  # whose processor time is that of the step
    rows = []
    for particles in flags.particles:
        how = "compiled" if flags.compiled else "recorded"
        print(f"k = {particles}, {how}, one thread", flush=True)
        for row in measure(flags.priors, particles, flags.rounds, compiled=flags.compiled):
            print(f"  {row.prior:30} {row.words}", flush=True)
            rows.append(asdict(row))
    if flags.json:
        flags.json.write_text(json.dumps({"machine": description(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
