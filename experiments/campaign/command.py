"""What the commands of all campaigns do: plan or go on, train, write the table, end."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from experiments.campaign.budget import planned
from experiments.campaign.campaign import Campaign
from experiments.campaign.cell import Place
from experiments.campaign.plan import Plan
from experiments.campaign.runner import Work, train_all, waiting_for, workers
from pyro_vae.cli.common import Answer
from pyro_vae.errors import InputError
from pyro_vae.runs.devices import HELP as DEVICES
from pyro_vae.runs.devices import device_named
from pyro_vae.version import __version__


@dataclass(frozen=True)
class Call:
    """A call of a command: as it was typed, and where it tells of its progress."""

    prog: str
    arguments: Sequence[str]
    quiet: bool

    @classmethod
    def of(cls, prog: str, arguments: list[str] | None, quiet: bool) -> Call:
        words = sys.argv[1:] if arguments is None else list(map(str, arguments))
        return cls(prog, words, quiet)

    @property
    def command(self) -> str:
        """To be typed again."""
        start = f"python experiments/{self.prog}" if self.prog.endswith(".py") else self.prog
        return " ".join([start, *self.arguments])

    def say(self, line: str) -> None:
        if not self.quiet:
            print(line, flush=True)


@dataclass(frozen=True)
class Done:
    """A campaign that was carried out, as far as it went.

    Attributes:
        places: of all trainings. jobs: how many at a time.
        cut_off: what cut it off, or None. failed: whether a cell failed.
        files: of the table, Markdown and CSV.
    """

    plan: Plan
    folder: Path
    places: Sequence[Place]
    jobs: int
    cut_off: str | None
    failed: bool
    files: tuple[Path, Path]

    def answer(self, code: int) -> Answer:
        """For the command that carried it out, which ends with ``code``."""
        rows = pd.read_csv(self.files[1]).to_dict("records")
        content = {
            "run_dir": str(self.folder),
            "cells": {place.name: place.status for place in self.places},
            "cut_off": self.cut_off,
            "rows": rows,
            "files": [str(path) for path in self.files],
        }
        return Answer(content, code)


def add_flags(parser: argparse.ArgumentParser, noun: str) -> None:
    """The flags that all campaigns have."""
    parser.add_argument("--budget", type=float, metavar="MINUTES", help=f"time for the {noun}")
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="epochs of every cell, instead of a budget"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="cells trained side by side (default: one per CPU core, one on a GPU)",
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help=DEVICES)
    parser.add_argument("--data-dir", metavar="DIR", help="data files (default: $PYRO_VAE_DATA)")
    parser.add_argument("--resume", action="store_true", help="go on with what --run-dir holds")
    parser.add_argument("--quiet", action="store_true", help="print the table only")


def carry_out(campaign: Campaign, flags: argparse.Namespace, call: Call, seeds: int) -> Done:
    """Plan or go on with a campaign, train its cells and write its table.

    Args:
        seeds: of every cell of a new plan, where the flags leave them open.
    """
    folder = Path(flags.run_dir) if flags.run_dir else campaign.default_folder(flags)
    started = time.monotonic()
    plan, jobs, threads = _plan(campaign, flags, folder, seeds, call.say)
    call.say(campaign.title(plan, folder, jobs))
    data_dir = flags.data_dir or plan.data_dir
    work = Work(campaign, plan, folder, data_dir, threads, flags.quiet)
    cut_off, failed = train_all(call.prog, work, jobs, call.say)
    minutes = (time.monotonic() - started) / 60
    places = plan.places(work.room)
    facts = [
        f"command: `{call.command}`",
        *campaign.facts(plan, places),
        f"{minutes:.1f} minutes of this call ({_budget(plan)}), {jobs} at a time on {plan.device} "
        f"({platform.machine()}, {os.cpu_count()} cores)",
        f"pyro_vae {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    ]
    with waiting_for(folder):
        markdown, comma = campaign.write(folder, plan, facts)
    print(f"\n{markdown.read_text(encoding='utf-8')}")
    print(f"wrote {markdown} and {comma}")
    return Done(plan, folder, places, jobs, cut_off, failed, (markdown, comma))


def _budget(plan: Plan) -> str:
    return f"budget {plan.budget_minutes:g}" if plan.budget_minutes else "no budget"


def _plan(
    campaign: Campaign,
    flags: argparse.Namespace,
    folder: Path,
    seeds: int,
    say: Callable[[str], None],
) -> tuple[Plan, int, int | None]:
    """The plan of the folder, made now where there is none; and cells at a time, with threads."""
    path = folder / "plan.json"
    asked = campaign.request(flags)
    with waiting_for(folder):
        if path.is_file():
            if not flags.resume:
                raise InputError(
                    f"{folder} holds a {campaign.noun} already; go on with --resume or name "
                    "another --run-dir"
                )
            before = campaign.read_plan(path)
            plan = before.resumed(asked, folder)
            for cell in plan.cells:
                campaign.config(plan, cell, 0)
            device = device_named(plan.device)
            if plan != before:
                plan.write(path)
            return plan, *workers(flags.jobs, device)
        if (flags.budget is None) == (flags.epochs is None):
            raise InputError("give either --budget MINUTES or --epochs N")
        device = device_named(flags.device)
        jobs, threads = workers(flags.jobs, device)
        plan = campaign.new_plan(asked, str(device), jobs, flags.data_dir, seeds)
        if plan.budget_minutes is not None:
            plan = planned(campaign, plan, threads, say)
        plan.write(path)
        return plan, jobs, threads
