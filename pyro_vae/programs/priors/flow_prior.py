"""Priors by normalising flows over the units of the top level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyro.distributions as dist
from torch import nn

from pyro_vae.errors import InputError
from pyro_vae.options import Setting, sizes
from pyro_vae.programs.flows import FlowDistribution, autoregressive, coupling
from pyro_vae.programs.priors.standard import StandardPrior

_SETTINGS = {
    "transforms": Setting(6, "number of invertible maps", kind=int),
    "hidden": Setting((128, 128), "hidden layers of each map's network", kind=sizes, metavar="WxW"),
}


class FlowPrior(nn.Module):
    """p(z) = p_0(f(z)) |det df/dz|, batch (), event (features,); f starts at the identity.

    p_0 is the standard prior of the level's family: Normal(0, 1) or Laplace(0, 1) units. It starts
    as p_0, where all but the last layers of its networks have no gradient for one step.

    Args:
        features: number of units.
        family: "normal" or "laplace".
        transform: f, from z to u.
    """

    settings: ClassVar = _SETTINGS

    def __init__(self, features: int, family: str, transform: nn.Module) -> None:
        super().__init__()
        self.base = StandardPrior(features, family)
        self.features = self.base.features
        self.transform = transform

    @property
    def family(self) -> type[dist.Distribution]:
        """Of the units of p_0."""
        return self.base.family

    def forward(self) -> FlowDistribution:
        return FlowDistribution(self.base(), self.transform(), self.transform)


class RealNVPPrior(FlowPrior):
    """Affine couplings of alternating halves (Dinh et al. 2017, https://arxiv.org/abs/1605.08803).

    Density and draws take one pass through each network.

    Raises:
        InputError: a single unit, which has no other half; transforms or widths below 1.
    """

    def __init__(
        self,
        features: int,
        family: str = "normal",
        *,
        transforms: int = 6,
        hidden: Sequence[int] = (128, 128),
    ) -> None:
        if features == 1:
            raise InputError(
                "the prior 'realnvp' moves units given other units, and the top level has one; "
                "take spline, maf or learned, or more units"
            )
        super().__init__(features, family, coupling(features, transforms=transforms, hidden=hidden))


class MAFPrior(FlowPrior):
    """Masked autoregressive flow (Papamakarios et al. 2017, https://arxiv.org/abs/1705.07057).

    p(z) = prod_i p(z_i | z_<i), and with several maps richer than that. The density takes one pass
    through each network, a draw one pass per unit: objectives score this prior and do not draw from
    it. The "autoregressive prior" of Chen et al. 2017 (https://arxiv.org/abs/1611.02731).
    """

    def __init__(
        self,
        features: int,
        family: str = "normal",
        *,
        transforms: int = 6,
        hidden: Sequence[int] = (128, 128),
    ) -> None:
        super().__init__(
            features, family, autoregressive(features, transforms=transforms, hidden=hidden)
        )


class SplinePrior(FlowPrior):
    """Couplings by rational-quadratic splines (Durkan et al. 2019,
    https://arxiv.org/abs/1906.04032), RQ-NSF (C) there.

    Units beyond [-5, 5] are not moved. Density and draws take one pass through each network.
    """

    settings: ClassVar = {**_SETTINGS, "bins": Setting(8, "bins of each spline", kind=int)}

    def __init__(
        self,
        features: int,
        family: str = "normal",
        *,
        transforms: int = 6,
        hidden: Sequence[int] = (128, 128),
        bins: int = 8,
    ) -> None:
        super().__init__(
            features, family, coupling(features, transforms=transforms, hidden=hidden, bins=bins)
        )
