"""Another prior late: refitted to a trained pair, then trained on with it, against no change.

    python experiments/late_prior.py --data-dir DATA

A VAE of small colour images is trained under the standard normal prior (6 epochs). Other priors
are fitted to its q(z | x), all else held fixed, and each of the pairs, with its new prior or the
old one, is trained for two more epochs: as long, with the optimiser anew, the same learning rates,
batches and noise. Beside them RealNVP from the identity instead of the refit, and RealNVP from the
first step on. All are judged on the same test images, so that differences are paired.

Every arm is a run directory in ``runs/`` of the folder, which every command takes. A call goes on
with what another one left; ``runs/standard-seed0`` may be a run of ``pyro-vae fit`` with the same
settings. The tables are ``late_prior.md`` and ``late_prior.csv``.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    # Run from a checkout: the library may be installed, the folders beside it are not.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    from pyro_vae.cli import prepare_process

    prepare_process()  # before torch starts its threads

import torch

from experiments.campaign.command import Call
from experiments.late.arms import ARMS, BASE, Arm
from experiments.late.late_estimates import Judge
from experiments.late.late_runs import Protocol, Workshop
from experiments.late.late_table import write_late
from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.datasets import load_dataset
from pyro_vae.errors import check_choice, check_count
from pyro_vae.version import __version__

PROG = "late_prior.py"
NAMES = {arm.name: arm for arm in ARMS}


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Train a VAE of small images under the standard normal prior, refit other "
        "priors to it, train on with each, and compare them image by image.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} --data-dir data
  {prog} --seeds 1 --arms more-realnvp --no-fid""",
    )
    plan = Protocol()
    p.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds of every arm (3)")
    p.add_argument(
        "--arms",
        nargs="+",
        default=[*NAMES],
        metavar="NAME",
        help=f"only these and what they start from: {', '.join(NAMES)} (default: all)",
    )
    p.add_argument("--dataset", default=plan.dataset, metavar="NAME|FILE", help="default: cifar10")
    p.add_argument(
        "--image-size",
        type=int,
        default=plan.image_size,
        metavar="N",
        help=f"side that images are reduced to, 0 to leave them ({plan.image_size})",
    )
    p.add_argument("--data-dir", metavar="DIR", help="data files (default: $PYRO_VAE_DATA)")
    p.add_argument(
        "--epochs",
        type=int,
        default=plan.epochs,
        metavar="N",
        help=f"from random weights ({plan.epochs})",
    )
    p.add_argument(
        "--later-epochs",
        type=int,
        default=plan.later_epochs,
        metavar="N",
        help=f"more, of all parts together ({plan.later_epochs})",
    )
    p.add_argument(
        "--refit-steps",
        type=int,
        default=plan.refit_steps,
        metavar="N",
        help=f"of a prior alone ({plan.refit_steps})",
    )
    p.add_argument("--test-size", type=int, default=1_000, metavar="N", help="images judged (1000)")
    p.add_argument(
        "--eval-particles", type=int, default=64, metavar="K", help="particles of each image (64)"
    )
    p.add_argument(
        "--no-fid", action="store_true", help="no Frechet distances, which want labels of the data"
    )
    p.add_argument("--run-dir", default="runs/late-prior", metavar="DIR", help="runs and tables")
    p.add_argument("--quiet", action="store_true", help="print the tables only")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(
        parser(prog), arguments, lambda flags: _answer(flags, Call.of(prog, arguments, flags.quiet))
    )


def _answer(flags: argparse.Namespace, call: Call) -> Answer:
    started = time.monotonic()
    for name in ("seeds", "epochs", "later_epochs", "refit_steps", "test_size", "eval_particles"):
        check_count(f"--{name.replace('_', '-')}", getattr(flags, name))
    arms = with_starts([NAMES[check_choice("--arms", name, NAMES)] for name in flags.arms])
    protocol = Protocol(
        flags.dataset,
        flags.image_size or None,
        flags.data_dir,
        flags.epochs,
        flags.later_epochs,
        flags.refit_steps,
    )
    data = load_dataset(**protocol.config(BASE, 0).data_arguments)
    folder = Path(flags.run_dir)
    workshop = Workshop(protocol, folder / "runs", data, flags.quiet)
    judge = Judge(data, flags.test_size, flags.eval_particles)
    tasks = [(arm, seed) for seed in range(flags.seeds) for arm in arms]
    for number, (arm, seed) in enumerate(tasks, 1):
        directory = arm.directory(workshop.folder, seed)
        call.say(f"{number} of {len(tasks)}: {directory.path.name} ({arm.label})")
        if workshop.make(arm, seed) == "stopped":
            print(f"{call.prog}: stopped; the same command goes on", file=sys.stderr)
            return Answer({"files": []}, 130)
        judge.estimate(directory)
        if not flags.no_fid:
            judge.distance(directory)
    facts = [
        f"command: `{call.command}`",
        data.description,
        f"{(time.monotonic() - started) / 60:.1f} minutes of this call ({platform.machine()}, "
        f"{torch.get_num_threads()} threads of {os.cpu_count()} cores)",
        f"pyro_vae {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    ]
    markdown, comma = write_late(folder, protocol, range(flags.seeds), facts)
    print(f"\n{markdown.read_text(encoding='utf-8')}")
    print(f"wrote {markdown} and {comma}")
    return Answer({"files": [str(markdown), str(comma)]})


def with_starts(arms: list[Arm]) -> list[Arm]:
    """The arms and all that they start from, in the order in which they are made."""
    wanted: set[Arm] = set()
    for arm in arms:
        while arm is not None:
            wanted.add(arm)
            arm = arm.start
    return [arm for arm in ARMS if arm in wanted]


if __name__ == "__main__":
    sys.exit(main())
