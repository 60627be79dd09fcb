"""What ``summary.json`` holds: the estimates on test data, active units, and how training ended."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.counts import FilterCounts
from pyro_vae.evaluation.statistics import Mean
from pyro_vae.training import FitResult


def read_mean(entries: Mapping[str, float | None]) -> Mean:
    """A mean of a JSON file, which has null for what is not finite: NaN."""
    return Mean(**{n: math.nan if value is None else value for n, value in entries.items()})


@dataclass(frozen=True)
class LevelActivity:
    """Active units of one level: by unit, by principal direction, and how many there are.

    Attributes:
        above_gap: units above the gap of activity, where it is clear; None where it is not (see
            :class:`pyro_vae.evaluation.activity_gap.ActivityGap`), or was not looked for.
        gap_low, gap_high: the ends of that gap, activities; None likewise.
    """

    active: int
    pca_active: int
    units: int
    above_gap: int | None = None
    gap_low: float | None = None
    gap_high: float | None = None


@dataclass(frozen=True)
class Judged:
    """How much was judged, and with how many particles.

    Attributes:
        bound_of: what bounds, log-likelihood and bits are of, in words: x, or of a self-supervised
            VAE the pair of x and its representation.
    """

    test_data: int
    particles: int
    bound_particles: int
    activity_threshold: float
    activity_data: int
    activity_samples: int
    unit: str = "nats per datum"
    bound_of: str = "x"


@dataclass(frozen=True)
class RunSummary:
    """How training ended.

    Attributes:
        epochs: that were trained.
        best_epoch: whose weights the run has, where early stopping chose them; else None: the last.
        compiled, precision: how a step was computed, and in which precision its matrix products;
            None in the files of versions that did not write it.
    """

    stopped: str
    epochs: int
    steps: int
    compiled: bool
    training_minutes_of_this_call: float
    precision: str | None = None
    best_epoch: int | None = None

    @classmethod
    def of(cls, fitted: FitResult) -> RunSummary:
        """From what :func:`pyro_vae.fit` returned."""
        return cls(
            stopped=fitted.stopped,
            epochs=int(fitted.history[-1]["epoch"]),
            steps=fitted.steps,
            compiled=fitted.compiled,
            precision=fitted.precision,
            training_minutes_of_this_call=fitted.minutes,
            best_epoch=fitted.best_epoch,
        )


@dataclass(frozen=True)
class Start:
    """What a pair was before its first step, judged as the trained one is, with fewer particles.

    Attributes:
        init: what it started from, one of ``pyro_vae.programs.start.STARTS``.
        notices: what the start did instead where something did not fit, a line each.
        elbo_of_data: of each test datum, nats, in their order.
        test: as in :class:`Summary`; empty where whoever trained judges runs in another way.
        active_units: level -> its active units.
        particles: of the estimates.
        filters: of the decoder, by class; None where it starts as noise, or as in :class:`Summary`.
    """

    init: str
    notices: tuple[str, ...] = ()
    test: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    active_units: Mapping[str, LevelActivity] = field(default_factory=dict)
    particles: int | None = None
    filters: FilterCounts | None = None
    elbo_of_data: tuple[float, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Start:
        """From JSON; TypeError or AttributeError where it is none."""
        rest = dict(content)
        filters = rest.pop("filters", None)
        rest["filters"] = None if filters is None else FilterCounts(**filters)
        units = {name: LevelActivity(**one) for name, one in rest.pop("active_units", {}).items()}
        listed: dict[str, Any] = {
            name: tuple(rest.pop(name, ())) for name in ("notices", "elbo_of_data")
        }
        return cls(active_units=units, **listed, **rest)

    def estimate(self, name: str) -> Mean:
        """An estimate on the test data by its name; KeyError where it was not made."""
        return read_mean(self.test[name])


@dataclass(frozen=True)
class Summary:
    """The content of ``summary.json``.

    Attributes:
        test: name -> mean over the test data with its standard error, nats per datum.
        warning: what k-hat says of the estimates, or None.
        active_units: level -> its active units.
        settings: how much was judged.
        run: how training ended.
        start: the pair before its first step; None for runs of versions that did not look.
        elbo_gain: ELBO of the trained pair less that of the start, its standard error over the same
            test data; None where the start was not judged on them.
        filters: of the decoder, by class; None where they are not counted.
        filters_missing: why they are not.
        consistency: representation -> share of the numbers of its draws that the drawn image below
            agrees with; empty where a model has none.
        extra: further entries of the file, of whoever judged the run.
    """

    test: Mapping[str, Mapping[str, float]]
    warning: str | None
    active_units: Mapping[str, LevelActivity]
    settings: Judged
    run: RunSummary
    start: Start | None = None
    elbo_gain: Mean | None = None
    filters: FilterCounts | None = None
    filters_missing: str | None = None
    consistency: Mapping[str, Mean] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def estimate(self, name: str) -> Mean:
        """An estimate on the test data by its name; KeyError where it was not made."""
        return read_mean(self.test[name])

    def entries(self) -> dict[str, Any]:
        """The content, as JSON has it."""
        content = dataclasses.asdict(self)
        if self.elbo_gain is not None:
            content["elbo_gain"] = self.elbo_gain.as_dict()
        content["consistency"] = {name: one.as_dict() for name, one in self.consistency.items()}
        return content | content.pop("extra")

    @classmethod
    def of(cls, content: Mapping[str, Any], source: object) -> Summary:
        """From the content of a ``summary.json`` of this version or an earlier one.

        Args:
            source: its path, for the error.

        Raises:
            InputError: it lacks what every run's summary holds.
        """
        parts = {"settings": Judged, "run": RunSummary}
        rest = dict(content)
        try:
            made = {name: part(**rest.pop(name)) for name, part in parts.items()}
            units = {n: LevelActivity(**level) for n, level in rest.pop("active_units").items()}
            test, warning = rest.pop("test"), rest.pop("warning", None)
            start = rest.pop("start", None)
            made |= {"start": None if start is None else Start.of(start)}
            gain = rest.pop("elbo_gain", None)
            made |= {"elbo_gain": None if gain is None else read_mean(gain)}
            filters = rest.pop("filters", None)
            made |= {"filters": None if filters is None else FilterCounts(**filters)}
            made |= {"filters_missing": rest.pop("filters_missing", None)}
            shares = rest.pop("consistency", {})
            made |= {"consistency": {name: read_mean(one) for name, one in shares.items()}}
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{source} is no summary of a run: {error!r}") from error
        return cls(test=test, warning=warning, active_units=units, extra=rest, **made)
