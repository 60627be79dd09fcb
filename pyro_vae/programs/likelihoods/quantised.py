"""Levels given their high bits, and levels that have high bits only: renormalised likelihoods."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vae.distributions import DiscretisedLogisticMixture, WithinBuckets
from pyro_vae.errors import InputError, check_count
from pyro_vae.programs.likelihoods.behind_network import AroundLikelihood
from pyro_vae.programs.likelihoods.level_rows import TOP, Levels
from pyro_vae.programs.likelihoods.logistic import Logistic, LogisticMixture
from pyro_vae.programs.representations.quantise import BITS


class Quantised(AroundLikelihood):
    """p(x | y, z) that gives mass to the images whose high bits are y alone, and p(y | .) of those.

    ``P(x | y, z) = P(x | z) / P(the buckets of y | z)`` inside the buckets and 0 outside, in closed
    form (:class:`pyro_vae.distributions.WithinBuckets`). With y = d(x) the high bits of x, no other
    y could have given x, so p(x, d(x)) = p(x): the bound of the pair is one of x, draws always
    agree with their y, and no nat is lost. A representation y that is quantised itself has a
    probability for its 2^b values and for no other level.

    Args:
        likelihood: :class:`Logistic`, or :class:`LogisticMixture` with ``coupled=False``, of all
            256 levels; called with what this module is called with.
        bits: of y, the first input; None where no high bits are given.
        own_bits: of the values that it is a likelihood of, 8 for all levels.

    Raises:
        InputError: another likelihood, or bits that do not fit.
    """

    def __init__(
        self, likelihood: nn.Module, bits: int | None = None, own_bits: int = BITS
    ) -> None:
        super().__init__()
        inner = getattr(likelihood, "inner", likelihood)  # behind a network
        known = isinstance(inner, (Logistic, LogisticMixture))
        if not known or getattr(inner, "coupled", False):
            raise InputError(
                "levels within their buckets want a likelihood whose buckets sum in closed form: "
                f"logistic, or logistic-mixture with coupled=False, got {type(inner).__name__}"
            )
        given = 0 if bits is None else check_count("bits", bits)
        if not given <= check_count("bits of the values", own_bits) <= BITS:
            raise InputError(
                f"values of {own_bits} bits cannot have {given} high bits given; allowed: 0 to "
                f"{BITS} bits, and no more given than there are"
            )
        self.inner, self.bits = likelihood, bits
        self.size, self.unit = 2 ** (BITS - given), 2 ** (BITS - own_bits)

    @property
    def consistent(self) -> bool:
        """Whether every draw has the representation that it was given."""
        return self.bits is not None

    def forward(self, *inputs: Tensor) -> Levels:
        levels = self.inner(*inputs).base_dist
        if isinstance(levels, DiscretisedLogisticMixture):
            logits, loc, log_scale = levels.logits, levels.loc, levels.log_scale
        else:  # one component, which has no channels
            loc, log_scale = levels.loc.unsqueeze(-4), levels.log_scale.unsqueeze(-4)
            logits = torch.zeros_like(loc[..., 0, :, :])
        first = torch.zeros((), dtype=loc.dtype, device=loc.device).expand(levels.event_shape)
        if self.bits is not None:
            given = (inputs[0] * TOP).round().unflatten(-1, levels.event_shape)
            first = torch.floor(given / self.size) * self.size
        return Levels(WithinBuckets(logits, loc, log_scale, first, self.size, unit=self.unit))
