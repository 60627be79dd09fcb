"""The arms of the comparison: which prior, fitted or trained, and from whose pair it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyro_vae.runs import RunDirectory

REALNVP, SPATIAL, MIXTURE = "realnvp", "spatial", "mixture:components=10"


@dataclass(frozen=True)
class Arm:
    """One way to come by a prior; each of its seeds is a run directory.

    Attributes:
        name: its folder, without the seed. label: as the table names it.
        prior: as ``--prior`` takes it.
        start: the arm whose pair it goes on from; None for random weights.
        refitted: only the prior is fitted, all else held fixed; else all parts are trained.
    """

    name: str
    label: str
    prior: str
    start: Arm | None = None
    refitted: bool = False

    @property
    def root(self) -> Arm:
        """The arm that began with random weights."""
        return self if self.start is None else self.start.root

    @property
    def later(self) -> bool:
        """Whether all parts were trained for the further epochs."""
        return self.start is not None and not self.refitted

    def directory(self, folder: Path, seed: int) -> RunDirectory:
        """Its run. Args: folder: of all runs."""
        return RunDirectory(folder / f"{self.name}-seed{seed}")


BASE = Arm("standard", "standard normal", "standard")
REFIT_MIXTURE = Arm("refit-mixture", "mixture of 10, refitted", MIXTURE, BASE, refitted=True)
REFIT_REALNVP = Arm("refit-realnvp", "RealNVP, refitted", REALNVP, BASE, refitted=True)
REFIT_SPATIAL = Arm("refit-spatial", "spatial RealNVP, refitted", SPATIAL, BASE, refitted=True)
FROM_START = Arm("realnvp", "RealNVP from the start", REALNVP)

# What the later arms are compared with: the same pair, trained as long under the same prior.
CONTROL = Arm("more-standard", "standard normal", "standard", BASE)
LATE_REALNVP = Arm("more-realnvp", "late RealNVP", REALNVP, REFIT_REALNVP)
LATE_SPATIAL = Arm("more-spatial", "late spatial RealNVP", SPATIAL, REFIT_SPATIAL)
LATE_MIXTURE = Arm("more-mixture", "late mixture of 10", MIXTURE, REFIT_MIXTURE)
IDENTITY = Arm("more-identity", "late RealNVP without the refit", REALNVP, BASE)
SINCE_START = Arm("more-from-start", "RealNVP from the start", REALNVP, FROM_START)

REFITS = (REFIT_MIXTURE, REFIT_REALNVP, REFIT_SPATIAL)
# In the order in which they are made, seed by seed.
ARMS = (
    BASE,
    *REFITS,
    CONTROL,
    LATE_REALNVP,
    LATE_SPATIAL,
    IDENTITY,
    LATE_MIXTURE,
    FROM_START,
    SINCE_START,
)
