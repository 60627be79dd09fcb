"""How a table judges a trained cell, and its results read back.

Beside the estimates of every run: active units by the definition of Burda et al. 2016
(https://arxiv.org/abs/1509.00519), and what removing the inactive units costs. Per test image the
estimates go to ``per_datum.npz``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from experiments.campaign.cell import Place
from experiments.campaign.per_datum import PER_DATUM, Clock, write_columns
from pyro_vae.datasets import Batches
from pyro_vae.errors import InputError, TrainingDiverged
from pyro_vae.evaluation import activity, evaluate, pruned_log_likelihood
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.runs import Summary, Trained
from pyro_vae.runs.summary import Judged, LevelActivity, RunSummary, read_mean
from pyro_vae.torch_state import own_generators

PRUNING_IMAGES, PRUNING_PARTICLES = 100, 1_000
DATA_SEED = 0  # all cells and seeds share their data, test images included
ACTIVITY_SAMPLES = 100


@dataclass(frozen=True)
class Result:
    """What the table prints of one seed of a cell.

    Attributes:
        summary: estimates on the test images, nats, and active units of the test images.
        burda_active_units: level -> active units by the definition of Burda et al.
        pruning_cost: nats that removing the inactive units costs.
        minutes: of all calls that trained and judged it.
    """

    place: Place
    summary: Summary
    burda_active_units: Mapping[str, int]
    pruning_cost: Mean
    minutes: float

    @property
    def nll(self) -> float:
        """Minus the log-likelihood: an upper estimate, nats."""
        return -self.log_likelihood.mean

    @property
    def log_likelihood(self) -> Mean:
        return self.summary.estimate("log_likelihood")

    @property
    def kl_to_posterior(self) -> float:
        return self.summary.estimate("kl_to_posterior").mean

    @property
    def khat_share(self) -> float:
        """Share of the images whose k-hat is above the limit."""
        return self.summary.estimate("khat_above_0.7").mean

    def active_units(self, definition: str) -> dict[str, int]:
        """Level -> how many are active: on "test" images, their "pca" count, or by "burda"."""
        if definition == "burda":
            return dict(sorted(self.burda_active_units.items()))
        levels = sorted(self.summary.active_units.items())
        name = "active" if definition == "test" else "pca_active"
        return {level: getattr(found, name) for level, found in levels}

    @cached_property
    def log_likelihoods(self) -> np.ndarray:
        """(B,), of every test image."""
        with np.load(self.place.directory.path / PER_DATUM) as columns:
            return columns["log_likelihood"]


def read_result(place: Place) -> Result | None:
    """The results of a cell, or None while there are none."""
    summary = place.read_summary()
    if summary is None:
        return None
    found = summary.extra
    try:
        return Result(
            place=place,
            summary=summary,
            burda_active_units=dict(found.get("burda_active_units")),
            pruning_cost=read_mean(found.get("pruning_cost")),
            minutes=float(found.get("minutes")),
        )
    except (TypeError, AttributeError) as error:
        raise InputError(
            f"{place.directory.summary} was not written by this command; move {place.name} away"
        ) from error


class Judge:
    """Judges a trained cell; a hook of :func:`pyro_vae.runs.train`, with the time it took."""

    def __init__(self, place: Place) -> None:
        self.clock = Clock(place.directory.path / "minutes.json")

    def __call__(self, trained: Trained) -> Summary:
        """The content of ``summary.json``; TrainingDiverged where an estimate is not finite."""
        self.clock.add()
        model, guide, config = trained.model, trained.guide, trained.config
        test = trained.data.test[: config.evaluation.test_size].to(trained.device)
        with own_generators():
            torch.manual_seed(config.seed)
            found = evaluate(
                model,
                guide,
                test,
                num_particles=config.evaluation.eval_particles,
                bound_particles=config.objective.num_particles,
            )
            means = activity.posterior_means(guide, test, num_samples=ACTIVITY_SAMPLES)
            active = {name: activity.active_units(level) for name, level in means.items()}
            seen = _binarised(trained.data.train[: activity.BURDA_DATA]).to(trained.device)
            burda = activity.count_active_units(guide, seen, definition="burda")
            cost = _pruning_cost(model, guide, test[:PRUNING_IMAGES], active)
        write_columns(trained.directory.path / PER_DATUM, found.columns())
        self.clock.add()
        if not math.isfinite(found.log_likelihood.mean() + found.kl_to_posterior.mean()):
            raise TrainingDiverged("its estimates on test images are not finite")
        return Summary(
            test=found.summary(),
            warning=found.warning,
            active_units={
                name: LevelActivity(
                    active=int(active.get(name).sum()),
                    pca_active=activity.pca_active_units(level),
                    units=level.mean.shape[1],
                )
                for name, level in sorted(means.items())
            },
            settings=Judged(
                test_data=len(test),
                particles=found.num_particles,
                bound_particles=found.bound_particles,
                activity_threshold=activity.ACTIVITY_THRESHOLD,
                activity_data=len(test),
                activity_samples=ACTIVITY_SAMPLES,
            ),
            run=RunSummary.of(trained.fitted),
            extra={
                "burda_active_units": {name: level.count for name, level in burda.items()},
                "pruning_cost": cost.as_dict(),
                "minutes": self.clock.minutes,
            },
        )


def _binarised(x: torch.Tensor) -> torch.Tensor:
    """Training rows, which may be probabilities, drawn once."""
    (drawn,) = Batches(x, len(x), seed=DATA_SEED, binarise="access").epoch(0)
    return drawn


def _pruning_cost(model, guide, x: torch.Tensor, active: dict[str, np.ndarray]) -> Mean:
    """What removing the inactive units costs in log-likelihood, nats, on the same noise."""
    values = []
    for masks in ({}, active):
        torch.manual_seed(0)
        values.append(pruned_log_likelihood(model, guide, x, masks, PRUNING_PARTICLES))
    return mean_and_error((values[0] - values[1]).double().numpy())
