"""Discretised logistics, alone and in mixtures: the likelihoods of 8-bit images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from pyro_vae.distributions import DiscretisedLogistic, DiscretisedLogisticMixture
from pyro_vae.errors import check_count
from pyro_vae.options import Setting
from pyro_vae.programs.likelihoods.level_rows import LevelsLikelihood, image_of


class Logistic(LevelsLikelihood):
    """p(x | z) = prod_d of discretised logistics, location and log-scale of each from the network.

    See :class:`pyro_vae.distributions.DiscretisedLogistic`; the likelihood of Kingma et al. 2016
    (https://arxiv.org/abs/1606.04934, appendix C) with tails in the edge bins.

    Arguments and errors as for :class:`LevelsLikelihood`; two planes a channel, locations on
    [-1, 1] first, then log-scales.
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
        super().__init__(in_features, hidden, shape, 2 * shape[0], **parts)

    def of_planes(self, planes: Tensor) -> DiscretisedLogistic:
        loc, log_scale = planes.chunk(2, -3)
        return DiscretisedLogistic(loc, log_scale, event_dim=3)


class LogisticMixture(LevelsLikelihood):
    """p(x | z): at every place of the image a mixture of discretised logistics.

    See :class:`pyro_vae.distributions.DiscretisedLogisticMixture` (Salimans et al. 2017,
    https://arxiv.org/abs/1701.05517). Images of three channels have their colours coupled, by
    coefficients tanh(.) of the network.

    Arguments and errors as for :class:`LevelsLikelihood`, and a number of components. Planes of M
    components and C channels, in this order: M logits; M C locations, component by component; M C
    log-scales; for three channels 3 M coefficients. That makes 10 numbers a component for colours.

    Args:
        coupled: False for colours that are independent given their component, without coefficients.
    """

    settings: ClassVar = {"components": Setting(10, "number of components", kind=int)}

    def __init__(
        self,
        in_features: int | Sequence[int],
        hidden: Sequence[int],
        features: int,
        *,
        components: int = 10,
        coupled: bool = True,
        activation: str = "softplus",
        decoder: Callable[[int], nn.Module] | None = None,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        check_count("components of the likelihood 'logistic-mixture'", components)
        shape = image_of(features, image_shape)
        parts: dict[str, Any] = {"activation": activation, "decoder": decoder}
        planes = sum(planes_of_mixture(components, shape[0], coupled))
        super().__init__(in_features, hidden, shape, planes, **parts)
        self.components, self.coupled = components, coupled

    def of_planes(self, planes: Tensor) -> DiscretisedLogisticMixture:
        return mixture_of(planes, self.components, self.image_shape[0], self.coupled)


def planes_of_mixture(components: int, channels: int, coupled: bool = True) -> list[int]:
    """Numbers for every place: of logits, locations, log-scales and coefficients."""
    coefficients = 3 if coupled and channels == 3 else 0
    return [components, *[components * channels] * 2, components * coefficients]


def mixture_of(
    planes: Tensor, components: int, channels: int, coupled: bool = True
) -> DiscretisedLogisticMixture:
    """The mixtures (..., C, H, W) that planes (..., P, H, W) in this order describe."""
    logits, loc, log_scale, coefficients = planes.split(
        planes_of_mixture(components, channels, coupled), -3
    )
    by_component = (components, -1)
    loc, log_scale = loc.unflatten(-3, by_component), log_scale.unflatten(-3, by_component)
    if not coefficients.shape[-3]:
        return DiscretisedLogisticMixture(logits, loc, log_scale)
    coefficients = coefficients.unflatten(-3, by_component).tanh()
    return DiscretisedLogisticMixture(logits, loc, log_scale, coefficients)
