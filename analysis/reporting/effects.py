"""What of the runs lies beyond chance, by how much, and in which item of the report it is shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from analysis.measures.by_name import Named
from analysis.measures.correlation import chance_strongest, pairs, signal_noise
from analysis.measures.illusion import contrasts
from analysis.reporting.over_runs import by_model
from analysis.reporting.sections.correlation_panels import measured
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

CORRELATION, ACCURACY, RESPONSE = "posterior correlation", "accuracy", "response"
KINDS = (CORRELATION, ACCURACY, RESPONSE)  # one unit each; sizes are compared within a kind
LEVEL = 0.05  # chance that any effect of a kind is called clear where there is none
DECODERS = {
    "z2": ("posterior means of z2", "z2-decoding"),
    "z2_draw": ("draws of z2", "decoding-draws"),
    "z1": ("posterior means of the active units of z1", "z1-decoding"),
    "z1_draw": ("draws of the active units of z1", "decoding-draws"),
}
CONTRASTS = ("illusory - rotated", "illusory - both ends", "top-down, rotated")


@dataclass(frozen=True)
class Effect:
    """A number of one run beside what chance gives.

    Attributes:
        kind: one of ``KINDS``. what: in words. run: its name, or that of a model of several.
        entry: of the report that shows it.
        value, chance: in the same unit. error: standard deviation of the value where there is
            chance alone; NaN where it is not known.
    """

    kind: str
    what: str
    run: str
    entry: str
    value: float
    chance: float
    error: float = float("nan")

    @property
    def beyond(self) -> float:
        """Value less chance: the size of the effect."""
        return self.value - self.chance

    @property
    def sentence(self) -> str:
        """The run, the effect, what chance gives, and how far apart they are."""
        digits = 3
        if self.error > 0:  # small ones are told with a digit of their error
            digits = max(digits, math.ceil(-math.log10(self.error)))
        told = (
            f"{self.run}: {self.what} {self.value:.{digits}f}; by chance {self.chance:.{digits}f}"
        )
        if self.error > 0:
            away = abs(self.beyond) / self.error
            told += f" ± {self.error:.{digits}f}, {away:.{0 if away >= 10 else 1}f} sd away"
        return told


def effects(study: Study) -> list[Effect]:
    """Effects of all models, those of each kind together and the largest of them first.

    Of a model of several seeds the same effect is averaged over them. What cannot be measured is
    left out.
    """
    found: dict[tuple[str, str], list[Effect]] = {}
    for subject in by_model(study):
        for read in (_correlations, _accuracies, _responses):
            try:
                for one in read(subject):
                    found.setdefault((subject.label, one.what), []).append(one)
            except InputError:
                continue  # said where the item would stand
    merged = [_over_seeds(label, same) for (label, _), same in found.items()]
    return sorted(merged, key=lambda one: (KINDS.index(one.kind), -abs(one.beyond)))


def clear(found: list[Effect]) -> list[Effect]:
    """Those that lie beyond chance, in their order; those of unknown error are among them.

    Each kind is a family of m two-sided tests of normal effects at ``LEVEL`` / m (Bonferroni):
    of 40 effects that are nothing, two lie two errors away.
    """
    limits = {}
    for kind in KINDS:
        tested = sum(one.kind == kind and one.error > 0 for one in found)
        limits[kind] = NormalDist().inv_cdf(1 - LEVEL / (2 * max(tested, 1)))
    return [one for one in found if not abs(one.beyond) < limits[one.kind] * one.error]


def _over_seeds(label: str, same: list[Effect]) -> Effect:
    """The mean of one effect over the runs of a model; its error is that of a mean."""
    if len(same) == 1:
        return same[0]
    value, chance, error = (
        [getattr(one, name) for one in same] for name in ("value", "chance", "error")
    )
    return dataclasses.replace(
        same[0],
        run=f"{label}, mean of {len(same)} seeds",
        value=float(np.mean(value)),
        chance=float(np.mean(chance)),
        error=float(np.sqrt(np.square(error).sum()) / len(same)),
    )


def _correlations(subject: Subject) -> Iterator[Effect]:
    for sampling in ("ew", "q") if subject.weighted else ("ew",):
        found = measured(subject, sampling)
        law = "q_EW" if sampling == "ew" and subject.weighted else "q"
        ending = "" if sampling == "ew" else "-q"
        for effect in (_signal, _strongest, _farthest):
            try:
                what, entry, numbers = effect(found)
            except InputError:
                continue
            yield Effect(CORRELATION, f"{what} ({law})", subject.name, entry + ending, *numbers)


def _signal(found: Named) -> tuple[str, str, tuple[float, ...]]:
    row = signal_noise(
        found.means, found.covariance, found.pair_average, int(found.num_draws)
    ).iloc[0]
    what = "similarity of the correlations of draws to those of posterior means"
    return what, "correlation-signal-noise", (row.similarity, row.null_mean, row.null_sd)


def _strongest(found: Named) -> tuple[str, str, tuple[float, ...]]:
    """The five strongest of a patch against those of its shuffled draws."""
    r, null = (np.abs(of[:, :5]).mean(1) for of in (found.strongest, found.shuffled))
    error = float(null.std(ddof=1) / np.sqrt(len(null)))
    what = "mean of the five strongest |r| of a patch"
    return what, "correlation-strongest-patches", (float(r.mean()), float(null.mean()), error)


def _farthest(found: Named) -> tuple[str, str, tuple[float, ...]]:
    """The pair of greatest mean r over patches, against the greatest of as many pairs by chance."""
    mean, patches = found.pair_average, len(found.rows)
    pair = int(np.abs(mean).argmax())
    units = [int(found.units[part[pair]]) for part in pairs(len(found.units))]
    # The mean over patches has the error of one correlation of all their draws.
    draws = int(found.num_draws) * patches
    chance = float(chance_strongest(len(mean), draws, 1)[0]) * float(np.sign(mean[pair]))
    what = (
        f"r of units {units[0]} and {units[1]} of z1, the strongest pair on average over patches,"
    )
    return what, "correlation-signal-noise", (float(mean[pair]), chance, draws**-0.5)


def _accuracies(subject: Subject) -> Iterator[Effect]:
    found = subject.measured("decoding")
    for name, (words, entry) in DECODERS.items():
        if f"{name}_accuracy" in found:
            value, null = (float(found[f"{name}_{key}"].mean()) for key in ("accuracy", "null"))
            what = f"labels decoded from {words}"
            error = float(found.chance_error)
            yield Effect(ACCURACY, what, subject.name, entry, value, null, error)


def _responses(subject: Subject) -> Iterator[Effect]:
    table = contrasts(subject.measured("contours"))
    for row in table[table.contrast.isin(CONTRASTS)].itertuples():
        if np.isfinite(row.share):
            what = f"response to an illusory contour ({row.contrast}), share of the full grating's,"
            numbers = float(row.share), 0.0, float(row.standard_error)
            yield Effect(RESPONSE, what, subject.name, "contour-contrasts", *numbers)
