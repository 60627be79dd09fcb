"""``pyro-vae fit``: train a model and a guide on images, judge them, and write a run directory.

Bad input ends with one line and exit code 2, a training that diverges with 1, Ctrl-C with 130, kill
with 143.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path
from typing import Any

from pyro_vae.cli import pictures
from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.cli.flags import add_settings
from pyro_vae.cli.table import print_table
from pyro_vae.errors import InputError
from pyro_vae.runs import (
    Hooks,
    RunConfig,
    RunDirectory,
    new_config,
    resume_config,
    train,
)
from pyro_vae.runs.job import with_command
from pyro_vae.runs.tensorboard import FOLDER, TensorBoard
from pyro_vae.training.parallel import Processes, joined_processes

PROG = "pyro-vae fit"
NO_SETTINGS = ("run_dir", "resume", "quiet", "config", "json", "tensorboard")


def parser(prog: str = PROG) -> Parser:
    """The command line; flags left out are absent, so that a resume can tell."""
    p = Parser(
        prog=prog,
        description="Train a hierarchical VAE and its guide on images, evaluate it on held-out "
        "data and write a run directory that ArviZ opens.",
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} --guide topdown --num-particles 50
  {prog} --dataset my_photographs/ --latent 200 10 --epochs 20
  {prog} --model burda1 --dataset mnist --recipe burda --epochs 40
  {prog} --config runs/first/config.json --seed 3
  {prog} --resume --run-dir runs/first""",
    )
    add_settings(p)
    run = p.add_argument_group("run")
    run.add_argument("--run-dir", metavar="DIR", help="default: runs/<date>-<what>")
    run.add_argument("--resume", action="store_true", help="continue the run in --run-dir exactly")
    run.add_argument(
        "--config", metavar="FILE", help="settings of this config.json, which flags here change"
    )
    run.add_argument(
        "--tensorboard",
        action="store_true",
        help="write curves for `tensorboard --logdir RUN_DIR` too; a resume goes on with them",
    )
    run.add_argument("--quiet", action="store_true", help="print the final table only")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else [str(word) for word in arguments]

    def answer(flags: argparse.Namespace) -> Answer:
        given = vars(flags)
        with joined_processes(given.get("device", "auto")) as processes:
            return _answer(given, [*prog.split(), *words], processes)

    return answered(parser(prog), arguments, answer)


def _answer(given: dict[str, Any], command: list[str], processes: Processes) -> Answer:
    quiet = given.get("quiet", False) or not processes.first
    settings = {name: value for name, value in given.items() if name not in NO_SETTINGS}
    resume = given.get("resume", False)
    if resume:
        if "run_dir" not in given:
            raise InputError("--resume wants --run-dir DIR, the run to continue")
        if "config" in given:
            raise InputError("--resume takes the settings of the run itself; leave --config out")
        directory = RunDirectory(given["run_dir"])
        config = resume_config(directory.path, settings)
    else:
        base = _read_base(given["config"]) if "config" in given else None
        config = with_command(new_config(settings, base), command)
        run_dir = given.get("run_dir") or default_run_dir(config)
        directory = RunDirectory(processes.from_first(run_dir))
    say = (lambda line: None) if quiet else print
    hooks = Hooks(say=say, on_finish=lambda found: pictures.draw(found, say), progress=not quiet)
    if given.get("tensorboard", False) or (resume and (directory.path / FOLDER).is_dir()):
        hooks = TensorBoard(directory.path / FOLDER).added_to(hooks)
    outcome = train(config, directory, hooks, resume=resume)
    signal = outcome.fitted.signal
    if not processes.first:
        return Answer(None, 0 if signal is None else 128 + signal)
    found = {"run_dir": str(directory.path), "stopped": outcome.fitted.stopped}
    if signal is not None:
        print(
            f"{_name(command)}: stopped; continue with: {_again(command)} --resume "
            f"--run-dir {directory.path}",
            file=sys.stderr,
        )
        return Answer(found | {"summary": None}, 128 + signal)
    assert outcome.summary is not None  # of a training that was not stopped
    print_table(outcome.summary)
    print(f"run directory: {directory.path}")
    return Answer(found | {"summary": outcome.summary.entries()})


def _name(command: list[str]) -> str:
    return command[0] if command[0] != "pyro-vae" else PROG


def _again(command: list[str]) -> str:
    """How to call the command again."""
    return PROG if command[0] == "pyro-vae" else f"python experiments/{command[0]}"


def _read_base(path: str) -> RunConfig:
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    return RunDirectory.read_config_file(file)


def default_run_dir(config: RunConfig) -> Path:
    """runs/<date>-<dataset>-<model>-<guide>-<objective>-k<K>."""
    now = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    pair, objective = config.pair, config.objective
    data = Path(config.data.dataset).stem
    what = f"{data}-{pair.model}-{pair.guide}-{objective.name}"
    return Path("runs") / f"{now}-{what}-k{objective.num_particles}"
