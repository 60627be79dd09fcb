"""One cell of the table: a case at a batch size and a number of particles, all variants."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyro
import torch

from benchmarks import memory, steps
from benchmarks.cases import Case
from benchmarks.machine import flops
from benchmarks.same_bound import Check
from benchmarks.turns import Spread, interleave
from benchmarks.variants import VARIANTS, Prepared

BASE = "bare"
CHECKED_DATA = 20  # rows on which bounds are compared


@dataclass(frozen=True)
class Row:
    """A variant in a cell.

    Attributes:
        milliseconds: of a step. ratio: to the bare step of the same round.
        share_of_peak: FLOP/s of its matrix products over those of a large product; of the bare
            step's FLOPs, and of its own for thinned gradients. flops: those.
        checks: what was compared before timing; empty for our own.
        memory: bytes, see ``memory``; None where not asked for.
        rounds: timed steps.
    """

    case: str
    batch: int
    num_particles: int
    variant: str
    milliseconds: Spread
    ratio: Spread
    share_of_peak: float
    flops: int
    checks: list[Check]
    memory: dict | None
    rounds: int

    def as_dict(self) -> dict[str, object]:
        checks = [
            {"what": c.what, "distance": c.distance, "limit": c.limit, "agrees": bool(c.agrees)}
            for c in self.checks
        ]
        spreads = {"milliseconds": self.milliseconds.as_dict(), "ratio": self.ratio.as_dict()}
        return {**vars(self), **spreads, "checks": checks}


@dataclass(frozen=True)
class Limits:
    """How much a cell may cost: timed rounds, seconds of a step, bytes."""

    rounds: int
    max_seconds: float
    max_bytes: float


def run_cell(
    case: Case,
    batch: int,
    num_particles: int,
    names: Sequence[str],
    limits: Limits,
    peak: float,
    with_memory: bool = False,
    extra: dict[str, Prepared] | None = None,
) -> list[Row]:
    """Check and time the variants of a cell; says what it leaves out, and why.

    Args:
        names: of variants; the bare step is always among them.
        peak: FLOP/s of a large matrix product.
        extra: more steps to take turns with, prepared and not checked.
    """
    wanted = memory.estimate(case, batch, num_particles)
    if wanted > limits.max_bytes:
        print(f"    left out: it would need about {wanted / 1e9:.0f} GB")
        return []
    pyro.clear_param_store()
    x = case.data(batch)
    prepared: dict[str, Prepared] = {}
    checks: dict[str, list[Check]] = {}
    for name in dict.fromkeys((BASE, *names)):
        try:
            checks[name] = _checked(name, case, num_particles, x)
            prepared[name] = _prepared(name, case, num_particles, x)
        except NotImplementedError as error:
            print(f"    {name}: {error}")
    prepared |= extra or {}
    timing = interleave(prepared, limits.rounds, limits.max_seconds)
    if timing.rounds < limits.rounds:
        print(f"    {timing.rounds} rounds: a step takes over {limits.max_seconds:g} s")
    prepared.clear()
    gc.collect()
    bare_flops = flops(lambda: steps.bare(case, num_particles)(x))
    rows = []
    for name in timing.seconds:
        count = bare_flops
        if name in ("ours-thinned", "ours-thinned-bf16"):
            step = steps.ours(case, num_particles, thin=True)
            step(x)  # the first one records the graph, which runs everything once more
            count = flops(lambda step=step: step(x))
        spread = timing.spread(name)
        row = Row(
            case=case.name,
            batch=batch,
            num_particles=num_particles,
            variant=name,
            milliseconds=spread.scaled(1e3),
            ratio=timing.ratio(name, BASE),
            share_of_peak=count / spread.median / peak,
            flops=count,
            checks=checks.get(name, []),
            memory=None,
            rounds=timing.rounds,
        )
        if with_memory:
            held = memory.in_subprocess(case.name, batch, num_particles, name)
            row = replace(row, memory=held)
        rows.append(row)
    pyro.clear_param_store()
    return rows


def _checked(name: str, case: Case, num_particles: int, x: torch.Tensor) -> list[Check]:
    """Outcome of the variant's check on a few rows; a mismatch is printed at once."""
    variant = VARIANTS[name]
    reason = variant.why_not(case)
    if reason is not None:
        raise NotImplementedError(reason)
    outcome = variant.check(case, num_particles, x[:CHECKED_DATA]) if variant.check else []
    for check in outcome:
        if not check.agrees:
            print(f"    {name}: {check}; its time is not that of the same step")
    return outcome


def _prepared(name: str, case: Case, num_particles: int, x: torch.Tensor) -> Callable[[], object]:
    return VARIANTS[name].prepare(case, num_particles, x)


def print_rows(rows: Sequence[Row]) -> None:
    """A line for each variant of a cell."""
    for row in rows:
        ms, ratio = row.milliseconds, row.ratio
        line = (
            f"  {row.variant:20}{ms.median:9.2f} ms [{ms.lower:8.2f}, {ms.upper:8.2f}]"
            f"   x{ratio.median:5.2f} [{ratio.lower:5.2f}, {ratio.upper:5.2f}]"
            f"   {row.share_of_peak:4.0%} of peak"
        )
        if row.memory:
            held = row.memory["steady"]
            line += f"   +{row.memory['added'] / 1e6:6.0f} MB"
            line += f" (steady {held / 1e6:6.0f})" if held is not None else ""
        if not all(check.agrees for check in row.checks):
            line += "   MISMATCH"
        print(line, flush=True)
