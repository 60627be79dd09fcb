"""A training step of pairs of convolutions: ours, plain and recorded, against an eager loop.

    python benchmarks/image_step.py --json benchmarks/image_step.json

The eager loop (``benchmarks/bare_images.py``) runs torch's own layers on images in torch's default
layout: encoder, two heads, one draw of z, decoder, likelihood, ``backward`` and fused Adam. Its
loss is compared with ours on the same noise before anything is timed. A recorded step is what
``fit`` takes for convolutions on a CPU: the plain step traced once, without a C++ compiler, in
float32 or with products in bfloat16; which of the two ``fit`` would choose by itself is printed.
``--compiler`` adds the compiled one, which takes minutes to make. Freed memory stays with the
process, as ``fit`` has it: the eager loop gains from that too.

All take their steps in turns in one process; ratios are taken within rounds. Beside a busy machine
``--cpu`` compares the time of the process instead of that of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyro
import torch
from torch import Tensor, nn

import pyro_vae
from benchmarks.bare_images import BarePair
from benchmarks.machine import description, flush_denormals
from benchmarks.turns import interleave
from pyro_vae.programs import PairConfig
from pyro_vae.torch_state import keep_freed_memory
from pyro_vae.training import Gradients, GradientStep
from pyro_vae.training.bfloat16 import choose_precision

TIME = 0.9  # what ours may take of the eager loop
MAX_SECONDS = 20.0
LONG_RUN = 100_000  # steps


@dataclass(frozen=True)
class Case:
    """A preset of the model ``image``, and the shape (C, H, W) of its images."""

    preset: str
    shape: tuple[int, int, int]

    def rows(self, batch: int) -> Tensor:
        channels, height, width = self.shape
        return torch.randint(0, 256, (batch, channels * height * width)) / 255

    def pair(self, x: Tensor) -> tuple[nn.Module, nn.Module]:
        return PairConfig("image", preset=self.preset).build(x.shape[1], self.shape, rows=x)


CASES = (Case("conv-small", (3, 16, 16)), Case("conv", (1, 28, 28)))


def eager(case: Case, x: Tensor) -> Callable[[], float]:
    loss_of = BarePair(*case.pair(x), case.shape)
    adam = torch.optim.Adam(loss_of.parameters(), fused=True)

    def step() -> float:
        adam.zero_grad()
        loss = loss_of(x) / len(x)
        loss.backward()
        adam.step()
        return loss.item()

    return step


def ours(
    case: Case, x: Tensor, compiler: bool | None = None, precision: str = "float32"
) -> Callable[[], float]:
    """As ``fit`` takes it: plain, or recorded without or with a compiler."""
    model, guide = case.pair(x)
    gradients = Gradients(pyro_vae.ELBO(1), model, guide, precision=precision)
    gradient_step = GradientStep([model, guide], pyro_vae.OptimiserSettings())
    if compiler is not None:
        start = time.perf_counter()
        gradients.compile(x, compiler=compiler)
        print(f"recorded{' and compiled' * compiler} in {time.perf_counter() - start:.0f} s")

    def step() -> float:
        loss = gradients(x).value.item()
        gradient_step(len(x), loss)
        return loss / len(x)

    return step


def chosen(case: Case, x: Tensor) -> str:
    """The precision that ``fit`` chooses in a long run, and why."""
    gradients = Gradients(pyro_vae.ELBO(1), *case.pair(x), precision="auto")
    return choose_precision(gradients, x, {}, LONG_RUN).reason


def off(steps: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The difference of the first losses on the same noise from that of the eager loop, over it."""
    found = {}
    for name, step in steps.items():
        torch.manual_seed(0)
        found[name] = step()
    eager = found["eager"]
    return {name: abs(loss - eager) / abs(eager) for name, loss in found.items()}


def measured(flags: argparse.Namespace, case: Case) -> dict[str, object]:
    batch = flags.batch
    torch.manual_seed(0)
    x = case.rows(batch)
    steps = {
        "eager": eager(case, x),
        "plain": ours(case, x),
        "recorded": ours(case, x, compiler=False),
        "recorded-bf16": ours(case, x, compiler=False, precision="bf16"),
    }
    if flags.compiler:
        steps["compiled"] = ours(case, x, compiler=True)
    differences, reason = off(steps), chosen(case, x)
    clock = time.process_time if flags.cpu else time.perf_counter
    timing = interleave(steps, flags.rounds, MAX_SECONDS, clock)
    print(f"{case.preset}, batch {batch}, k = 1; fit would choose {reason}")
    row = {"preset": case.preset, "shape": case.shape, "batch": batch, "rounds": timing.rounds}
    row |= {"difference": differences, "chosen": reason, "milliseconds": {}, "ratio": {}}
    for name in steps:
        ratio, spread = timing.ratio(name, "eager"), timing.spread(name).scaled(1e3)
        row["milliseconds"][name] = spread.as_dict()
        row["ratio"][name] = ratio.as_dict()
        print(
            f"{name:>13} {spread.median:7.1f} ms  {ratio.median:.3f} of the eager loop "
            f"({ratio.lower:.3f} to {ratio.upper:.3f}), loss off by {differences[name]:.1e}",
            flush=True,
        )
    return row


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--cpu", action="store_true", help="time of the process, not of the clock")
    parser.add_argument("--compiler", action="store_true", help="the compiled step too")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args(argv)
    flush_denormals()
    keep_freed_memory()
    with pyro.validation_enabled(False):
        rows = [measured(flags, case) for case in CASES]
    print(f"mark: {TIME} of the eager loop")
    if flags.json:
        content = {"machine": description(), "clock": "cpu" if flags.cpu else "wall", "rows": rows}
        flags.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
