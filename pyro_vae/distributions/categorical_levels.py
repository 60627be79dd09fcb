"""Levels 0..255 with a probability each, in no order."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.distributions.broadcasting import Broadcasting
from pyro_vae.distributions.discretised_logistic import LEVELS, TOP
from pyro_vae.errors import InputError


class CategoricalLevels(Broadcasting):
    """Independent whole levels v = 0..255: ``log P(v) = logit_v - logsumexp(logits)``, summed.

    The likelihood of van den Oord et al. 2016 (https://arxiv.org/abs/1601.06759, section 3.1).
    Unlike torch's ``Categorical`` it has a mean, and no normalised copy of its logits.

    Args:
        logits: (..., 256, C, H, W), or (..., 256, D) with ``event_dim=1``.
        event_dim: how many of the last axes are the event.

    Raises:
        InputError: another number of levels; with validation, values that are not whole levels or
            outside 0..255.
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012 - torch's own convention
    allowed = f"whole levels from 0 to {TOP}"

    def __init__(
        self, logits: Tensor, *, event_dim: int = 3, validate_args: bool | None = None
    ) -> None:
        axis = logits.ndim - event_dim - 1
        if axis < 0 or logits.shape[axis] != TOP + 1:
            raise InputError(
                f"logits have shape {tuple(logits.shape)}; in front of the event of {event_dim} "
                f"axes they want {TOP + 1} levels"
            )
        self.logits = logits
        self._axis = -1 - event_dim
        super().__init__(logits.shape[:axis], logits.shape[axis + 1 :], validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self):
        return constraints.independent(LEVELS, len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)
        index = value.long().clamp(0, TOP).expand(shape).unsqueeze(self._axis)
        lead = len(shape) - len(self.event_shape)
        logits = self.logits.expand(*shape[:lead], TOP + 1, *self.event_shape)
        chosen = logits.gather(self._axis, index).squeeze(self._axis)
        log_p = chosen - self.logits.logsumexp(self._axis)
        return log_p.sum(tuple(range(self._axis + 1, 0)))

    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        with torch.no_grad():
            last = self.logits.movedim(self._axis, -1).expand(
                *self.batch_shape, *self.event_shape, TOP + 1
            )
            levels = dist.Categorical(logits=last, validate_args=False).sample(sample_shape)
            return levels.to(self.logits.dtype)

    @property
    def mean(self) -> Tensor:
        return self._per_event(self._moments()[0])

    @property
    def variance(self) -> Tensor:
        return self._per_event(self._moments()[1])

    def _moments(self) -> tuple[Tensor, Tensor]:
        probability = self.logits.softmax(self._axis)
        levels = torch.arange(TOP + 1, dtype=probability.dtype, device=probability.device)
        levels = levels.reshape(-1, *[1] * len(self.event_shape))
        mean = (probability * levels).sum(self._axis, keepdim=True)
        variance = (probability * (levels - mean).square()).sum(self._axis)
        return mean.squeeze(self._axis), variance
