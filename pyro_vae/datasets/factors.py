"""The known factors that images were made from, kept beside their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pyro_vae.errors import check_choice, check_count

KINDS = ("class", "ordered", "circular")


@dataclass(frozen=True)
class Factor:
    """One thing that varies between images.

    Attributes:
        name: as it is printed.
        size: how many values it takes, in equal steps.
        kind: ``"class"`` has no order, ``"ordered"`` lies on a line, ``"circular"`` on a circle,
            where the last value is next to the first.
    """

    name: str
    size: int
    kind: str = "ordered"

    def __post_init__(self) -> None:
        check_count(f"size of the factor {self.name}", self.size, 2)
        check_choice("kind of factor", self.kind, KINDS)

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        """Values (N,) as points that a regression can aim at, (N, 1) or (N, 2) on the circle."""
        if self.kind != "circular":
            return np.asarray(values, float)[:, None]
        angle = 2 * np.pi * np.asarray(values, float) / self.size
        return np.stack([np.cos(angle), np.sin(angle)], 1)


@dataclass(frozen=True, eq=False)
class Factors:
    """The factors of a data set.

    Attributes:
        described: the F factors, in the order of the columns.
        values: split name -> (N, F) int64, each in 0 .. size - 1, row by row those of the images.
    """

    described: tuple[Factor, ...]
    values: Mapping[str, Tensor]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the factors."""
        return tuple(factor.name for factor in self.described)

    def of(self, split: str) -> np.ndarray:
        """(N, F), the values of the rows of one split."""
        return self.values[check_choice("split", split, self.values)].numpy()
