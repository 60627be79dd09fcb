"""Finished runs, read to be compared: what they are called and whether their data are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pyro_vae.datasets import Dataset, load_dataset
from pyro_vae.datasets.load import DIGIT_DATASETS
from pyro_vae.errors import InputError
from pyro_vae.objectives import CATALOGUE
from pyro_vae.programs.guides import Guide
from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.runs import RunDirectory, load_run


@dataclass(frozen=True)
class FinishedRun:
    """A pair with its settings and the figures that fit.py left in ``summary.json``."""

    path: Path
    model: HierarchicalVAE
    guide: Guide
    config: dict[str, Any]
    summary: dict[str, Any]

    @property
    def name(self) -> str:
        """Objective and number of particles, as papers name a model; L_1 is the ELBO of a VAE."""
        objective, particles = self.config["objective"], self.config["num_particles"]
        name = CATALOGUE[objective].title if objective in CATALOGUE else objective
        if particles == 1 and name.startswith("IWAE"):
            name = "VAE" + name.removeprefix("IWAE")
        return f"{name}, k = {particles}"

    @property
    def training(self) -> str:
        """Model and length of training."""
        epochs = self.summary.get("run", {}).get("epochs")
        return self.config["model"] + ("" if epochs is None else f", {epochs} epochs")

    @property
    def title(self) -> str:
        """Name, training and folder, each on a line."""
        return f"{self.name}\n{self.training}\n{self.path.name}"

    @property
    def reconstruction(self) -> str:
        """E log p(x | z) with its standard error, from ``summary.json``; "" where it has none."""
        found = self.summary.get("test", {}).get("reconstruction", {})
        mean, error = found.get("mean"), found.get("standard_error")
        if mean is None or error is None:
            return ""
        number = self.summary.get("settings", {}).get("test_data", "the run's")
        return f"E log p(x | z) = {mean:.1f} ± {error:.1f} nats (s.e., {number} test images)"

    @property
    def data_identity(self) -> dict[str, Any]:
        """What must be equal for two runs to be on the same data."""
        identity = dict(self.config["data_settings"], num_pixels=self.config["num_pixels"])
        identity["counts"] = self.config["data"]["counts"]
        # Where the files lie, and how training pixels are drawn, change no test image. In the named
        # digit sets the seed does not move images between the splits either.
        digits = identity["name"] in DIGIT_DATASETS
        for setting in ("data_dir", "binarise", *(("seed",) if digits else ())):
            identity.pop(setting, None)
        return identity


def read_run(path: Path) -> FinishedRun:
    """Load a finished run; InputError where it is unfinished, damaged or lacks its data."""
    directory = RunDirectory(path)
    model, guide, config = load_run(path)
    if not directory.summary.is_file():
        raise InputError(f"there is no {directory.summary}; let fit.py finish the run first")
    run = FinishedRun(path.resolve(), model, guide, config, directory.read_summary())
    try:
        _ = run.title, run.reconstruction, run.data_identity
    except KeyError as error:
        raise InputError(f"{directory.config} lacks the entry {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the files of {path} are damaged: {error}") from error
    return run


def check_same_data(runs: Sequence[FinishedRun], but_for: Sequence[str] = ()) -> None:
    """InputError that names the first setting in which a run's data differ from the first run's.

    ``but_for``: settings that may differ.
    """
    first, *others = runs
    for other in others:
        ours, theirs = first.data_identity, other.data_identity
        for setting in sorted((ours.keys() | theirs.keys()) - set(but_for)):
            if ours.get(setting) != theirs.get(setting):
                raise InputError(
                    f"runs on different data cannot be compared: {setting} is "
                    f"{ours.get(setting)!r} in {first.path} and {theirs.get(setting)!r} in "
                    f"{other.path}"
                )


def grey_test_rows(run: FinishedRun, data: Dataset, rows: np.ndarray) -> tuple[Tensor, bool]:
    """Test rows (N, D) as the grey levels in [0, 1] that binary pixels are drawn from.

    Returns:
        the rows, and whether they are grey levels other than those of ``data`` itself: not where
        pixels are standardised, nor where the images are black and white in the first place.
    """
    shown = data.test[rows]
    if not data.pixels.drawn:
        return shown, False
    source = load_dataset(**{**run.config["data_settings"], "pixels": "standardised"})
    levels = [
        part * source.info["scale"] + source.info["mean"] for part in (source.train, source.test)
    ]
    # Binary pixels are drawn from values in [0, 1], or from bytes that reach above 1.
    white = 255.0 if max(part.max() for part in levels) > 1.5 else 1.0
    grey = (levels[1][rows] / white).clamp(0, 1)
    return grey, bool((grey - grey.round()).abs().max() > 1e-3)
