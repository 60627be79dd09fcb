"""Vas 2024: train vanilla TDVAE and TD-IWAE with several k and seeds, and report on them.

    python experiments/td_iwae.py --budget 120 --preset paper --dataset bsds

All models train for the same number of epochs, as many as fit ``--budget`` minutes on this machine
less what evaluation takes. Each is a run of ``fit.py`` in ``runs/`` of the folder, and one trained
there by hand with the same settings counts as done. ``--run-dir DIR --resume`` alone goes on with
what was cut off; several processes that share the folder may run it at once.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from joblib import Parallel, delayed

import pyro_vae
from experiments.side_by_side import ending, run_all, waiting_for, workers
from experiments.study import budget
from experiments.study.cells import run_cell
from experiments.study.plan import MODELS, SEEDS, Plan, new_plan, read_plan, resumed_plan
from experiments.study.study_table import write_study
from pyro_vae.cli.common import Parser, exit_code
from pyro_vae.errors import InputError
from pyro_vae.runs.job import device_named

COMMAND = "td_iwae.py"


def parser(prog: str = COMMAND) -> Parser:
    p = Parser(prog=prog, description=__doc__.splitlines()[0])
    p.add_argument("--budget", type=float, metavar="MINUTES", help="for training and evaluating")
    p.add_argument("--epochs", type=int, metavar="N", help="of every cell, instead of a budget")
    p.add_argument(
        "--models",
        nargs="+",
        metavar="M",
        help=f"vanilla (analytic KL), or particles of a TD-IWAE (default: {' '.join(MODELS)})",
    )
    p.add_argument("--seeds", type=int, metavar="N", help=f"of every model (default: {SEEDS})")
    p.add_argument(
        "--also-without-annealing",
        action="store_true",
        help="train seed 0 of every model once more with beta 1 throughout (Vas 2024, figure 5.2)",
    )
    shared = p.add_argument_group("equal in all cells; as fit.py takes them, and its defaults")
    shared.add_argument("--preset", metavar="NAME", help="small or paper")
    shared.add_argument("--dataset", metavar="NAME|FILE", help="natural, bsds, ...")
    shared.add_argument("--batch-size", type=int, metavar="B")
    shared.add_argument("--lr", type=float, help="Adam's learning rate")
    shared.add_argument("--num-train", type=int, metavar="N", help="training patches to cut")
    shared.add_argument("--components", type=int, metavar="N", help="that whitening keeps")
    shared.add_argument("--test-size", type=int, metavar="N", help="test data judged")
    shared.add_argument(
        "--eval-particles", type=int, metavar="K", help="of the test log-likelihood"
    )
    p.add_argument("--data-dir", metavar="DIR", help="data files (default: $PYRO_VAE_DATA)")
    p.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="cells trained side by side (default: one per CPU core, one on a GPU)",
    )
    p.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu or cuda")
    p.add_argument("--run-dir", metavar="DIR", help="default: runs/td-iwae-<preset>-<dataset>")
    p.add_argument("--resume", action="store_true", help="go on where this folder stands")
    p.add_argument("--no-report", action="store_true", help="train and write the table only")
    p.add_argument("--quiet", action="store_true", help="print the table only")
    return p


def main(arguments: list[str] | None = None, prog: str = COMMAND) -> int:
    """Run the command; returns its exit code."""
    return exit_code(prog, lambda: _main(arguments, prog))


def _main(arguments: list[str] | None, prog: str) -> int:
    flags = parser(prog).parse_args(arguments)
    if flags.resume and flags.run_dir is None:
        raise InputError("--resume wants --run-dir DIR, the study to continue")
    name = f"td-iwae-{flags.preset or 'small'}-{Path(flags.dataset or 'natural').stem}"
    folder = Path(flags.run_dir or f"runs/{name}")
    say = (lambda *a: None) if flags.quiet else (lambda line: print(line, flush=True))

    started = time.monotonic()
    plan, jobs, threads = _plan(flags, folder, say)
    data_dir = flags.data_dir or plan.data_dir
    say(
        f"{len(plan.cells)} cells, {plan.epochs} epochs each on {plan.shared['dataset']} "
        f"({plan.shared['preset']}), {jobs} at a time, in {folder}"
    )
    parent = os.getpid() if jobs > 1 else None
    # The longest first, so that none is left alone at the end.
    cells = sorted(plan.cells, key=lambda cell: (-cell.num_particles, cell.seed))
    calls = [
        delayed(run_cell)(folder, plan, cell, data_dir, threads, flags.quiet, parent)
        for cell in cells
    ]
    cut_off, failed = run_all(COMMAND, calls, jobs, say)
    facts = _facts(plan, arguments, jobs, (time.monotonic() - started) / 60)
    with waiting_for(folder):
        markdown, comma = write_study(folder, plan, facts)
    print(f"\n{markdown.read_text(encoding='utf-8')}")
    print(f"wrote {markdown} and {comma}")
    if cut_off is None and not flags.no_report:
        extra = ["--jobs", str(jobs)]
        extra += [] if data_dir is None else ["--data-dir", data_dir]
        extra += ["--quiet"] if flags.quiet else []
        failed |= not _report(folder, plan, extra, say)
    return ending(COMMAND, cut_off, failed)


def _plan(flags, folder: Path, say: Callable) -> tuple[Plan, int, int | None]:
    """The plan of the folder, made now where there is none; and cells at a time, with threads."""
    path = folder / "plan.json"
    with waiting_for(folder):
        if path.is_file():
            if not flags.resume:
                raise InputError(
                    f"{folder} holds a study already; go on with --resume or name another --run-dir"
                )
            planned = read_plan(path)
            plan = resumed_plan(planned, flags, folder)
            device = device_named(plan.device.partition(":")[0])
            if plan != planned:
                plan.write(path)
            return plan, *workers(flags.jobs, device)
        if (flags.budget is None) == (flags.epochs is None):
            raise InputError("give either --budget MINUTES or --epochs N")
        device = device_named(flags.device)
        jobs, threads = workers(flags.jobs, device)
        plan = new_plan(flags, str(device), jobs)
        if flags.budget is not None:
            budget.check_budget(plan)
            say("measuring the time of a step")
            call = delayed(budget.measure)(plan, flags.data_dir, threads)
            times = budget.slowest(Parallel(n_jobs=jobs)([call] * jobs))
            plan = budget.with_epochs(plan, times)
        plan.write(path)
        return plan, jobs, threads


def _report(folder: Path, plan: Plan, extra: list[str], say: Callable) -> bool:
    """Build the report of the finished cells; whether that went well, or is for others to do."""
    elsewhere = [
        cell.name
        for cell in plan.cells
        if not cell.finished(folder) and not cell.failure(folder).is_file()
    ]
    if elsewhere:
        say(f"no report yet: another process is at {', '.join(elsewhere)}, and builds it")
        return True
    runs = [str(cell.directory(folder).path) for cell in plan.cells if cell.finished(folder)]
    if not runs:
        print(f"{COMMAND}: no cell is finished, so there is nothing to report", file=sys.stderr)
        return False
    # Imported where it is wanted: it loads much, and training goes without.
    from analysis import report

    with waiting_for(folder / "claims" / "report"):
        return report.main([*runs, "--out", str(folder / "report"), *extra]) == 0


def _facts(plan: Plan, arguments: list[str] | None, jobs: int, minutes: float) -> list[str]:
    given = sys.argv[1:] if arguments is None else arguments
    planned = f"budget {plan.budget_minutes:g}" if plan.budget_minutes else "no budget"
    settings = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in plan.shared.items()
        if value is not None
    )
    return [
        f"command: `python experiments/{COMMAND} {' '.join(given)}`",
        f"settings: {settings}; seeds 0 to {plan.seeds - 1}, which choose patches, weights and "
        "noise",
        f"{minutes:.1f} minutes of this call ({planned}), {jobs} at a time on {plan.device} "
        f"({platform.machine()}, {os.cpu_count()} cores)",
        f"pyro_vae {pyro_vae.__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}",
    ]


if __name__ == "__main__":
    torch.set_flush_denormal(True)  # before there are threads: they inherit it
    sys.exit(main())
