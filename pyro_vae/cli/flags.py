"""Flags made from the fields of a configuration; a flag that is left out is absent."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pyro_vae.cli.common import Parser
from pyro_vae.objectives import CATALOGUE, SETTINGS
from pyro_vae.options import Named, Setting
from pyro_vae.runs.config import OPTIONS

# Group of the configuration -> title in the help.
TITLES = {
    "data": "data",
    "pair": "model and guide",
    "objective": "objective",
    "settings": "settings of single objectives",
    "training": "training",
    "": "training",
    "speed": "speed and memory; torchrun starts several processes",
    "evaluation": "evaluation",
}
# Flags that give a setting its other value: flag -> (setting, value, help).
NEGATIONS = {
    "--no-thin": ("thin", None, "differentiate all particles (default below 50)"),
    "--no-anneal": ("annealing", (), "beta is 1 throughout"),
}


def add_settings(parser: Parser) -> None:
    """Add a flag for every setting of a run."""
    groups = {title: parser.add_argument_group(title) for title in dict.fromkeys(TITLES.values())}
    for named in OPTIONS:
        if not named.option.hidden:
            _add(groups[TITLES[named.group]], named)
    for name in SETTINGS:
        _add_objective_setting(groups[TITLES["settings"]], name)


def _add(group: argparse._ArgumentGroup, named: Named) -> None:
    option = named.option
    spelled = [named.flag]
    described: dict[str, Any] = {"dest": named.name, "help": option.help}
    if option.action == "boolean":
        group.add_argument(*spelled, action=argparse.BooleanOptionalAction, **described)
        return
    described |= {"type": option.kind, "metavar": option.metavar}
    if option.nargs is not None:
        described["nargs"] = option.nargs
    if option.const is not None:
        described["const"] = option.const
    if option.action is not None:
        described["action"] = option.action
    holder = group
    opposite = next((flag for flag, (name, *_) in NEGATIONS.items() if name == named.name), None)
    if opposite is not None and option.action == "append":  # else the last one given counts
        holder = group.add_mutually_exclusive_group()
    holder.add_argument(*spelled, **described)
    if option.alias is not None:
        hidden = described | {"help": argparse.SUPPRESS}
        group.add_argument(option.alias, **hidden)
    if opposite is not None:
        name, value, line = NEGATIONS[opposite]
        holder.add_argument(opposite, action="store_const", const=value, dest=name, help=line)


def _add_objective_setting(group: argparse._ArgumentGroup, name: str) -> None:
    """A flag of one or several objectives; its help says for which."""
    owners: Mapping[str, Setting] = {
        objective: entry.settings[name]
        for objective, entry in CATALOGUE.items()
        if name in entry.settings
    }
    setting = next(iter(owners.values()))
    lines = dict.fromkeys(one.help for one in owners.values())
    group.add_argument(
        f"--{name.replace('_', '-')}",
        type=setting.kind,
        metavar=setting.metavar,
        help=f"{', '.join(owners)}: {'; '.join(lines)}",
    )
