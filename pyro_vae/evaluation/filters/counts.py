"""How many filters of a decoder are of which class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FilterCounts:
    """How many filters are of which class, as ``summary.json`` has it.

    Attributes:
        units: of z1, all of which have a filter.
        localised, non_localised, unresolved: of all units, by
            :func:`pyro_vae.evaluation.filters.classes.classify`.
        above_gap: units above the gap of activity; None where there is no clear gap.
        localised_above_gap: of these; None likewise.
        noise, noise_localised: filters of noise that were fitted beside, and how many of them are
            called localised; 0 where none were.
    """

    units: int
    localised: int
    non_localised: int
    unresolved: int
    above_gap: int | None = None
    localised_above_gap: int | None = None
    noise: int = 0
    noise_localised: int = 0

    @property
    def shown(self) -> int:
        """Units that count: above the gap, or all."""
        return self.units if self.above_gap is None else self.above_gap

    @property
    def localised_shown(self) -> int:
        """Localised ones of the units that count."""
        return self.localised if self.localised_above_gap is None else self.localised_above_gap
