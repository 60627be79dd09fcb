"""``--init random``: the weights as their layers drew them."""

from __future__ import annotations

from torch import Tensor, nn


class RandomStart:
    """Leaves a pair as it was built; its parts may have seen the rows on their own."""

    def __init__(self, model: nn.Module, guide: nn.Module, *, seed: int = 0) -> None:
        self.model, self.guide, self.seed = model, guide, seed

    @staticmethod
    def check(architecture: object) -> None:
        """Everything can start at random."""

    def initialise_(self, rows: Tensor) -> list[str]:
        """Nothing is done, and there is nothing to say."""
        return []
