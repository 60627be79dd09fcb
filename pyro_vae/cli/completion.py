"""``pyro-vae completion``: a script that lets a shell complete commands, flags, names and paths."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

import shtab

from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.datasets.batches import BINARISE
from pyro_vae.datasets.whitening import WHITEN
from pyro_vae.errors import check_choice
from pyro_vae.objectives import OBJECTIVES
from pyro_vae.objectives.estimators import ESTIMATORS
from pyro_vae.programs import GUIDES, MODELS, PRESETS
from pyro_vae.programs.likelihoods import LIKELIHOODS
from pyro_vae.programs.networks import NETWORKS
from pyro_vae.programs.posteriors import POSTERIORS
from pyro_vae.programs.priors import PRIORS
from pyro_vae.programs.start import STARTS
from pyro_vae.training.optimisation import GRADIENTS, OPTIMISERS
from pyro_vae.training.precision import PRECISIONS
from pyro_vae.training.recipes import RECIPES

PROG = "pyro-vae completion"
SHELLS = ("bash", "zsh")
# Setting -> the names it is one of, where its flag takes a name.
NAMES = {
    "binarise": BINARISE,
    "estimator": ESTIMATORS,
    "gradient": GRADIENTS,
    "guide": GUIDES,
    "init": STARTS,
    "likelihood": LIKELIHOODS,
    "model": MODELS,
    "network": NETWORKS,
    "objective": OBJECTIVES,
    "optimiser": OPTIMISERS,
    "posterior": POSTERIORS,
    "precision": PRECISIONS,
    "preset": PRESETS,
    "prior": PRIORS,
    "recipe": RECIPES,
    "shell": SHELLS,
    "whiten": WHITEN,
}


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Print a script that makes a shell complete the commands of pyro-vae, their "
        "flags, names of models and objectives, and paths.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} bash > ~/.local/share/bash-completion/completions/pyro-vae
  {prog} zsh > ~/.zfunc/_pyro-vae    # with fpath+=~/.zfunc before compinit in ~/.zshrc""",
    )
    p.add_argument("shell", metavar="SHELL", help=f"{' or '.join(SHELLS)}")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    check_choice("shell", flags.shell, SHELLS)
    script = shtab.complete(all_commands(), shell=flags.shell)
    print(script)
    return Answer({"shell": flags.shell, "script": script})


def all_commands() -> argparse.ArgumentParser:
    """The parsers of all commands as one; it completes command lines and parses none."""
    from pyro_vae.cli import COMMANDS

    root = argparse.ArgumentParser(prog="pyro-vae")
    commands = root.add_subparsers()
    for name, (module, line) in COMMANDS.items():
        own = importlib.import_module(module).parser(f"pyro-vae {name}")
        one = commands.add_parser(name, parents=[own], add_help=False, help=line)
        for action in one._actions:
            _hint(action)
    return root


def _hint(action: argparse.Action) -> None:
    """Tell the shell what an argument is: a name, a folder or a file."""
    hinted: Any = action  # shtab reads an attribute that actions do not have
    words = str(action.metavar).partition("[")[0].split("|")
    if action.dest in NAMES and action.nargs != 0:
        action.choices = list(NAMES[action.dest])
    elif words == ["RUN"] or ("DIR" in words and "FILE" not in words):
        hinted.complete = shtab.DIRECTORY
    elif any(word.startswith(("FILE", "IMAGES", "OTHERS")) for word in words):
        hinted.complete = shtab.FILE
