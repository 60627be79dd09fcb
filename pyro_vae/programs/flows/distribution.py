"""The distribution of a flow's output, for Pyro: one density, no remembered draws that mislead."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, ClassVar, NamedTuple, cast

import pyro.distributions as dist
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Size, Tensor, nn
from torch.distributions import Transform, constraints

from pyro_vae.programs.flows.zuko_import import NormalizingFlow


class _Draw(NamedTuple):
    """The last draw, its log-density, and what that was computed with."""

    value: Tensor
    log_prob: Tensor
    parameters: list[tuple[Tensor, int]]
    differentiable: bool


class FlowDistribution(ZukoToPyro):
    """log p(z) = log p_0(f(z)) + log |det df/dz|, event (D,), for an invertible f (nats).

    Draws are ``f^-1(u)`` with u from the base p_0, and pathwise. Its mean has no closed form.
    See Rezende and Mohamed 2015 (https://arxiv.org/abs/1505.05770) for the change of variables.

    :class:`pyro.contrib.zuko.ZukoToPyro` lacks a support, which annealed importance sampling and
    validation ask for, and ``sample``; and it returns the log-density of a draw as it was when it
    was drawn, also after a step of the parameters. Here that is done for the last draw alone, where
    ``scores_draws`` asks for it, and while the parameters are those that drew it.

    Networks of flows multiply in full precision, whatever the precision of the pair's products.

    Args:
        base: p_0, of event (D,).
        to_base: f, from z to u.
        module: the module whose parameters f reads.
        scores_draws: keep the log-density of a draw, for guides, which score what they draw: an
            inverse autoregressive flow would take D passes through its network to score it anew.
    """

    arg_constraints: ClassVar = {}
    support = constraints.real_vector

    def __init__(
        self,
        base: dist.TorchDistribution,
        to_base: Transform,
        module: nn.Module,
        *,
        scores_draws: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(NormalizingFlow(to_base, base))
        self.base_dist, self.module, self.scores_draws = base, module, scores_draws
        self._last: _Draw | None = None
        # ZukoToPyro leaves it out; checks of values read what it sets.
        dist.TorchDistribution.__init__(
            self, base.batch_shape, base.event_shape, validate_args=validate_args
        )

    def expand(self, batch_shape, _instance=None) -> FlowDistribution:
        return FlowDistribution(
            self.base_dist.expand(Size(batch_shape)),
            cast(Any, self.dist).transform,
            self.module,
            scores_draws=self.scores_draws,
            validate_args=self._validate_args,
        )

    def __call__(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008 - torch's own default
        return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008 - torch's own default
        with self._full_precision():
            if not self.scores_draws:
                return self.dist.rsample(Size(sample_shape))
            value, log_prob = cast(Any, self.dist).rsample_and_log_prob(Size(sample_shape))
        self._last = _Draw(value, log_prob, self._parameters(), torch.is_grad_enabled())
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        last = self._last
        if last is not None and value is last.value and self._as_drawn(last):
            return last.log_prob
        with self._full_precision():
            return self.dist.log_prob(value)

    @staticmethod
    def _full_precision() -> ExitStack:
        """No products in bfloat16: they would round the logarithm of the Jacobian."""
        stack = ExitStack()
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        return stack

    def _parameters(self) -> list[tuple[Tensor, int]]:
        return [(p, p._version) for p in self.module.parameters()]

    def _as_drawn(self, last: _Draw) -> bool:
        """Whether the draw's log-density would come out the same now, and with its gradient."""
        pairs = zip(self._parameters(), last.parameters, strict=True)
        same = all(now[0] is then[0] and now[1] == then[1] for now, then in pairs)
        return same and last.differentiable == torch.is_grad_enabled()
