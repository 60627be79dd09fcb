"""A prior of many components, each with a location and a scale for every unit."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from pyro_vae.distributions import MixtureOfNormals
from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.options import Setting
from pyro_vae.programs.conditionals import FAMILIES

WEIGHTS = ("learned", "equal")


class MixturePrior(nn.Module):
    """p(z) = sum_m pi_m prod_u Normal(z_u; loc_mu, exp(log_scale_mu)); batch (), event (features,).

    The aggregated posterior, which is the best prior there is, is such a mixture with a component
    for each datum; few components that are learned neither overfit nor cost as much (Tomczak and
    Welling 2018, section 2, https://arxiv.org/abs/1705.07120, who compare it with theirs). It
    starts near the standard normal: locations are drawn with standard deviation ``spread``, scales
    are sqrt(1 - spread^2), so that every unit has variance one.

    The components are Normal whatever the family of the level in the guide.

    Args:
        features: number of units.
        family: "normal" or "laplace", of the guide.
        components: M; each adds 2 ``features`` parameters.
        spread: of the locations before training, between 0 and 1. At 0 all components would be one.
        weights: "learned", by their logits, or "equal" for good.

    Raises:
        InputError: no component, a spread outside of (0, 1), unknown weights or family.
    """

    refit_rate: ClassVar = 3e-2
    settings: ClassVar = {
        "components": Setting(10, "number of components", kind=int),
        "spread": Setting(0.5, "of the locations before training, between 0 and 1"),
        "weights": Setting("learned", f"of the components: {' or '.join(WEIGHTS)}", kind=str),
    }

    def __init__(
        self,
        features: int,
        family: str = "normal",
        *,
        components: int = 10,
        spread: float = 0.5,
        weights: str = "learned",
    ) -> None:
        super().__init__()
        check_choice("family", family, FAMILIES)
        self.features = check_count("number of units", features)
        shape = (check_count("components of the prior 'mixture'", components), features)
        if not 0 < spread < 1:
            raise InputError(
                f"spread of the prior 'mixture' must be between 0 and 1, got {spread!r}"
            )
        check_choice("weights of the prior 'mixture'", weights, WEIGHTS)
        self.loc = nn.Parameter(spread * torch.randn(shape))
        self.log_scale = nn.Parameter(torch.full(shape, 0.5 * math.log(1 - spread**2)))
        logits = torch.zeros(components)
        if weights == "learned":
            self.logits = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits, persistent=False)

    def forward(self) -> MixtureOfNormals:
        return MixtureOfNormals(self.logits, self.loc, self.log_scale.exp())

    @torch.no_grad()
    def responsibilities(self, z: Tensor) -> Tensor:
        """p(m | z) of every component: z (..., features) -> (..., M), which sum to 1."""
        return self().log_joint(z).softmax(-1).to(z.dtype)
