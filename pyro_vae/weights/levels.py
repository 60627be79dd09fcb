"""The levels of a guide at draws of their parents, unit by unit, for posterior moments."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_vae.rows import Data, count_rows
from pyro_vae.weights.log_weights import guide_sites
from pyro_vae.weights.preconditions import check_all_rows, innermost
from pyro_vae.weights.site import Site


class Level:
    """One level at S draws for B data; all values are (S, B, U), U units in one row.

    What does not depend on the draw is repeated. Moments are those of the conditional distribution,
    given the drawn parents (and auxiliary sites); they are asked of the family when they are read.
    """

    def __init__(self, site: Site) -> None:
        self._fn, self._value = site.fn, site.value

    @property
    def draws(self) -> Tensor:
        return self._units(self._value)

    @property
    def mean(self) -> Tensor:
        return self._units(self._moments[0])

    @property
    def variance(self) -> Tensor:
        return self._units(self._moments[1])

    @property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Of a family that does not tell its own (flows), those of the draw: itself and 0.

        Averaged over draws that is right as well, and only noisier.
        """
        try:
            return self._fn.mean, self._fn.variance
        except NotImplementedError:
            return self._value, torch.zeros_like(self._value)

    @property
    def scale(self) -> Tensor | None:
        """The family's own scale (sigma of a Normal, b of a Laplace); None where it has none."""
        scale = getattr(innermost(self._fn), "scale", None)
        return self._units(scale) if torch.is_tensor(scale) else None

    def _units(self, values: Tensor) -> Tensor:
        shape = self._value.shape
        return values.expand(shape).reshape(*shape[:2], -1)


def guide_levels(guide: Callable, x: Data, num_draws: int) -> dict[str, Level]:
    """Draw from the guide: latent site -> its :class:`Level`."""
    levels = {name: Level(site) for name, site in guide_sites(guide, x, num_draws).items()}
    for level in levels.values():
        check_all_rows(level.draws.shape[1], count_rows(x))
    return levels
