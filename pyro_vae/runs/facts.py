"""The facts that a run writes down: its data, by which they are known again, and the versions."""

from __future__ import annotations

import json
import platform
from typing import Any

import pyro
import torch

from pyro_vae.datasets import Dataset
from pyro_vae.datasets.identity import Fingerprint, describe_difference
from pyro_vae.errors import InputError
from pyro_vae.runs.config import RunConfig
from pyro_vae.version import __version__

# Facts of the data that 0.4 wrote down and that differ where the rows do.
_KEPT_BY_0_4 = ("counts", "row_shape", "photographs", "mean", "scale")


def check_same_data(config: RunConfig, data: Dataset, run: object) -> None:
    """InputError that names what differs where ``data`` are not those that a run was trained on.

    Data in another folder are the same where their rows are. Runs of versions up to 0.4 kept no
    fingerprint; of theirs the recorded facts are compared.
    """
    facts = config.facts
    if facts.data_checksum is None:
        old = {name: facts.data.get(name) for name in _KEPT_BY_0_4 if name in facts.data}
        same = all(_plain(data.info.get(name)) == value for name, value in old.items())
    else:
        same = data.fingerprint.agrees(Fingerprint(facts.data_checksum, facts.data_sketch))
    if not same:
        raise InputError(
            f"the data are not those that {run} was trained on; they differ in "
            f"{describe_difference(facts.data, _plain(data.info))}. Give back the data, or start "
            "another run"
        )


def _plain(info: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(info))


def with_facts(config: RunConfig, data: Dataset) -> RunConfig:
    """The configuration with what is known once the data are loaded."""
    found = data.fingerprint
    config = config.with_facts(
        num_pixels=data.train.shape[1],
        channels_first=data.channels_first,
        data=data.info,
        data_checksum=found.checksum,
        data_sketch=found.sketch,
    )
    return with_versions(config)


def with_versions(config: RunConfig) -> RunConfig:
    """The configuration with the versions and the platform of the call that began the run."""
    if config.facts.versions:
        return config
    versions = {
        "pyro_vae": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
    }
    return config.with_facts(versions=versions, platform=platform.platform())
