"""A mixture of discretised logistics, given the bucket that each level lies in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.distributions.broadcasting import Broadcasting
from pyro_vae.distributions.discretised_logistic import (
    LEVELS,
    TOP,
    log_prob_of_bucket,
)
from pyro_vae.errors import InputError


class WithinBuckets(Broadcasting):
    """Levels of a mixture, given the first level of the bucket of ``size`` levels of each of them.

    With components m, channels c and the bucket b_c of level v_c, place by place ::

        log P(v | b) = logsumexp_m (log pi_m + sum_c log P_m(v_c))
                     - logsumexp_m (log pi_m + sum_c log P_m(b_c))

    and minus infinity outside of the buckets. Both sums are in closed form, because the components'
    channels are independent and a bucket is one area under the logistic density. So the levels of a
    bucket sum to one, and every draw lies in its own: knowing b costs nothing that is lost again.

    Where the values are quantised themselves, ``unit`` levels to one, P_m(v_c) is the area of all
    of these, and values are their middles, as :class:`~pyro_vae.programs.representations.Quantise`
    makes them; every other level has probability zero.

    Args:
        logits, loc, log_scale: see :class:`DiscretisedLogisticMixture`, without coefficients: the
            sum over a bucket of coupled channels has no closed form.
        first: first levels of the buckets, (..., C, H, W) or (..., D).
        size: levels of a bucket; 256 for one that holds all.
        unit: levels that are one value.

    Raises:
        InputError: buckets that do not fit 256 levels, or units that do not fit buckets; with
            validation, values that are not whole levels 0..255.
    """

    arg_constraints = {  # noqa: RUF012 - torch's own convention
        "logits": constraints.real,
        "loc": constraints.real,
        "log_scale": constraints.real,
        "first": LEVELS,
    }
    allowed = f"whole levels from 0 to {TOP}"

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        first: Tensor,
        size: int,
        *,
        unit: int = 1,
        validate_args: bool | None = None,
    ) -> None:
        if size < 1 or (TOP + 1) % size:
            raise InputError(f"buckets of {size} levels do not fit {TOP + 1} levels")
        if unit < 1 or size % unit:
            raise InputError(f"values of {unit} levels do not fit buckets of {size}")
        images = loc.ndim == logits.ndim + 1
        self._places, self._axes = (2, 3) if images else (1, 1)
        self.logits, self.first, self.size, self.unit = logits, first, size, unit
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        lead = torch.broadcast_shapes(
            logits.shape[: -1 - self._places],
            self.loc.shape[: -1 - self._axes],
            first.shape[: -self._axes],
        )
        super().__init__(lead, self.loc.shape[-self._axes :], validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self):
        return constraints.independent(LEVELS, self._axes)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self.loc.dtype)
        start = value - self.unit // 2
        inside = (start >= self.first) & (start < self.first + self.size)
        inside &= start.remainder(self.unit) == 0
        log_p = self._over_components(self._of_unit(self._with_components(start)))
        log_p = log_p - self._over_components(self._of_buckets())
        log_p = log_p.sum(tuple(range(-self._places, 0)))
        outside = ~inside.flatten(-self._axes).all(-1)
        return self._per_batch(log_p.masked_fill(outside, -torch.inf))

    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        """A component given the buckets, then each level by Gumbel's maximum over its bucket."""
        lead = self._extended_shape(sample_shape)[: -self._axes]
        with torch.no_grad():
            logits = self._sum_channels(self._of_buckets()) + self.logits.log_softmax(
                -1 - self._places
            )
            logits = logits.expand(lead + logits.shape[-1 - self._places :])
            chosen = (logits + _gumbel(logits)).argmax(-1 - self._places, keepdim=True)
            if self._axes == 3:
                chosen = chosen.unsqueeze(-3)
            loc, log_scale = (
                self._of_component(p, chosen, lead) for p in (self.loc, self.log_scale)
            )
            first = self.first.to(loc.dtype).expand(lead + self.event_shape)
            best = torch.full_like(first, -torch.inf)
            drawn = first
            for step in range(0, self.size, self.unit):
                level = first + step
                score = log_prob_of_bucket(level, self.unit, loc, log_scale) + _gumbel(first)
                drawn, best = torch.where(score > best, level, drawn), torch.maximum(best, score)
            return drawn + self.unit // 2

    @property
    def mean(self) -> Tensor:
        """Exact, level by level of a bucket."""
        log_b = self._sum_channels(self._of_buckets())
        weights = (log_b + self.logits.log_softmax(-1 - self._places)).softmax(-1 - self._places)
        if self._axes == 3:
            weights = weights.unsqueeze(-3)
        first, of_bucket = self._with_components(self.first.to(self.loc.dtype)), self._of_buckets()
        mean = torch.zeros_like(of_bucket)
        for step in range(0, self.size, self.unit):
            share = (self._of_unit(first + step) - of_bucket).exp()
            mean = mean + share * (first + step + self.unit // 2)
        return self._per_event((weights * mean).sum(-1 - self._axes))

    def _of_buckets(self) -> Tensor:
        first = self._with_components(self.first.to(self.loc.dtype))
        return log_prob_of_bucket(first, self.size, self.loc, self.log_scale)

    def _of_unit(self, first: Tensor) -> Tensor:
        return log_prob_of_bucket(first, self.unit, self.loc, self.log_scale)

    def _with_components(self, values: Tensor) -> Tensor:
        return values.unsqueeze(-1 - self._axes)

    def _sum_channels(self, log_p: Tensor) -> Tensor:
        return log_p.sum(-3) if self._axes == 3 else log_p

    def _over_components(self, log_p: Tensor) -> Tensor:
        log_p = self._sum_channels(log_p) + self.logits.log_softmax(-1 - self._places)
        return log_p.logsumexp(-1 - self._places)

    def _of_component(self, parameter: Tensor, chosen: Tensor, lead: torch.Size) -> Tensor:
        event = self.event_shape
        axis = len(lead)
        values = parameter.expand(*lead, parameter.shape[-1 - self._axes], *event)
        return values.gather(axis, chosen.expand(*lead, 1, *event)).squeeze(axis)


def _gumbel(like: Tensor) -> Tensor:
    noise = torch.empty_like(like, memory_format=torch.contiguous_format).exponential_()
    return -noise.log()
