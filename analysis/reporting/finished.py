"""Finished runs, read back: what they are called, their data, and whether these are the same."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pyro_vae.datasets import Dataset, load_dataset
from pyro_vae.datasets.load import IMAGE_DATASETS
from pyro_vae.errors import InputError
from pyro_vae.objectives import CATALOGUE
from pyro_vae.programs.guides import Guide
from pyro_vae.programs.models import Generative
from pyro_vae.runs import RunConfig, RunDirectory, load_run
from pyro_vae.runs.facts import check_same_data


@dataclass(frozen=True)
class SummaryFacts:
    """What ``summary.json`` says of training and of the test data; None for what it lacks."""

    epochs: int | None = None
    steps: int | None = None
    reconstruction: float | None = None
    reconstruction_error: float | None = None
    test_data: int | None = None

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> SummaryFacts:
        """The facts of the content of the file."""
        trained, judged = entries.get("run", {}), entries.get("settings", {})
        found = entries.get("test", {}).get("reconstruction", {})
        return cls(
            trained.get("epochs"),
            trained.get("steps"),
            found.get("mean"),
            found.get("standard_error"),
            judged.get("test_data"),
        )


@dataclass(frozen=True)
class FinishedRun:
    """A pair with its settings and the estimates that training left in ``summary.json``."""

    path: Path
    model: Generative
    guide: Guide
    config: RunConfig
    summary: SummaryFacts = field(default_factory=SummaryFacts)

    @property
    def name(self) -> str:
        """Objective and number of particles, as papers name a model; L_1 is the ELBO of a VAE."""
        objective = self.config.objective
        name = CATALOGUE[objective.name].title if objective.name in CATALOGUE else objective.name
        if objective.num_particles == 1 and name.startswith("IWAE"):
            name = "VAE" + name.removeprefix("IWAE")
        return f"{name}, k = {objective.num_particles}"

    @property
    def training(self) -> str:
        """Model and length of training."""
        epochs = self.summary.epochs
        return self.config.pair.model + ("" if epochs is None else f", {epochs} epochs")

    @property
    def title(self) -> str:
        """Name, training and folder, each on a line."""
        return f"{self.name}\n{self.training}\n{self.path.name}"

    @property
    def reconstruction(self) -> str:
        """E log p(x | z) with its standard error, from ``summary.json``; "" where it has none."""
        mean, error = self.summary.reconstruction, self.summary.reconstruction_error
        if mean is None or error is None:
            return ""
        number = self.summary.test_data or "the run's"
        return f"E log p(x | z) = {mean:.1f} ± {error:.1f} nats (s.e., {number} test images)"

    @property
    def data_identity(self) -> dict[str, Any]:
        """What must be equal for two runs to be on the same data."""
        identity = dict(self.config.data_arguments, num_pixels=self.config.facts.num_pixels)
        # Where the files lie, and how training pixels are drawn, change no test image. In the named
        # sets of images the seed does not move any between the splits either.
        fixed = identity.get("name") in IMAGE_DATASETS
        for setting in ("data_dir", "binarise", *(("seed",) if fixed else ())):
            identity.pop(setting, None)
        return identity | {"counts": self.config.facts.data["counts"]}

    def load_data(
        self, data_dir: str | None = None, loaded: dict[str, Dataset] | None = None
    ) -> Dataset:
        """The run's data; see :func:`load_data`."""
        return load_data(self.config, self.path, data_dir, loaded)


class ChangedData(InputError):
    """The data of a run are not those that it was trained on."""


def load_data(
    config: RunConfig,
    path: Path,
    data_dir: str | None = None,
    loaded: dict[str, Dataset] | None = None,
) -> Dataset:
    """The data of the run in ``path``, refused where they are not those that it was trained on.

    Args:
        data_dir: where data files lie now, if elsewhere than when the run was trained.
        loaded: data that were loaded for other runs, by their arguments; added to.

    Raises:
        InputError: the data cannot be loaded.
        ChangedData: they have another number of pixels, or other values, by more than rounding on
            another processor explains.
    """
    moved = {} if data_dir is None else {"data_dir": data_dir}
    data = loaded_once({**config.data_arguments, **moved}, {} if loaded is None else loaded)
    width, wanted = data.test.shape[1], config.facts.num_pixels
    if width != wanted:
        raise ChangedData(
            f"rows of {data.name} have {width} pixels now, but {wanted} when {path} was trained"
        )
    try:
        check_same_data(config, data, path)
    except InputError as error:
        raise ChangedData(str(error)) from error
    return data


def loaded_once(arguments: Mapping[str, Any], loaded: dict[str, Dataset]) -> Dataset:
    """``load_dataset`` with these arguments, from ``loaded`` where it has been called with them."""
    key = repr(sorted(arguments.items()))
    if key not in loaded:
        loaded[key] = load_dataset(**arguments)
    return loaded[key]


def add_image_shape(parser: argparse.ArgumentParser) -> None:
    """The flag of commands that draw rows which may be flattened images."""
    parser.add_argument(
        "--image-shape",
        nargs="+",
        type=int,
        metavar="PIXELS",
        help="height and width of images that were stored as flat rows, and 3 for colour",
    )


def unfinished(run: Path, missing: Path) -> InputError:
    """The error about a run that lacks a file which training writes at its end."""
    return InputError(
        f"there is no {missing}: the run is not finished; pyro-vae fit --resume --run-dir {run} "
        "goes on with it"
    )


def read_run(path: Path) -> FinishedRun:
    """Load a finished run; InputError where it is unfinished, damaged or lacks its data."""
    directory = RunDirectory(path)
    model, guide, config = load_run(path)
    if not directory.summary.is_file():
        raise unfinished(directory.path, directory.summary)
    try:
        summary = SummaryFacts.of(directory.read_summary())
        run = FinishedRun(path.resolve(), model, guide, config, summary)
        _ = run.title, run.reconstruction, run.data_identity
    except KeyError as error:  # of how many rows the data had
        raise InputError(f"{directory.config} lacks the entry 'data'") from error
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the files of {path} are damaged: {error}") from error
    return run


def check_comparable(runs: Sequence[FinishedRun], but_for: Sequence[str] = ()) -> None:
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
    source = load_dataset(**{**run.config.data_arguments, "pixels": "standardised"})
    scale, mean = (source.info[name] for name in ("scale", "mean"))
    levels = [part * scale + mean for part in (source.train, source.test)]
    # Binary pixels are drawn from values in [0, 1], or from bytes that reach above 1.
    white = 255.0 if max(part.max() for part in levels) > 1.5 else 1.0
    grey = (levels[1][rows] / white).clamp(0, 1)
    return grey, bool((grey - grey.round()).abs().max() > 1e-3)
