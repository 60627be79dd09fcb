"""Command lines made at random of real flags, real values, and values that nobody should give."""

from __future__ import annotations

import argparse
import importlib
import random

from pyro_vae.cli import COMMANDS

PARSED = tuple(name for name, (module, _) in COMMANDS.items() if module.startswith("pyro_vae"))
ODD = (
    "",
    "0",
    "-1",
    "1",
    "2",
    "3.5",
    "1e400",
    "nan",
    "inf",
    "-0",
    "99999999999999999999",
    "x",
    "z1",
    "z2",
    "z9=0:1:1",
    "z2=0:1:0.5",
    "..",
    "/",
    "/dev/null",
    "no/such/file",
    "\0",
    "a\nb",
    "\u00e4\u20ac",
    "\udcff",
    "--",
    "-",
    "=",
    ":",
    "a:b",
    "%s",
    "{}",
    "run",
    "images.npy",
    "images.npy:x",
    "out.npz",
    "out.png",
    "out.nc",
    "run/config.json",
    "small",
    "paper",
    "td",
    "sparse",
    "burda1",
    "ssvae",
    "topdown",
    "bottomup",
    "natural",
    "iwae",
    "elbo",
    "renyi",
    "downscale:2",
    "flip,shift=2",
    "mixture:3",
    "vamp",
    "standard",
    "data",
    "random",
    "encoders=5/4,3",
    "12",
    "4",
    "16",
)


def flags_of(command: str) -> list[argparse.Action]:
    """The flags and arguments of a command."""
    module = importlib.import_module(COMMANDS[command][0])
    return [one for one in module.parser()._actions if "--help" not in one.option_strings]


def command_line(rng: random.Random) -> list[str]:
    """A subcommand with up to six flags; mostly as many values as they take."""
    command = rng.choice((*PARSED, "fit", "fit"))
    words = [command]
    if command == "fit":
        words += ["--dataset", "images.npy", "--run-dir", f"made{rng.randrange(10**6)}"]
    elif rng.random() < 0.9:
        words.append("run")
    known = flags_of(command)
    for flag in rng.sample(known, min(len(known), rng.randrange(7))):
        if flag.option_strings:
            words.append(rng.choice(flag.option_strings))
        takes = {None: 1, 0: 0, "?": rng.randrange(2), "*": rng.randrange(3), "+": 1}
        count = takes.get(flag.nargs, flag.nargs if isinstance(flag.nargs, int) else 1)
        if rng.random() < 0.05:
            count += 1
        words += [_value(flag, rng) for _ in range(count)]
    return words


def _value(flag: argparse.Action, rng: random.Random) -> str:
    if flag.choices and rng.random() < 0.7:
        return str(rng.choice(list(flag.choices)))
    return rng.choice(ODD)
