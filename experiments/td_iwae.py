"""The study of TD-IWAE: train vanilla TDVAE and TD-IWAE with several k and seeds; report on them.

    python experiments/td_iwae.py --budget 120 --preset paper --dataset bsds

The models are those of Vas 2024 (chapter 5; docs/references.md). All train for the same number of
epochs, as many as fit ``--budget`` minutes on this machine less what judging takes. Each is a run
as ``pyro-vae fit`` trains it, in ``runs/`` of the folder, and one trained there by hand with the
same settings counts as done. ``--run-dir DIR --resume`` alone goes on with what was cut off;
several processes that share the folder may run it at once. ``pyro-vae study`` is the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    # Run from a checkout: the library may be installed, the folders beside it are not.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    from pyro_vae.cli import prepare_process

    prepare_process()  # before torch starts its threads

from experiments.campaign.command import Call, Done, add_flags, carry_out
from experiments.campaign.runner import ending, waiting_for
from experiments.study.study_campaign import StudyCampaign
from experiments.study.study_models import MODELS, SEEDS, SWEPT
from pyro_vae.cli.common import Answer, Parser, answered

PROG = "td_iwae.py"


def parser(prog: str = PROG) -> Parser:
    """The command line; flags left out are None, so that a resume can tell."""
    p = Parser(
        prog=prog,
        description="Train the vanilla TDVAE and TD-IWAE with several k and seeds, and report on "
        "them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} --budget 120 --preset paper --dataset bsds
  {prog} --models vanilla 1 10 --seeds 3 --epochs 20 --num-train 80000
  {prog} --epochs 20 --seeds 5 --preset paper --dataset bsds --components 314 \\
      --hidden encoders=640/400,250,100 --init data --recipe minutes-from-data \\
      --also-from-random --also-lr 1e-4 1e-3
  {prog} --run-dir runs/td-iwae-paper-bsds --resume --models vanilla 1 4 10 50""",
    )
    p.add_argument(
        "--models",
        nargs="+",
        metavar="M",
        help=f"vanilla (analytic KL), or particles of a TD-IWAE (default: {' '.join(MODELS)})",
    )
    p.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help=f"seeds of every model, for data, weights and noise (default: {SEEDS})",
    )
    p.add_argument(
        "--also-without-annealing",
        action="store_true",
        help="train seed 0 of every model once more with beta 1 throughout (Vas 2024, figure 5.2)",
    )
    p.add_argument(
        "--also-from-random",
        action="store_true",
        help="train seed 0 of every model once more from random weights, for as many steps of the "
        "same recipe: the twin that tells what a start from the data gave. Steps of both cost the "
        "same; the start itself is extra and not made up for (half a minute of one core for 80000 "
        "patches of 314 components)",
    )
    p.add_argument(
        "--also-lr",
        type=float,
        nargs="+",
        metavar="RATE",
        help=f"train {' and '.join(SWEPT)}, where they are among the models, once more with each "
        "of these learning rates, all seeds",
    )
    shared = p.add_argument_group("settings of all cells, with the defaults of pyro-vae fit")
    shared.add_argument("--preset", metavar="NAME", help="small or paper")
    shared.add_argument("--init", metavar="NAME", help="random or data: what training starts from")
    shared.add_argument("--recipe", metavar="NAME", help="of pyro-vae fit")
    shared.add_argument(
        "--hidden",
        nargs="+",
        metavar="[PART=]W,W",
        help="hidden layers, as encoders=640/400,250,100 (the preset's 500 carry the sources of "
        "250 components)",
    )
    shared.add_argument("--dataset", metavar="NAME|FILE", help="natural, bsds, ...")
    shared.add_argument("--batch-size", type=int, metavar="B", help="data of a step")
    shared.add_argument("--lr", type=float, help="Adam's learning rate")
    shared.add_argument("--num-train", type=int, metavar="N", help="training patches to cut")
    shared.add_argument("--components", type=int, metavar="N", help="that whitening keeps")
    shared.add_argument("--test-size", type=int, metavar="N", help="test data judged")
    shared.add_argument(
        "--eval-particles", type=int, metavar="K", help="particles of the test log-likelihood"
    )
    p.add_argument("--run-dir", metavar="DIR", help="default: runs/td-iwae-<preset>-<dataset>")
    p.add_argument("--no-report", action="store_true", help="train and write the table only")
    add_flags(p, "study: training and judging, not the report")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""

    def answer(flags: argparse.Namespace) -> Answer:
        return _answer(flags, Call.of(prog, arguments, flags.quiet))

    return answered(parser(prog), arguments, answer)


def _answer(flags: argparse.Namespace, call: Call) -> Answer:
    done = carry_out(StudyCampaign(), flags, call, seeds=SEEDS)
    failed = done.failed
    if done.cut_off is None and not flags.no_report:
        data_dir = flags.data_dir or done.plan.data_dir
        extra = ["--jobs", str(done.jobs)]
        extra += [] if data_dir is None else ["--data-dir", data_dir]
        extra += ["--quiet"] if flags.quiet else []
        failed |= not _report(call.prog, done, extra, call.say)
    return done.answer(ending(call.prog, done.cut_off, failed))


def _report(prog: str, done: Done, extra: list[str], say: Callable[[str], None]) -> bool:
    """Build the report of the finished cells; whether that went well, or is for others to do."""

    elsewhere = [place.name for place in done.places if place.status == "not finished"]
    if elsewhere:
        say(f"no report yet: another process is at {', '.join(elsewhere)}, and builds it")
        return True
    # Of other learning rates the table tells what there is to tell.
    told = [place for place in done.places if place.finished and "lr" not in place.cell.settings]
    runs = [str(place.directory.path) for place in told]
    if not runs:
        print(f"{prog}: no cell is finished, so there is nothing to report", file=sys.stderr)
        return False
    # Imported where it is wanted: it loads much, and training goes without.
    from analysis import report

    with waiting_for(done.folder / "claims" / "report"):
        return report.main([*runs, "--out", str(done.folder / "report"), *extra]) == 0


if __name__ == "__main__":
    sys.exit(main())
