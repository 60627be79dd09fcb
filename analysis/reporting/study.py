"""Runs that differ in one thing, by model and seed, with the data that each is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from analysis.measures.by_name import Named
from analysis.reporting.finished import (
    ChangedData,
    FinishedRun,
    check_comparable,
    loaded_once,
    read_run,
)
from analysis.reporting.naming import labels
from analysis.reporting.store import Store
from pyro_vae.datasets import Dataset, load_dataset
from pyro_vae.datasets.load import PATCH_DATASETS
from pyro_vae.errors import InputError, check_count
from pyro_vae.objectives import num_proposals


@dataclass(frozen=True)
class Settings:
    """How much is measured; Vas 2024 has 64,000 patches, 500 (or 1000) of them for correlations.

    Attributes:
        test_size: natural test rows of bounds and posterior moments.
        eval_particles: particles K of the bound that all models share.
        labelled_train, labelled_test: labelled rows of the decoders.
        moment_draws: draws of the guide behind a posterior mean.
        weighted_groups: independent sets of k proposals behind a mean of q_EW.
        patches, draws: test patches of highest contrast and posterior draws per patch, of the
            correlations; weighted_patches: the same for q_EW, whose draws cost k proposals each.
        stimuli: test patches with a part occluded.
        refit_steps: of the fit of another prior, for what it would gain.
        seed: seed of data, weights and noise in the report.
        labelled: dataset or file with labels, for runs whose own data have none; by default the
            bundled textures for patches of photographs.
        data_dir: where data files lie now, if elsewhere than when the runs were trained.

    Raises:
        InputError: a number below its minimum.
    """

    test_size: int = 500
    eval_particles: int = 250
    labelled_train: int = 2_000
    labelled_test: int = 1_000
    moment_draws: int = 32
    weighted_groups: int = 4
    patches: int = 150
    weighted_patches: int = 12
    draws: int = 1_000
    stimuli: int = 80
    refit_steps: int = 500
    seed: int = 0
    labelled: str | None = None
    data_dir: str | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, int):
                least = 0 if name == "seed" else 2
                check_count(f"--{name.replace('_', '-')}", value, minimum=least)


class Subject:
    """One run and what is measured on it.

    Args:
        run: the finished run. label: what pictures and tables call its model.
        settings: how much is measured. store: where measurements are kept.
        loaded: data that the runs of a study share, by what they were loaded with; added to.
    """

    def __init__(
        self,
        run: FinishedRun,
        label: str,
        settings: Settings,
        store: Store,
        loaded: dict[str, Dataset] | None = None,
    ) -> None:
        self.run, self.label, self.settings, self.store = run, label, settings, store
        self._loaded = {} if loaded is None else loaded

    @property
    def seed(self) -> int:
        return self.run.config.seed

    @property
    def name(self) -> str:
        """Label and seed."""
        return f"{self.label}, seed {self.seed}"

    @property
    def k(self) -> int:
        """Particles that the run was trained with."""
        return self.run.config.objective.num_particles

    @property
    def proposals(self) -> int:
        """Proposals behind each draw of what training fitted to the posterior; 1: the guide q."""
        objective = self.run.config.objective
        return num_proposals(objective.name, objective.num_particles, objective.settings)

    @property
    def weighted(self) -> bool:
        """Whether q_EW, which training fitted to the posterior, differs from the guide q."""
        return self.proposals > 1

    @cached_property
    def natural(self) -> Dataset:
        """The run's own data."""
        return self.run.load_data(self.settings.data_dir, self._loaded)

    @cached_property
    def labelled(self) -> Dataset:
        """Labelled data under the preprocessing of the run; InputError where there are none."""
        wanted = self.settings.labelled
        if wanted is not None and wanted not in PATCH_DATASETS:
            data = load_dataset(wanted, pixels=self.natural.pixels, data_dir=self.settings.data_dir)
        elif wanted is None and self.natural.labels is not None:
            data = self.natural
        elif self.natural.whitening is not None:
            own = self._data_settings()
            own |= {"fitted_on": self.run.config.data.dataset, "name": "textures"}
            data = loaded_once(own, self._loaded)
        else:
            raise InputError(
                f"the data of {self.run.path.name} ({self.natural.name}) have no labels; "
                "--labelled names a file that has"
            )
        if data.labels is None:
            raise InputError(f"{data.name} has no labels; --labelled wants a file that has")
        if data.test.shape[1] != self.natural.test.shape[1]:
            raise InputError(
                f"rows of {data.name} have {data.test.shape[1]} pixels, those of "
                f"{self.natural.name} {self.natural.test.shape[1]}"
            )
        return data

    def measured(self, name: str) -> Named:
        """A measurement of ``measurements.py``, made once and kept on disk."""
        return self.store.get(self, name)

    def _data_settings(self) -> dict:
        own = dict(self.run.config.data_arguments)
        if self.settings.data_dir is not None:
            own["data_dir"] = self.settings.data_dir
        return own


@dataclass(frozen=True)
class Study:
    """The runs of a report.

    Attributes:
        subjects: runs on the same data, in the order given.
        left_out: run directory -> why it is not in the report.
        settings: how much is measured.
    """

    subjects: tuple[Subject, ...]
    left_out: Mapping[str, str]
    settings: Settings

    @property
    def labels(self) -> list[str]:
        """Labels of the models, in order of appearance."""
        return list(dict.fromkeys(subject.label for subject in self.subjects))

    def of(self, label: str) -> list[Subject]:
        """Runs of a model, by seed."""
        return sorted((s for s in self.subjects if s.label == label), key=lambda s: s.seed)

    def examples(self) -> list[Subject]:
        """The run with the smallest seed of each model, for what is drawn once per model."""
        return [self.of(label)[0] for label in self.labels]


def load_study(paths: Sequence[Path], settings: Settings, store: Store) -> Study:
    """Read the runs; what cannot be read, or is on other data than the first, is left out.

    So is a run whose data are others now than those that it was trained on. Data that cannot be
    found leave a run in: what wants them says so in its place. Seeds may differ: of patches they
    choose the positions, in the same photographs.

    Raises:
        InputError: no run is left.
    """
    runs, left_out = [], {}
    for path in paths:
        try:
            run = read_run(path)
            if any(run.path == other.path for other in runs):
                raise InputError("the run is named twice")
            check_comparable([*runs[:1], run], but_for=("seed",))
            runs.append(run)
        except InputError as error:
            left_out[str(path)] = str(error)
    if not runs:
        raise _nothing(left_out)
    subjects: list[Subject] = []
    loaded: dict[str, Dataset] = {}
    for run, label in zip(runs, labels(runs), strict=True):
        subject = Subject(run, label, settings, store, loaded)
        try:
            _ = subject.natural
        except ChangedData as error:
            left_out[str(run.path)] = str(error)
            continue
        except InputError:
            pass  # met again, and said, where the data are wanted
        subjects.append(subject)
    if not subjects:
        raise _nothing(left_out)
    return Study(tuple(subjects), left_out, settings)


def _nothing(left_out: Mapping[str, str]) -> InputError:
    reasons = "; ".join(f"{path}: {reason}" for path, reason in left_out.items())
    return InputError(f"there is no run to report on ({reasons})")
