"""Levels 0..255 whose probabilities are areas under a logistic density."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.distributions.broadcasting import Broadcasting

TOP = 255  # the highest level
HALF = TOP / 2  # levels from the middle to either end, which [-1, 1] has as 1
LOG_SCALES = (-7.0, 7.0)  # where log-scales are clamped: from 0.12 levels to 140,000
LEVELS = constraints.integer_interval(0, TOP)


class DiscretisedLogistic(Broadcasting):
    """Independent whole levels v = 0..255, each a logistic variable rounded to the next level.

    With location m = 127.5 (1 + loc) and scale s = 127.5 exp(log_scale), both in levels,
    ``P(v) = sigmoid((v + 1/2 - m) / s) - sigmoid((v - 1/2 - m) / s)``, where level 0 takes the
    whole lower tail and level 255 the whole upper one, so that the 256 probabilities sum to one for
    any parameters (Salimans et al. 2017, https://arxiv.org/abs/1701.05517, section 2.1).

    With a > b for the two arguments, ``log P = -softplus(-a) - softplus(b) + log(-expm1(b - a))``,
    and ``b - a = -1 / s`` whatever the level: no difference of nearly equal numbers is taken. Level
    0 has the first term alone, level 255 the second. log_prob in nats, summed over the event.

    Args:
        loc: on [-1, 1]; may lie outside.
        log_scale: on the same axis, clamped to [-7, 7], which are scales of 0.12 and 140,000
            levels. Both (..., D), or (..., C, H, W) with ``event_dim=3``; they broadcast.
        event_dim: how many of the last axes are the event.

    Raises:
        InputError: with validation, values that are not whole levels or outside 0..255.
    """

    arg_constraints = {  # noqa: RUF012 - torch's own convention
        "loc": constraints.real,
        "log_scale": constraints.real,
    }
    allowed = f"whole levels from 0 to {TOP}"

    def __init__(
        self,
        loc: Tensor,
        log_scale: Tensor,
        *,
        event_dim: int = 1,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        axes = self.loc.ndim - event_dim
        super().__init__(self.loc.shape[:axes], self.loc.shape[axes:], validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self):
        return constraints.independent(LEVELS, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self._per_event(mean_level(self.loc, self.log_scale))

    @property
    def variance(self) -> Tensor:
        return self._per_event(variance_of_level(self.loc, self.log_scale))

    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            return draw_levels(self.loc.expand(shape), self.log_scale.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_p = log_prob_of_levels(value.to(self.loc.dtype), self.loc, self.log_scale)
        return self._per_batch(log_p.sum(tuple(range(-len(self.event_shape), 0))))


def _per_level(log_scale: Tensor) -> Tensor:
    """One over the scale in levels."""
    return torch.exp(-log_scale.clamp(*LOG_SCALES)) / HALF


def log_prob_of_levels(value: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """log P(value) of every number by itself; the arguments broadcast.

    Which terms count depends on the value alone: where many components share a value, what says so
    is not held once for each of them.
    """
    return log_prob_of_bucket(value, 1, loc, log_scale)


def log_prob_of_bucket(first: Tensor, size: int, loc: Tensor, log_scale: Tensor) -> Tensor:
    """log sum_v P(v) over the ``size`` levels from ``first`` on; the arguments broadcast.

    In closed form, since neighbouring areas share an edge: the same two softplus differences as of
    one level, ``b - a = -size / s``.
    """
    per_level = _per_level(log_scale)
    lower = torch.sub(first - (HALF + 0.5), loc, alpha=HALF) * per_level
    upper = torch.add(lower, per_level, alpha=size)
    above, below = (first > 0).to(loc.dtype), (first + (size - 1) < TOP).to(loc.dtype)
    width = torch.log(-torch.expm1(-size * per_level))
    log_p = width * (above * below)
    for argument, counts in (lower, above), (-upper, below):
        log_p = torch.addcmul(log_p, _softplus(argument), counts, value=-1)
    return log_p


def _softplus(x: Tensor) -> Tensor:
    # From 20 on torch returns x itself, which is 2e-9 too little; from 40 on that is exact.
    return F.softplus(x, threshold=40)


def draw_levels(loc: Tensor, log_scale: Tensor) -> Tensor:
    """A level for every number of ``loc``: logistic noise, rounded and cut at 0 and 255."""
    noise = torch.rand(loc.shape, dtype=loc.dtype, device=loc.device).logit()
    levels = HALF * (1 + loc) + noise / _per_level(log_scale)
    return levels.round().clamp(0, TOP)


def mean_level(loc: Tensor, log_scale: Tensor) -> Tensor:
    """E v of every level by itself: sum_k P(v >= k), over 255 levels one at a time."""
    mean = torch.zeros_like(loc + log_scale)
    for _, reached in _reached(loc, log_scale):
        mean = mean + reached
    return mean


def variance_of_level(loc: Tensor, log_scale: Tensor) -> Tensor:
    """Var v of every level by itself, from E v^2 = sum_k (2 k - 1) P(v >= k).

    In float64, since it is a small difference of large numbers.
    """
    first = torch.zeros_like(loc + log_scale, dtype=torch.float64)
    second = first
    for level, reached in _reached(loc.double(), log_scale.double()):
        first, second = first + reached, second + (2 * level - 1) * reached
    return (second - first.square()).to(loc.dtype)


def _reached(loc: Tensor, log_scale: Tensor) -> Iterator[tuple[int, Tensor]]:
    """k, P(v >= k) for k = 1 .. 255."""
    per_level = _per_level(log_scale)
    middle = (HALF + 0.5 + HALF * loc) * per_level
    for level in range(1, TOP + 1):
        yield level, torch.sigmoid(middle - level * per_level)
