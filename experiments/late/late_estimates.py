"""What is found out about a finished arm: every test image's bounds, and distances of its draws.

All arms of a comparison are judged on the same images, and with the same noise of q(z | x), so that
they can be compared image by image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from experiments.campaign.per_datum import PER_DATUM, write_columns
from pyro_vae.datasets import Dataset
from pyro_vae.evaluation import evaluate
from pyro_vae.evaluation.bits import bits_per_dim
from pyro_vae.evaluation.fid import FeatureMap, fid, label_features
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.runs import RunDirectory, load_run
from pyro_vae.torch_state import own_generators
from pyro_vae.weights.diagnostics import KHAT_LIMIT

FID, FID_SEEDS = "fid.json", (0, 1, 2)


@dataclass(frozen=True)
class PerImage:
    """Estimates of every test image (B,), nats, and k-hat; from ``num_particles`` particles."""

    elbo: np.ndarray
    log_likelihood: np.ndarray
    khat: np.ndarray
    num_particles: int
    num_pixels: int

    def bits(self, name: str) -> np.ndarray:
        """Of ``elbo`` or ``log_likelihood``, (B,): bits per dimension."""
        return bits_per_dim(getattr(self, name), self.num_pixels)

    def mean_bits(self, name: str, less: PerImage | None = None) -> Mean:
        """Mean over the images; ``less``: of the paired difference to another arm's."""
        other = 0.0 if less is None else less.bits(name)
        return mean_and_error(self.bits(name) - other)

    @property
    def khat_share(self) -> float:
        """Share of the images whose k-hat is above the limit."""
        return float(np.mean(self.khat > KHAT_LIMIT))


def read_per_image(directory: RunDirectory) -> PerImage | None:
    """The estimates of a run, or None while there are none."""
    path = directory.path / PER_DATUM
    if not path.is_file():
        return None
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    whole = {name: int(columns.pop(name)) for name in ("num_particles", "num_pixels")}
    named = {name: columns.pop(name) for name in ("elbo", "log_likelihood", "khat")}
    return PerImage(**named, **whole)


@dataclass(frozen=True)
class Distances:
    """Frechet distances of a run's draws by the feature seeds, and their null."""

    mean: float
    null: float


def read_distances(directory: RunDirectory) -> Distances | None:
    """Of ``fid.json``, or None where there is none."""
    path = directory.path / FID
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return Distances(found.get("mean"), found.get("null"))


@dataclass(frozen=True)
class Judge:
    """Judges finished runs on the same test images; what was judged so before is left.

    Attributes:
        num_images, num_particles: of the estimates of every image.
    """

    data: Dataset
    num_images: int
    num_particles: int
    seed: int = 0
    features: dict[int, FeatureMap] = field(default_factory=dict)

    @cached_property
    def images(self) -> torch.Tensor:
        return self.data.test[: self.num_images]

    def estimate(self, directory: RunDirectory) -> None:
        """Write ``per_datum.npz``."""
        before = read_per_image(directory)
        wanted = len(self.images), self.num_particles
        if before is not None and (len(before.elbo), before.num_particles) == wanted:
            return
        run = load_run(directory.path)
        with own_generators():
            torch.manual_seed(self.seed)
            found = evaluate(
                run.model,
                run.guide,
                self.images,
                num_particles=self.num_particles,
                bound_particles=1,
            )
        whole = {name: np.array(getattr(found, name)) for name in ("num_particles", "num_pixels")}
        write_columns(directory.path / PER_DATUM, found.columns() | whole)

    def distance(self, directory: RunDirectory, num: int = 1_000) -> None:
        """Write ``fid.json``: of ``num`` draws, by features of the data's labels."""
        if (directory.path / FID).is_file():
            return
        num = min(num, len(self.data.test) // 2)
        draws = load_run(directory.path).sample_rows(num, seed=self.seed)
        found = fid(self.data.test, draws, self._features, seeds=FID_SEEDS)
        RunDirectory.write_json(directory.path / FID, found.entries())

    def _features(self, seed: int) -> FeatureMap:
        """The features of a seed, trained once for all runs."""
        if seed not in self.features:
            data = self.data
            labels = data.labels.get("train")
            made = label_features(data.train, labels, data.channels_first, seed=seed)
            self.features[seed] = made
        return self.features[seed]
