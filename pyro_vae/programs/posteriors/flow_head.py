"""Posteriors by normalising flows on top of a level's location and scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from pyro_vae.errors import InputError, check_count
from pyro_vae.options import Setting, sizes
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.flows import FlowDistribution, autoregressive, coupling
from pyro_vae.programs.networks import MergedLinear


class FlowLocScale(LocScale):
    """q(z | h): z = g(z_0; c) with z_0 from :class:`LocScale` and c = W h' + b, its context.

        log q(z | h) = log q_0(z_0 | h) - log |det dg/dz_0|  (Kingma et al. 2016,
        https://arxiv.org/abs/1606.04934)

    h' is what location and scale are read from, and c goes into every network of the flow, which
    bends each datum's posterior differently; Kingma et al. have the same. Without context
    (``context=0``) one map serves all data, and the pair is another with an unbent posterior, a
    flow prior and a longer decoder (Chen et al. 2017, https://arxiv.org/abs/1611.02731). The flow
    starts at the identity. What a level's family is, the family of z_0 is: Laplace units are bent
    as Normal ones are.

    Args:
        in_features, layers, features, family, activation, gain, network: as ``LocScale`` has them.
        transforms: number of invertible maps.
        hidden: hidden layers of each map's network.
        context: number of numbers c.

    Raises:
        InputError: transforms or widths below 1, a context below 0.
    """

    settings: ClassVar = {
        "transforms": Setting(4, "number of invertible maps", kind=int),
        "hidden": Setting((64, 64), "hidden layers of each map's network", sizes, metavar="WxW"),
        "context": Setting(16, "numbers that the maps read of the data's encoding", kind=int),
    }

    def __init__(
        self,
        in_features: int | Sequence[int],
        layers: Sequence[int],
        features: int,
        *,
        family: str = "normal",
        activation: str = "softplus",
        gain: float = 0.5,
        network: str = "mlp",
        transforms: int = 4,
        hidden: Sequence[int] = (64, 64),
        context: int = 16,
    ) -> None:
        super().__init__(
            in_features,
            layers,
            features,
            family=family,
            activation=activation,
            gain=gain,
            network=network,
        )
        read: Any = in_features if self.trunk is None else self.trunk.out_features
        check_count("context of a flow", context, minimum=0)
        self.context = MergedLinear(read, context) if context else None
        self.transform = self.flow(features, transforms=transforms, hidden=hidden, context=context)

    def flow(self, features: int, **settings) -> nn.Module:
        """g, as a lazy transform from z_0 to z."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> FlowDistribution:
        read = self.read(*inputs)
        to_latent = self.transform(None if self.context is None else self.context(*read))
        return FlowDistribution(self.units(*read), to_latent.inv, self.transform, scores_draws=True)


class CouplingPosterior(FlowLocScale):
    """Affine couplings (Dinh et al. 2017, https://arxiv.org/abs/1605.08803).

    Draws take one pass through each network, and so does the density of any other value. Take it
    where a draw is scored again, as the doubly reparameterised gradient and sticking the landing
    do.

    Raises:
        InputError: a single unit, beside what :class:`FlowLocScale` refuses.
    """

    def flow(self, features: int, **settings) -> nn.Module:
        if features == 1:
            raise InputError(
                "the posterior 'flow' moves units given other units, and a level has one; take iaf "
                "or locscale for it, as in --posterior flow/locscale from z1 up"
            )
        return coupling(features, **settings)


class IAFPosterior(FlowLocScale):
    """Inverse autoregressive flow (Kingma et al. 2016, https://arxiv.org/abs/1606.04934).

    Draws and their densities take one pass through each network; the density of any other value
    takes one pass for each unit. So gradients that score a draw again cost more the more units
    there are: at 40 units a step of DReG takes nine times the step of IWAE (``flow``: 1.5 times).
    """

    def flow(self, features: int, **settings) -> nn.Module:
        return autoregressive(features, **settings)
