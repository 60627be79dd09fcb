"""How a table judges a trained cell, and its results read back.

Per test image the estimates go to ``per_datum.npz``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from experiments.campaign.cell import Place
from experiments.campaign.per_datum import PER_DATUM, Clock, write_columns
from experiments.replication.measures import Judging, Measure, is_finite
from pyro_vae.errors import InputError, TrainingDiverged
from pyro_vae.evaluation import Evaluation, activity, evaluate
from pyro_vae.runs import Summary, Trained
from pyro_vae.runs.judging import activity_of
from pyro_vae.runs.summary import Judged, RunSummary
from pyro_vae.torch_state import own_generators

ACTIVITY_SAMPLES = 100


@dataclass(frozen=True)
class Result:
    """What a table prints of one seed of a cell.

    Attributes:
        summary: estimates on the test images, nats, and active units of the test images.
        measured: what the table's measures found, by name.
        minutes: of all calls that trained and judged it.
    """

    place: Place
    summary: Summary
    measured: Mapping[str, float]
    minutes: float

    @cached_property
    def entries(self) -> dict[str, float]:
        """Every number by its name in ``table.csv``: estimates, units, measures, minutes.

        ``nll`` is minus the log-likelihood, an upper estimate; ``rate`` the KL of all levels.
        """
        estimates = {name: self.summary.estimate(name) for name in self.summary.test}
        likelihood = self.summary.estimate("log_likelihood")
        kl = [mean.mean for name, mean in estimates.items() if re.fullmatch(r"kl_z\d+", name)]
        units = sorted(self.summary.active_units.items())
        return {
            "nll": -likelihood.mean,
            "nll_standard_error": likelihood.standard_error,
            **{name: mean.mean for name, mean in estimates.items()},
            "distortion": -self.summary.estimate("reconstruction").mean,
            "rate": sum(kl),
            **{f"active_test_{level}": one.active for level, one in units},
            **{f"active_pca_{level}": one.pca_active for level, one in units},
            **self.measured,
            "minutes": round(self.minutes, 3),
        }

    def value(self, name: str) -> float | None:
        """One of its entries; None where it has no such number."""
        return self.entries.get(name)

    def by_level(self, prefix: str) -> list[float]:
        """The entries PREFIX_z1, PREFIX_z2, ..."""
        return [self.entries[name] for name in sorted(self.entries) if name.startswith(prefix)]

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        with np.load(self.place.directory.path / PER_DATUM) as columns:
            return dict(columns)

    def per_datum(self, name: str) -> np.ndarray:
        """(B,), of every test image."""
        return self._columns[name]


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
            measured=dict(found.get("measured")),
            minutes=float(found.get("minutes")),
        )
    except (TypeError, AttributeError) as error:
        raise InputError(
            f"{place.directory.summary} was not written by this command; move {place.name} away"
        ) from error


class Judge:
    """Judges a trained cell; a hook of :func:`pyro_vae.runs.train`, with the time it took.

    Args:
        measures: of the table, each on the noise of the cell's seed.
    """

    def __init__(self, place: Place, measures: Sequence[Measure]) -> None:
        self.measures = measures
        self.clock = Clock(place.directory.path / "minutes.json")

    def __call__(self, trained: Trained) -> Summary:
        """The content of ``summary.json``; TrainingDiverged where an estimate is not finite."""
        self.clock.add()
        config = trained.config
        test = trained.data.test[: config.evaluation.test_size].to(trained.device)
        measured: dict[str, float] = {}
        with own_generators():
            torch.manual_seed(config.seed)
            found = evaluate(
                trained.model,
                trained.guide,
                test,
                num_particles=config.evaluation.eval_particles,
                bound_particles=config.objective.num_particles,
            )
            write_columns(trained.directory.path / PER_DATUM, _per_datum(found))
            if not is_finite(found):
                self.clock.add()
                raise TrainingDiverged("its estimates on test images are not finite")
            means = activity.posterior_means(trained.guide, test, num_samples=ACTIVITY_SAMPLES)
            for measure in self.measures:
                torch.manual_seed(config.seed)
                measured |= measure(Judging(trained, test, found, means))
        self.clock.add()
        return Summary(
            test=found.summary(),
            warning=found.warning,
            active_units=activity_of(means),
            settings=Judged(
                test_data=len(test),
                particles=found.num_particles,
                bound_particles=found.bound_particles,
                activity_threshold=activity.ACTIVITY_THRESHOLD,
                activity_data=len(test),
                activity_samples=ACTIVITY_SAMPLES,
            ),
            run=RunSummary.of(trained.fitted),
            extra={"measured": measured, "minutes": self.clock.minutes},
        )


def _per_datum(found: Evaluation) -> dict[str, np.ndarray]:
    """Every estimate by name; in bits per dimension too, where pixels take whole levels."""
    columns = found.columns()
    if found.num_pixels is not None:
        columns |= {"bits_per_dim": found.bits_per_dim, "iw_bits_per_dim": found.iw_bits_per_dim}
    return columns
