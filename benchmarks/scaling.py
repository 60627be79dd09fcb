"""How the cost of a step grows with the particles k and with the batch B.

    python benchmarks/scaling.py --figure scaling.png

times the variants at all sizes in turns, over k at batch 100 and over B at k = 50, fits
``cost = a + b n`` by least squares on relative errors (so that small n count as much as large
ones), and prints a, b and the R^2 of the fit in milliseconds, with the largest relative residual,
which is the harder test.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # read once, when torch starts its threads
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pyro
import torch

from benchmarks.cases import CASES, Case
from benchmarks.machine import description, flush_denormals
from benchmarks.turns import Spread, interleave
from benchmarks.variants import VARIANTS

PARTICLES, AT_BATCH = (1, 5, 10, 25, 50, 100, 200), 100
BATCHES, AT_PARTICLES = (20, 50, 100, 200, 400), 50


@dataclass(frozen=True)
class Line:
    """cost = intercept + slope n, milliseconds.

    Attributes:
        r_squared: share of the variance of the costs that the line explains.
        worst: largest |cost - line| / cost.
    """

    intercept: float
    slope: float
    r_squared: float
    worst: float

    @classmethod
    def through(cls, sizes: Sequence[int], costs: Sequence[float]) -> Line:
        n, cost = np.asarray(sizes, float), np.asarray(costs, float)
        slope, intercept = np.polyfit(n, cost, 1, w=1 / cost)
        residual = cost - intercept - slope * n
        r_squared = 1 - (residual**2).sum() / ((cost - cost.mean()) ** 2).sum()
        return cls(intercept, slope, r_squared, np.abs(residual / cost).max())

    def __str__(self) -> str:
        return (
            f"{self.intercept:.2f} + {self.slope:.3f} n ms, R^2 {self.r_squared:.4f}, "
            f"worst residual {self.worst:.0%}"
        )


Curves = dict[str, dict[int, Spread]]  # variant -> size -> milliseconds; not all can run at all


def curves(
    case: Case,
    cells: dict[int, tuple[int, int]],
    names: Sequence[str],
    rounds: int,
    max_seconds: float,
) -> Curves:
    """Milliseconds of a step of every variant at size -> (batch, k).

    Sizes take turns like variants do, or a machine that slows for a minute would bend the line.
    """
    pyro.clear_param_store()
    prepared = {}
    for size, (batch, num_particles) in cells.items():
        x = case.data(batch)
        for name in names:
            try:
                prepared[name, size] = VARIANTS[name].prepare(case, num_particles, x)
            except NotImplementedError as error:
                print(f"  {name} at {size}: {error}")
    timing = interleave(prepared, rounds, max_seconds)
    found: Curves = {}
    for name, size in prepared:
        found.setdefault(name, {})[size] = timing.spread((name, size)).scaled(1e3)
    for size in cells:
        ran = [name for name in found if size in found[name]]
        print(
            f"  {size}: " + "  ".join(f"{name} {found[name][size].median:.2f} ms" for name in ran)
        )
    return found


def draw(axis: plt.Axes, label: str, found: Curves) -> dict[str, Line]:
    """Points with quartiles and fitted lines, both axes logarithmic; the lines."""
    lines = {}
    for name, by_size in found.items():
        sizes, spreads = list(by_size), by_size.values()
        dense = np.geomspace(sizes[0], sizes[-1], 100)
        medians = [spread.median for spread in spreads]
        lines[name] = line = Line.through(sizes, medians)
        errors = (
            [spread.median - spread.lower for spread in spreads],
            [spread.upper - spread.median for spread in spreads],
        )
        text = f"{name}: {line.intercept:.1f} + {line.slope:.2f} n, $R^2$ {line.r_squared:.4f}"
        bars = axis.errorbar(sizes, medians, yerr=errors, fmt="o", capsize=2, label=text)
        axis.plot(dense, line.intercept + line.slope * dense, color=bars[0].get_color(), lw=1)
    axis.set(xscale="log", yscale="log", xlabel=label, ylabel="ms per step")
    axis.legend(fontsize=8)
    return lines


def main() -> None:
    flags = _flags()
    flush_denormals()
    pyro.enable_validation(False)
    torch.manual_seed(0)
    case = CASES[flags.case]
    sweeps = {
        f"particles k, batch {AT_BATCH}": {k: (AT_BATCH, k) for k in flags.particles},
        f"batch B, k = {AT_PARTICLES}": {batch: (batch, AT_PARTICLES) for batch in flags.batches},
    }
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    figure.suptitle(f"Time of a training step of {case.name}")
    report = {"machine": description(), "case": case.name, "sweeps": {}}
    for axis, (label, cells) in zip(axes, sweeps.items(), strict=True):
        print(label)
        found = curves(case, cells, flags.variants, flags.rounds, flags.max_seconds)
        lines = draw(axis, label, found)
        for name, line in lines.items():
            print(f"  {name}: {line}")
        report["sweeps"][label] = {
            name: {
                "milliseconds": {size: spread.as_dict() for size, spread in by_size.items()},
                "line": asdict(lines[name]),
            }
            for name, by_size in found.items()
        }
    if flags.figure:
        figure.savefig(flags.figure, dpi=150)
    if flags.json:
        flags.json.write_text(json.dumps(report, indent=1) + "\n")


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, default="td")
    parser.add_argument("--particles", nargs="+", type=int, default=list(PARTICLES))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    ours = ["bare", "ours", "ours-compiled", "ours-thinned"]
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=ours)
    parser.add_argument("--rounds", type=int, default=20, help="timed steps per variant and size")
    parser.add_argument(
        "--max-seconds", type=float, default=5.0, help="few rounds where a step takes longer"
    )
    parser.add_argument("--figure", type=Path, help="write the picture to this file")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
