"""Time of one training step: this library, bare PyTorch, Pyro, NumPyro and pythae.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --cases burda1 td --batches 100 --particles 1 50 --memory

A step is loss, gradient and optimiser. Variants take their steps in turns; ``x1.10`` is the median
over rounds of the time over that of the bare loop in the same round, with quartiles. Before timing,
each variant's bound is compared with the library's. Variants whose package is missing are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # read once, when torch starts its threads
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyro
import torch

from benchmarks import unflushed
from benchmarks.cases import CASES
from benchmarks.machine import description, flush_denormals, matmul_peak
from benchmarks.table_cell import Limits, Row, print_rows, run_cell
from benchmarks.variants import VARIANTS

DENORMALS = {"case": "td", "batch": 100, "particles": (10, 50)}


def main() -> None:
    flags = _flags()
    warnings.filterwarnings("ignore", category=FutureWarning)
    flush_denormals()
    pyro.enable_validation(False)
    torch.manual_seed(0)
    limits = Limits(flags.rounds, flags.max_seconds, 1e9 * flags.max_gigabytes)
    start = matmul_peak()
    print(
        f"float32 product of 2048^3: {start / 1e9:.0f} GFLOP/s on {torch.get_num_threads()} threads"
    )
    rows: list[Row] = []
    for name in flags.cases:
        for batch in flags.batches:
            for num_particles in flags.particles:
                print(f"{name}, batch {batch}, k = {num_particles}", flush=True)
                cell = run_cell(
                    CASES[name], batch, num_particles, flags.variants, limits, start, flags.memory
                )
                print_rows(cell)
                rows += cell
                _write(flags.json, start, None, rows, [])  # a stopped run keeps its cells
    trained = _denormals(flags.variants, limits, start) if flags.denormals else []
    end = matmul_peak()
    print(f"float32 product of 2048^3 at the end: {end / 1e9:.0f} GFLOP/s")
    _write(flags.json, start, end, rows, trained)


def _write(
    path: Path | None, start: float, end: float | None, rows: list[Row], trained: list[dict]
) -> None:
    if path is None:
        return
    report = {
        "machine": {**description(), "matmul_flops": {"start": start, "end": end}},
        "rows": [row.as_dict() for row in rows],
        "denormals": trained,
    }
    path.write_text(json.dumps(report, indent=1) + "\n")


def _denormals(names: list[str], limits: Limits, peak: float) -> list[dict]:
    """The table of the trained pair, where some steps do not flush denormals."""
    table = []
    batch = DENORMALS["batch"]
    for num_particles in DENORMALS["particles"]:
        case = unflushed.trained(CASES[DENORMALS["case"]], num_particles, batch)
        effective = unflushed.effective_particles(case, num_particles, case.data(batch))
        print(
            f"denormals: {case.name} after 100 steps, batch {batch}, k = {num_particles}, "
            f"effective sample size {effective:.2f}",
            flush=True,
        )
        with ExitStack() as stack:
            extra = {
                f"{name} unflushed": stack.enter_context(
                    unflushed.in_own_process(name, case, num_particles, case.data(batch))
                )
                for name in unflushed.UNFLUSHED
            }
            cell = run_cell(case, batch, num_particles, names, limits, peak, extra=extra)
        print_rows(cell)
        table += [{**row.as_dict(), "effective_sample_size": effective} for row in cell]
    return table


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--batches", nargs="+", type=int, default=[20, 100, 400])
    parser.add_argument("--particles", nargs="+", type=int, default=[1, 5, 50])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=20, help="timed steps per variant")
    parser.add_argument(
        "--max-seconds", type=float, default=5.0, help="a cell with longer steps gets few rounds"
    )
    parser.add_argument(
        "--max-gigabytes", type=float, default=12.0, help="a cell that needs more is left out"
    )
    parser.add_argument(
        "--memory", action="store_true", help="peak memory too, a process for each variant: slow"
    )
    parser.add_argument(
        "--no-denormals",
        dest="denormals",
        action="store_false",
        help="without the table of the trained pair",
    )
    parser.add_argument("--json", type=Path, help="also write all results to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
