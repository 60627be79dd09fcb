"""A probability for each of the 256 levels of a pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from pyro_vae.distributions import CategoricalLevels
from pyro_vae.options import Setting
from pyro_vae.programs.likelihoods.level_rows import NUM_LEVELS, LevelsLikelihood, image_of


class Categorical(LevelsLikelihood):
    """p(x | z) = prod_d of categorical distributions over 256 levels, logits from the network.

    Van den Oord et al. 2016 (https://arxiv.org/abs/1601.06759, section 3.1). It knows no order of
    levels, and a colour image of 32 x 32 wants 786,432 numbers of its network.

    Arguments and errors as for :class:`LevelsLikelihood`; 256 planes a channel, level by level.
    """

    settings: ClassVar[dict[str, Setting]] = {}

    def __init__(
        self,
        in_features: int | Sequence[int],
        hidden: Sequence[int],
        features: int,
        *,
        activation: str = "softplus",
        decoder: Callable[[int], nn.Module] | None = None,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        shape = image_of(features, image_shape)
        parts: dict[str, Any] = {"activation": activation, "decoder": decoder}
        super().__init__(in_features, hidden, shape, NUM_LEVELS * shape[0], **parts)

    def of_planes(self, planes: Tensor) -> CategoricalLevels:
        return CategoricalLevels(planes.unflatten(-3, (NUM_LEVELS, -1)))
