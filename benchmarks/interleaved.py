"""Time of our training step against that of another checkout of this library, taken in turns.

    python benchmarks/interleaved.py PATH/OF/ANOTHER/CHECKOUT
    python benchmarks/interleaved.py ../before --cases td --particles 50 --rounds 60

Each checkout lives in a process of its own and builds the step by its own ``benchmarks/steps.py``.
The two are asked in turns for a few steps each, in an order that changes every round, so that what
slows the machine for a while slows both. Printed is the ratio ours / theirs: its median over rounds
with quartiles and the standard error of the mean, of time on the clock and of CPU time (all
threads), which other work on the machine hardly changes.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
BATCH = 100
TURN_SECONDS = 0.2  # as many steps a turn as take about so long
WARM_UP = 3  # the first steps record, compile and allocate


@dataclass(frozen=True)
class Cell:
    """What is timed: a case of ``benchmarks/cases.py``, particles, and whether it is compiled."""

    case: str
    num_particles: int
    compiled: bool

    def __str__(self) -> str:
        return f"{self.case}, k = {self.num_particles}, {'' if self.compiled else 'not '}compiled"


@dataclass(frozen=True)
class Seconds:
    """Time of a turn, per step."""

    clock: float
    cpu: float


class Worker:
    """The process of one checkout; it answers each line with a line of JSON."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def prepare(self, cell: Cell) -> float:
        """Build the step; its seconds, once warm."""
        return self._ask(vars(cell))

    def steps(self, count: int) -> Seconds:
        return Seconds(*self._ask(count))

    def _ask(self, question: object):
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("a worker ended; its error is above")
        return json.loads(answer)


@contextmanager
def worker(checkout: Path, threads: int | None) -> Iterator[Worker]:
    """A process that imports the library from ``checkout`` and from nowhere else."""
    command = [sys.executable, __file__, "--serve", str(checkout)]
    environment = {**os.environ, "GOMP_SPINCOUNT": "3000"}  # the one that waits does not spin
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=checkout,
        env=environment,
    )
    try:
        yield Worker(process)
    finally:
        process.stdin.close()
        process.wait()


def serve(checkout: Path) -> None:
    """Answer until there are no more questions."""
    sys.path.insert(0, str(checkout))
    answers, sys.stdout = sys.stdout, sys.stderr  # what the library prints is no answer
    import pyro
    import torch

    import pyro_vae
    from benchmarks import steps
    from benchmarks.cases import CASES
    from benchmarks.machine import flush_denormals

    if not Path(pyro_vae.__file__).is_relative_to(checkout):
        raise SystemExit(f"imported {pyro_vae.__file__}, not the one in {checkout}")
    flush_denormals()
    pyro.enable_validation(False)
    step: Callable[[], object] = int
    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, int):
            answer = _timed(step, question)
        else:
            cell = Cell(**question)
            torch.manual_seed(0)
            case = CASES[cell.case]
            x = case.data(BATCH)
            taken = steps.ours(case, cell.num_particles, compiled=cell.compiled)
            step = lambda x=x, taken=taken: taken(x)  # noqa: E731 - a new one for each cell
            _timed(step, WARM_UP)
            answer = _timed(step, WARM_UP)[0]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _timed(step: Callable[[], object], count: int) -> tuple[float, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        step()
    return (time.perf_counter() - clock) / count, (time.process_time() - cpu) / count


@dataclass(frozen=True)
class Ratio:
    """Ours over theirs, paired by round.

    Attributes:
        error: standard error of the mean of the logarithm, which is that of the ratio near one.
    """

    median: float
    lower: float
    upper: float
    error: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
        spread = statistics.stdev(map(math.log, ratios))
        return cls(median, lower, upper, spread / math.sqrt(len(ratios)))

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.lower:.3f}, {self.upper:.3f}] +- {self.error:.3f}"


def compare(ours: Worker, theirs: Worker, cell: Cell, rounds: int) -> str:
    """One line: milliseconds of our step, and both ratios."""
    slower = max(ours.prepare(cell), theirs.prepare(cell))
    count = max(1, round(TURN_SECONDS / slower))
    taken: dict[Worker, list[Seconds]] = {ours: [], theirs: []}
    for turn in range(rounds):
        for one in (ours, theirs) if turn % 2 else (theirs, ours):
            taken[one].append(one.steps(count))
    clock = Ratio.of([t.clock for t in taken[ours]], [t.clock for t in taken[theirs]])
    cpu = Ratio.of([t.cpu for t in taken[ours]], [t.cpu for t in taken[theirs]])
    milliseconds = 1e3 * statistics.median(t.clock for t in taken[ours])
    return f"{cell!s:30} {milliseconds:8.2f} ms   clock {clock}   CPU {cpu}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="folder of the other checkout")
    parser.add_argument("--cases", nargs="+", default=["td", "burda1"])
    parser.add_argument("--particles", nargs="+", type=int, default=[1, 50])
    parser.add_argument("--rounds", type=int, default=30, help="turns of each checkout")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    checkout = flags.checkout.resolve()
    if flags.serve:
        serve(checkout)
        return
    print(f"ratio of {HERE} to {checkout}: median [quartiles] +- standard error", flush=True)
    with ExitStack() as stack:
        ours, theirs = (
            stack.enter_context(worker(folder, flags.threads)) for folder in (HERE, checkout)
        )
        for case, num_particles, compiled in product(flags.cases, flags.particles, (False, True)):
            cell = Cell(case, num_particles, compiled)
            print(compare(ours, theirs, cell, flags.rounds), flush=True)


if __name__ == "__main__":
    main()
