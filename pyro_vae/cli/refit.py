"""``pyro-vae refit``: another prior for a trained run, in seconds, and what it is worth."""

from __future__ import annotations

import argparse
import re
import shlex
import sys

from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.cli.images import add_run
from pyro_vae.cli.table import print_table
from pyro_vae.errors import check_count, check_positive
from pyro_vae.evaluation.statistics import Mean
from pyro_vae.programs.priors import PRIORS
from pyro_vae.runs import Hooks, RunDirectory
from pyro_vae.runs.job import device_named
from pyro_vae.runs.refitting import RefitSettings, RefittedRun, refit_run
from pyro_vae.training.prior_refit import STEPS

PROG = "pyro-vae refit"


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Fit another prior of the top level to a trained run, all else held fixed, and "
        "write the pair with it as a run of its own. The gain is measured on the test rows.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/first --prior mixture:components=500
  {prog} runs/first --prior realnvp --steps 3000 --run-dir runs/first-flow""",
    )
    add_run(p)
    p.add_argument(
        "--prior",
        required=True,
        metavar="NAME",
        help=f"{', '.join(name for name in PRIORS if name != 'standard')}; settings follow a "
        "colon, as NAME:key=value",
    )
    p.add_argument("--run-dir", metavar="DIR", help="of the new run (default: RUN-PRIOR)")
    p.add_argument(
        "--steps", type=int, default=STEPS, metavar="N", help=f"optimiser steps (default: {STEPS})"
    )
    p.add_argument(
        "--lr", type=float, metavar="RATE", help="of Adam (default: what the prior's kind had best)"
    )
    p.add_argument(
        "--eval-particles",
        type=int,
        metavar="K",
        help="particles of the test log-likelihood (default: the run's)",
    )
    p.add_argument("--data-dir", metavar="DIR", help="where the run's data lie now")
    p.add_argument("--quiet", action="store_true", help="print the table only")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    return answered(parser(prog), arguments, lambda flags: _answer(flags, [*prog.split(), *words]))


def _answer(flags: argparse.Namespace, command: list[str]) -> Answer:
    check_count("--steps", flags.steps)
    if flags.lr is not None:
        check_positive("--lr", flags.lr)
    check_count("--seed", flags.seed, minimum=0)
    if flags.eval_particles is not None:
        check_count("--eval-particles", flags.eval_particles)
    directory = RunDirectory(flags.run_dir or default_run_dir(flags.run, flags.prior))
    found = refit_run(
        flags.run,
        directory,
        RefitSettings(
            flags.prior, flags.steps, flags.lr, flags.seed, flags.eval_particles, flags.data_dir
        ),
        device=device_named(flags.device),
        command=shlex.join(command),
        hooks=Hooks(say=(lambda line: None) if flags.quiet else print, progress=not flags.quiet),
    )
    print_table(found.summary)
    print_refit(found)
    print(f"run directory: {directory.path}")
    return Answer({"run_dir": str(directory.path), "summary": found.summary.entries()})


def default_run_dir(run: str, prior: str) -> str:
    """RUN-NAME, with what the settings say: runs/first-mixture-components-500."""
    return f"{run.rstrip('/')}-{re.sub(r'[^A-Za-z0-9.]+', '-', prior).strip('-')}"


def print_refit(found: RefittedRun) -> None:
    """Print what the new prior is worth, in nats per datum."""
    refit, change = found.refit, found.change
    print(
        f"\nthe new prior gains {_told(refit.gain)} nats of the ELBO on {refit.num_held_out} test "
        f"rows, which it was not fitted to\n(E_q[-log p(z)]: {refit.before.mean:.2f} -> "
        f"{refit.after.mean:.2f}; on training rows {_told(refit.gain_fitted)})"
    )
    print(
        f"log-likelihood from {change.num_particles} particles, {change.num_data} test data: "
        f"{_told(change.log_likelihood)}; k-hat above 0.7 for {change.khat_above_before:.0%} of "
        f"them before and {change.khat_above_after:.0%} after"
    )
    if refit.gain.mean <= 0:
        print(
            "the new prior is no better than the old one on new rows: fewer components or steps "
            "help where the training rows gained"
        )


def _told(mean: Mean) -> str:
    return f"{mean.mean:+.3f} ± {mean.standard_error:.3f}"
