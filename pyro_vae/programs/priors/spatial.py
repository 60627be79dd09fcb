"""A prior of units that lie on maps: RealNVP by convolutions, over several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pyro_vae.errors import InputError
from pyro_vae.options import Setting, sizes
from pyro_vae.programs.flows.maps import of_maps
from pyro_vae.programs.networks import Maps
from pyro_vae.programs.priors.flow_prior import FlowPrior


class SpatialPrior(FlowPrior):
    """p(z) = p_0(f(z)) |det df/dz| over maps (C, H, W), f a multi-scale RealNVP.

    f is :func:`~pyro_vae.programs.flows.maps.of_maps`: Dinh et al. 2017
    (https://arxiv.org/abs/1605.08803), which Gatopoulos 2020 (section 5.1) puts over the latent of
    images. Density and draws take one pass through each network; it starts as p_0.

    Args:
        features: number of units, C H W.
        family: of p_0, "normal" or "laplace".
        shape: (C, H, W) of the units, channel first; may be left out where the model's latent has
            places (``networks.Maps``).
        scales: of the flow; every one after the first halves both sides.
        couplings: by checkerboard, and again by channels, at every scale but the last, which has
            one more by checkerboard alone.
        width: channels inside each coupling's network.

    Raises:
        InputError: units without a shape or of another number, beside what ``of_maps`` refuses.
    """

    settings: ClassVar = {
        "shape": Setting((), "(C, H, W) of the units, as 8x4x4", kind=sizes, metavar="CxHxW"),
        "scales": Setting(2, "scales, each of half the side", kind=int),
        "couplings": Setting(3, "couplings of each kind at a scale", kind=int),
        "width": Setting(64, "channels of each coupling's network", kind=int),
    }

    def __init__(
        self,
        features: int,
        family: str = "normal",
        *,
        shape: Sequence[int] = (),
        scales: int = 2,
        couplings: int = 3,
        width: int = 64,
    ) -> None:
        shape = _shape_of(features, tuple(shape))
        flow = of_maps(shape, scales=scales, couplings=couplings, width=width)
        super().__init__(features, family, flow)
        self.shape = shape


def _shape_of(features: int, asked: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) that was asked for, or that the units have."""
    shape: Any = asked or getattr(features, "shape", ())
    if not shape:
        raise InputError(
            f"the prior 'spatial' wants to know how its {features} units lie: give C x H x W of "
            "that product, as spatial:shape=8x4x4"
        )
    told = "x".join(map(str, shape))
    if len(shape) != 3:
        raise InputError(f"shape of the prior 'spatial' must be CxHxW, three numbers, got {told}")
    maps = Maps(shape)
    if maps != features:
        raise InputError(
            f"shape {told} of the prior 'spatial' has {int(maps)} units, and the top level "
            f"has {int(features)}; both must agree"
        )
    return maps.shape
