"""What older versions wrote into ``config.json``, read as this version writes it: the one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pyro_vae.errors import InputError
from pyro_vae.runs.config import FORMAT, OPTIONS, Facts, RunConfig

# Entries that runs of older versions lack, as those runs had them.
_BEFORE_FORMAT_2 = {
    "thin": None,
    "adam_beta1": 0.9,
    "gradient": "mean",
    "second_moment": 0.0,
}
# Entries that every version wrote: a file without one is damaged. A setting that a later version
# added stands at its default in the files of earlier ones, and needs no line here.
_ALWAYS = [
    "dataset",
    "data_dir",
    "binarise",
    "patch_size",
    "intensity",
    "whiten",
    "components",
    "num_train",
    "model",
    "guide",
    "preset",
    "objective",
    "num_particles",
    "epochs",
    "max_minutes",
    "batch_size",
    "lr",
    "adam_eps",
    "clip_norm",
    "skip_norm",
    "seed",
    "device",
    "valid_size",
    "test_size",
    "eval_particles",
    "posterior_data",
    "posterior_draws",
    "annealing",
]
_NAMES = {"binarize": "binarise"}
_DERIVED = {"data_settings", "format"}  # written for readers, not read back
_WANTED = ("model", "guide", "preset", "num_pixels")


def read_config(content: Mapping[str, Any], source: object) -> RunConfig:
    """The configuration that a ``config.json`` of any version holds.

    Args:
        content: of the file.
        source: its path, for the errors.

    Raises:
        InputError: an entry that every version wrote is missing or damaged, or a later version
            wrote the file.
    """
    version = content.get("format", 1)
    if version not in (1, FORMAT):
        raise InputError(
            f"{source} was written by a later version (format {version}, this one reads up to "
            f"{FORMAT}); update pyro_vae"
        )
    for name in _WANTED:
        if name not in content:
            raise InputError(f"{source} lacks the entry {name!r}")
    if not isinstance(content["num_pixels"], int):
        raise InputError(f"{source} is damaged: num_pixels is {content['num_pixels']!r}")
    entries = {_NAMES.get(name, name): value for name, value in content.items()}
    if version == 1:
        entries = _BEFORE_FORMAT_2 | _of_tables(entries) | entries
    known = {one.name for one in dataclasses.fields(Facts)} - {"other"}
    facts = {name: value for name, value in entries.items() if name in known}
    try:
        if "earlier_objectives" in facts:
            facts["earlier_objectives"] = tuple(facts["earlier_objectives"])
        if facts.get("channels_first") is not None:
            facts["channels_first"] = tuple(facts["channels_first"])
        config = RunConfig.from_settings(entries, Facts(**facts))
        if config.facts.own_pixels is None:
            _ = config.pair.architecture  # names a part that is not there
    except TypeError as error:
        raise InputError(f"{source} is damaged: {error}") from error
    settings = {named.name for named in OPTIONS} | config.settings.keys()
    other = entries.keys() - settings - known - _DERIVED
    return config.with_facts(other={name: entries[name] for name in entries if name in other})


def check_whole(content: Mapping[str, Any], source: object) -> None:
    """InputError where a file lacks a setting: the pair can be loaded, the run cannot go on."""
    found = {_NAMES.get(name, name) for name in content}
    missing = [name for name in _ALWAYS if name not in found]
    if missing:
        raise InputError(f"{source} lacks the entries {', '.join(missing)}")


def _of_tables(entries: Mapping[str, Any]) -> dict[str, Any]:
    """What cells of tables wrote in ``data_settings`` alone: seed and binarisation of the data."""
    loaded = entries.get("data_settings")
    if not isinstance(loaded, Mapping):
        return {}
    found = {}
    if loaded.get("seed") != entries.get("seed"):
        found["data_seed"] = loaded.get("seed")
    if "binarise" not in entries and loaded.get("pixels") == "binary":
        found["binarise"] = loaded.get("binarise", loaded.get("binarize"))
    return found
