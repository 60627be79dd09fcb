"""Rebuild a published table: train its cells, evaluate them, set them beside the published figures.

    python experiments/replicate.py --table burda-mnist --budget 60 --levels 1 --num-particles 1 5

All cells of a table train for the same number of epochs, as many as fit ``--budget`` minutes on
this machine; the table says which share of the recipe that is. ``--resume`` continues what was cut
off and skips what is done. Several processes, on one machine or on many that share the folder,
may run the same command with ``--resume``: each cell is claimed by one of them.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from joblib import Parallel, delayed

import pyro_vae
from experiments.replication.cells import Place, load_data, run_chain
from experiments.replication.plan import Plan, check_budget, fit_budget, measure, read_plan, slowest
from experiments.replication.render import write_table
from experiments.replication.table_rows import Cell, Row, Table
from experiments.replication.tables import RECIPES, TABLES, table_named
from experiments.side_by_side import ending, run_all, told, waiting_for, workers
from pyro_vae.cli.common import Parser, exit_code
from pyro_vae.errors import InputError, check_choice, check_count, check_positive
from pyro_vae.runs.job import device_named
from pyro_vae.training.recipes import named_recipe
from pyro_vae.weights.diagnostics import MIN_PARTICLES_FOR_KHAT


def parser(prog: str = "replicate.py") -> Parser:
    p = Parser(prog=prog, description=__doc__.splitlines()[0])
    p.add_argument("--table", required=True, metavar="NAME", help=", ".join(TABLES))
    p.add_argument("--budget", type=float, metavar="MINUTES", help="wall-clock time for the table")
    p.add_argument(
        "--epochs", type=int, metavar="N", help="epochs of every cell, instead of a budget"
    )
    p.add_argument(
        "--recipe",
        default="burda",
        metavar="NAME",
        help=f"{' or '.join(RECIPES)}: batch 20 and learning rates from 1e-3, or batch 100 and "
        "from 1e-4 (default: burda)",
    )
    p.add_argument("--levels", type=int, nargs="+", metavar="L", help="rows with 1 or 2 levels")
    p.add_argument("--num-particles", type=int, nargs="+", metavar="K", help="rows with these k")
    p.add_argument("--seeds", type=int, default=1, metavar="N", help="of every cell (default: 1)")
    p.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="cells trained side by side (default: one per CPU core, one on a GPU)",
    )
    p.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu or cuda")
    p.add_argument(
        "--eval-particles",
        type=int,
        default=5_000,
        metavar="K",
        help=f"of the NLL, at least {MIN_PARTICLES_FOR_KHAT} (default: 5000)",
    )
    p.add_argument("--test-size", type=int, metavar="N", help="test images (default: by budget)")
    p.add_argument("--data-dir", metavar="DIR", help="data files (default: $PYRO_VAE_DATA)")
    p.add_argument("--run-dir", metavar="DIR", help="default: runs/<table>-<recipe>")
    p.add_argument("--resume", action="store_true", help="go on where this folder stands")
    p.add_argument("--quiet", action="store_true", help="print the table only")
    return p


def main(arguments: list[str] | None = None, prog: str = "replicate.py") -> int:
    """Run the command; returns its exit code."""
    return exit_code(prog, lambda: _main(arguments, prog))


def _main(arguments: list[str] | None, prog: str) -> int:
    flags = parser(prog).parse_args(arguments)
    table = table_named(flags.table)
    check_choice("recipe", flags.recipe, RECIPES)
    check_count("--seeds", flags.seeds)
    device = device_named(flags.device)
    jobs, threads = workers(flags.jobs, device)
    folder = Path(flags.run_dir or f"runs/{flags.table}-{flags.recipe}")
    say = (lambda *a: None) if flags.quiet else (lambda line: print(line, flush=True))

    started = time.monotonic()
    plan = _plan(flags, table, folder, device, jobs, threads, say)
    rows = _rows(table, plan.levels, plan.num_particles)
    say(
        f"{table.title}\nrecipe {plan.recipe}: {plan.epochs} of {named_recipe(plan.recipe).epochs} "
        f"epochs ({100 * plan.share:.2g} %), {plan.seeds} seed(s), {jobs} at a time, in {folder}"
    )
    tasks = [(chain, seed) for seed in range(plan.seeds) for chain in _chains(rows)]
    # The longest first, so that none is left alone at the end.
    tasks.sort(key=lambda task: -max(cell.num_particles for cell in task[0]))
    parent = os.getpid() if jobs > 1 else None
    calls = [
        delayed(_call)(
            folder, table, plan, chain, seed, flags.data_dir, threads, flags.quiet, parent
        )
        for chain, seed in tasks
    ]
    cut_off, failed = run_all("replicate.py", calls, jobs, say)
    minutes = (time.monotonic() - started) / 60
    markdown, comma = write_table(folder, table, rows, plan, _facts(plan, folder, rows, minutes))
    print(f"\n{markdown.read_text(encoding='utf-8')}")
    print(f"wrote {markdown} and {comma}")
    return ending("replicate.py", cut_off, failed)


def _call(folder, table, plan, chain, seed, *rest) -> list[tuple[str, str]]:
    """One chain, with a line for whatever goes wrong in it: the others go on."""
    places = [Place(folder, cell, seed) for cell in chain]
    try:
        outcomes = run_chain(folder, table, plan, chain, seed, *rest)
    except Exception as error:
        place = next((p for p in places if p.read_result() is None), places[-1])
        return [(place.path.name, told(place.failure, error))]
    return list(zip((place.path.name for place in places), outcomes, strict=False))


def _plan(flags, table: Table, folder: Path, device, jobs: int, threads: int | None, say) -> Plan:
    """The plan of the folder; made now where there is none."""
    path = folder / "plan.json"
    with waiting_for(folder):
        if path.is_file():
            if not flags.resume:
                raise InputError(
                    f"{folder} holds a table already; go on with --resume or name another --run-dir"
                )
            plan = read_plan(path)
            _check_same(plan, flags, device, folder)
            if flags.seeds > plan.seeds:  # more of the same
                plan = dataclasses.replace(plan, seeds=flags.seeds)
                plan.write(path)
            return plan
        if (flags.budget is None) == (flags.epochs is None):
            raise InputError("give either --budget MINUTES or --epochs N")
        levels = None if flags.levels is None else tuple(flags.levels)
        num_particles = None if flags.num_particles is None else tuple(flags.num_particles)
        rows = _rows(table, levels, num_particles)
        data = load_data(table, flags.recipe, flags.data_dir)
        epochs, test_size = flags.epochs, len(data.test)
        if epochs is None:
            check_positive("--budget", flags.budget)
            chains = _chains(rows)
            check_budget(chains, flags.seeds, flags.budget, jobs)
            say("measuring the time of a step")
            cells = [cell for chain in chains for cell in chain]
            call = delayed(measure)(
                cells,
                data,
                flags.recipe,
                table.binarise[flags.recipe],
                flags.eval_particles,
                device,
                threads,
            )
            epochs, test_size = fit_budget(
                chains,
                slowest(Parallel(n_jobs=jobs)([call] * jobs)),
                len(data.test),
                recipe=flags.recipe,
                seeds=flags.seeds,
                minutes=flags.budget,
                jobs=jobs,
            )
        check_count("--epochs", epochs)
        wanted = test_size if flags.test_size is None else flags.test_size
        test_size = min(check_count("--test-size", wanted, minimum=2), len(data.test))
        plan = Plan(
            table=flags.table,
            recipe=flags.recipe,
            seeds=flags.seeds,
            epochs=epochs,
            test_size=test_size,
            particles=check_count(
                "--eval-particles", flags.eval_particles, minimum=MIN_PARTICLES_FOR_KHAT
            ),
            levels=levels,
            num_particles=num_particles,
            budget_minutes=flags.budget,
            jobs=jobs,
            device=str(device),
            version=pyro_vae.__version__,
        )
        plan.write(path)
        return plan


def _check_same(plan: Plan, flags, device: torch.device, folder: Path) -> None:
    asked = {
        "table": flags.table,
        "recipe": flags.recipe,
        "particles": flags.eval_particles,
        "device": str(device),
        "epochs": flags.epochs,
        "budget_minutes": flags.budget,
        "test_size": flags.test_size,
        "levels": flags.levels and tuple(flags.levels),
        "num_particles": flags.num_particles and tuple(flags.num_particles),
    }
    for name, value in asked.items():
        if value is not None and value != getattr(plan, name):
            raise InputError(
                f"{folder} was planned with {name} = {getattr(plan, name)}, not {value}; go on "
                "with the same, or name another --run-dir"
            )


def _rows(
    table: Table, levels: tuple[int, ...] | None, num_particles: tuple[int, ...] | None
) -> list[Row]:
    """The rows asked for; InputError where there are none."""
    rows = [
        row
        for row in table.rows
        if (levels is None or row.cell.levels in levels)
        and (num_particles is None or row.cell.num_particles in num_particles)
    ]
    if not rows:
        have = sorted({(row.cell.levels, row.cell.num_particles) for row in table.rows})
        raise InputError(
            f"no row of the table has levels {levels or 'any'} and k {num_particles or 'any'}; "
            f"it has (levels, k) = {', '.join(map(str, have))}"
        )
    return rows


def _chains(rows: list[Row]) -> list[list[Cell]]:
    """Cells that start afresh, each followed by those that go on from it."""
    chains: dict[str, list[Cell]] = {}
    for row in rows:
        first = row.cell.start or row.cell
        chain = chains.setdefault(first.name, [first])
        if row.cell.start is not None:
            chain.append(row.cell)
    return list(chains.values())


def _facts(plan: Plan, folder: Path, rows: list[Row], minutes: float) -> list[str]:
    places = [Place(folder, row.cell, seed) for row in rows for seed in range(plan.seeds)]
    results = [place.read_result() for place in places]
    spent = sum(result.get("minutes", 0.0) for result in results if result)
    budget = f"budget {plan.budget_minutes:g}" if plan.budget_minutes else "no budget"
    return [
        f"command: `python experiments/replicate.py {' '.join(sys.argv[1:])}`",
        f"{minutes:.1f} minutes of this call ({budget}), {spent:.1f} minutes of all cells, "
        f"{plan.jobs} at a time on {plan.device} ({platform.machine()}, {os.cpu_count()} cores); "
        f"seeds 0 to {plan.seeds - 1}",
        f"pyro_vae {pyro_vae.__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}",
    ]


if __name__ == "__main__":
    torch.set_flush_denormal(True)  # before there are threads: they inherit it
    sys.exit(main())
