"""``pyro-vae evaluate``: bounds and log-likelihood of new images, or of the run's test data."""

from __future__ import annotations

import argparse
import dataclasses

import torch
from tqdm import tqdm

from pyro_vae.cli.common import Answer, Parser, answered, write_out
from pyro_vae.cli.images import KINDS, add_run, read_images
from pyro_vae.cli.table import print_estimates
from pyro_vae.datasets import load_dataset
from pyro_vae.errors import check_count
from pyro_vae.evaluation import evaluate, generation_cost
from pyro_vae.runs import load_run
from pyro_vae.runs.facts import check_same_data
from pyro_vae.runs.job import device_named
from pyro_vae.ticking import ticking

PROG = "pyro-vae evaluate"


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Estimate bounds and the log-likelihood of images under a trained run, with "
        "standard errors and what Pareto k-hat says of them; and how many numbers the run has "
        "learnt, and how long drawing images takes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/first
  {prog} runs/first new_patches.npy --eval-particles 20000 --out new.json""",
    )
    add_run(p)
    p.add_argument(
        "images",
        nargs="?",
        metavar="IMAGES",
        help=f"{KINDS} (default: the run's test data)",
    )
    p.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="images judged (default: all; of test data as many as the run judged)",
    )
    p.add_argument(
        "--eval-particles",
        type=int,
        metavar="K",
        help="particles (default: the run's: 5000, or 512 with networks of images, unless told)",
    )
    p.add_argument("--data-dir", metavar="DIR", help="where the run's data lie now")
    p.add_argument("--out", metavar="FILE.json", help="file for the estimates, as JSON")
    p.add_argument("--quiet", action="store_true", help="print the table only")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    if flags.eval_particles is not None:
        check_count("--eval-particles", flags.eval_particles)
    run = load_run(flags.run, device_named(flags.device))
    particles = flags.eval_particles or run.config.evaluation.eval_particles
    if flags.images is None:
        changes = {} if flags.data_dir is None else {"data_dir": flags.data_dir}
        with ticking("reading the data", not flags.quiet):
            data = load_dataset(**run.config.data_arguments | changes)
        check_same_data(run.config, data, flags.run)
        rows, size = data.test.to(run.device), flags.size or run.config.evaluation.test_size
    else:
        rows = run.rows(read_images(flags.images, run))
        size = flags.size or len(rows)
    rows = rows[: check_count("--size", size)]
    torch.manual_seed(flags.seed)
    bound_particles = min(run.config.objective.num_particles, particles)
    with tqdm(total=len(rows), desc="images", disable=flags.quiet, leave=False) as bar:
        found = evaluate(
            run.model,
            run.guide,
            rows,
            num_particles=particles,
            bound_particles=bound_particles,
            on_progress=bar.update,
        )
    print_estimates(found.summary(), len(rows), particles, bound_particles, run.model.bound_of)
    if found.warning:
        print(f"warning: {found.warning}")
    with ticking("timing the drawing of images", not flags.quiet):
        cost = generation_cost(run.model, run.guide)
    for line in cost.lines():
        print(line)
    content = {
        "test": found.summary(),
        "warning": found.warning,
        "images": len(rows),
        "generation": dataclasses.asdict(cost),
    }
    written = write_out(flags.out, content)
    judged = {
        "particles": particles,
        "bound_particles": bound_particles,
        "bound_of": run.model.bound_of,
    }
    return Answer(content | judged | {"files": written})
