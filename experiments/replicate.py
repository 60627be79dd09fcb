"""Rebuild a published table: train its cells, judge them, set them beside the published numbers.

    python experiments/replicate.py --table burda-mnist --budget 60 --levels 1 --num-particles 1 5

All cells of a table train for the same number of epochs, as many as fit ``--budget`` minutes on
this machine; the table says which share of the recipe that is. ``--run-dir DIR --resume`` goes on
with what was cut off and skips what is done. Several processes, on one machine or on many that
share the folder, may run the same command with ``--resume``: each cell is claimed by one of them.
``pyro-vae replicate`` is the same command.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run from a checkout: the library may be installed, the folders beside it are not.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    from pyro_vae.cli import prepare_process

    prepare_process()  # before torch starts its threads

from experiments.campaign.command import Call, add_flags, carry_out
from experiments.campaign.runner import ending
from experiments.replication.table_campaign import TableCampaign
from experiments.replication.tables import TABLES
from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.weights.diagnostics import MIN_PARTICLES_FOR_KHAT

PROG = "replicate.py"


def parser(prog: str = PROG) -> Parser:
    """The command line; flags left out are None, so that a resume can tell."""
    p = Parser(
        prog=prog,
        description="Rebuild a published table: train its cells, judge them, and set them beside "
        "the published numbers.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} --table burda-mnist --budget 60 --levels 1 --num-particles 1 5
  {prog} --table ciwae --recipe mlmi4 --epochs 40 --seeds 3
  {prog} --table multilevel --recipe srvae --dataset celeba --crop 40 15 148 148 --epochs 20
  {prog} --run-dir runs/burda-mnist-burda --resume""",
    )
    p.add_argument("--table", metavar="NAME", help=", ".join(TABLES))
    p.add_argument(
        "--recipe",
        metavar="NAME",
        help="how cells train; of the tables of Burda et al. 2016 and Arnal et al. 2021: burda "
        "(batch 20, learning rates from 1e-3) or mlmi4 (batch 100, from 1e-4); of others: minutes "
        "on a CPU, or the published one (default: the table's first)",
    )
    p.add_argument(
        "--dataset",
        metavar="NAME",
        help="other data than the table's: a name or a path as pyro-vae fit takes them, such as a "
        "folder of images",
    )
    p.add_argument(
        "--crop",
        type=int,
        nargs=4,
        metavar=("TOP", "LEFT", "HEIGHT", "WIDTH"),
        help="what is cut out of each image of a folder first, in pixels",
    )
    p.add_argument("--levels", type=int, nargs="+", metavar="L", help="rows with 1 or 2 levels")
    p.add_argument("--num-particles", type=int, nargs="+", metavar="K", help="rows with these k")
    p.add_argument("--seeds", type=int, metavar="N", help="trainings of every cell (default: 1)")
    p.add_argument(
        "--eval-particles",
        type=int,
        metavar="K",
        help=f"particles behind the NLL, at least {MIN_PARTICLES_FOR_KHAT} and those of every row "
        "(default: the table's, mostly 5000)",
    )
    p.add_argument(
        "--test-size", type=int, metavar="N", help="test images judged (default: by budget)"
    )
    p.add_argument("--run-dir", metavar="DIR", help="default: runs/<table>-<recipe>")
    add_flags(p, "table")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""

    def answer(flags: argparse.Namespace) -> Answer:
        done = carry_out(TableCampaign(), flags, Call.of(prog, arguments, flags.quiet), seeds=1)
        return done.answer(ending(prog, done.cut_off, done.failed))

    return answered(parser(prog), arguments, answer)


if __name__ == "__main__":
    sys.exit(main())
