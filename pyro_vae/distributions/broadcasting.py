"""What the distributions here share: parameters that broadcast, and checks that end in one line."""

from __future__ import annotations

import copy

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import constraints

from pyro_vae.errors import InputError


class Broadcasting(dist.TorchDistribution):
    """Parameters are the tensors of ``arg_constraints``.

    An expanded copy holds the parameters as they were given, so that a prior whose mixture is
    expanded over particles and data never has its parameters once for each of them.

    Raises (where validation is asked for, by ``validate_args`` or by Pyro's or torch's default):
        InputError: a parameter that breaks its constraint; in ``log_prob`` a value of another event
            shape, or outside the support, which the class spells in ``allowed``.
    """

    allowed: str  # values of one number, in words
    support: constraints.independent

    def __init__(self, batch_shape: Size, event_shape: Size, validate_args: bool | None) -> None:
        super().__init__(batch_shape, event_shape, validate_args=False)
        if validate_args is None:
            del self._validate_args  # as the default says
        else:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    def _check_parameters(self) -> None:
        for name, constraint in self.arg_constraints.items():
            value = getattr(self, name)
            if value is None:
                continue
            kept = constraint.check(value)
            if not kept.all():
                raise InputError(
                    f"{name} of {type(self).__name__} holds {value[~kept][0].item():g}, which "
                    f"breaks its constraint; allowed: {_spelled(constraint)}"
                )

    def _validate_sample(self, value: Tensor) -> None:
        axes, shape = len(self.event_shape), tuple(value.shape)
        event = shape[len(shape) - axes :]
        if event != tuple(self.event_shape):
            raise InputError(
                f"a value of shape {shape} has no event of shape {tuple(self.event_shape)}, which "
                f"{type(self).__name__} wants in its last {axes} axes"
            )
        try:
            torch.broadcast_shapes(shape[: len(shape) - axes], self.batch_shape)
        except RuntimeError as error:
            raise InputError(
                f"a value of shape {shape} does not broadcast with the batch shape "
                f"{tuple(self.batch_shape)} of {type(self).__name__}"
            ) from error
        kept = self.support.base_constraint.check(value)
        if not kept.all():
            raise InputError(
                f"the value {value[~kept][0].item():g} is outside the support of "
                f"{type(self).__name__}; allowed: {self.allowed}"
            )

    def expand(self, batch_shape, _instance=None):
        batch_shape = Size(batch_shape)
        if not _broadcasts(self.batch_shape, batch_shape):
            raise InputError(
                f"batch shape {tuple(self.batch_shape)} cannot be expanded to {tuple(batch_shape)}"
            )
        expanded = copy.copy(self)
        expanded._batch_shape = batch_shape
        return expanded

    def _per_batch(self, log_p: Tensor) -> Tensor:
        """``log_p``, over the batch shape where neither value nor parameters are."""
        return log_p.expand(torch.broadcast_shapes(log_p.shape, self.batch_shape))

    def _per_event(self, moment: Tensor) -> Tensor:
        return moment.expand(self.batch_shape + self.event_shape)


def _broadcasts(shape: Size, wanted: Size) -> bool:
    """Whether a tensor of the one shape can be expanded to the other."""
    pairs = zip(reversed(shape), reversed(wanted), strict=False)
    return len(shape) <= len(wanted) and all(size in (1, other) for size, other in pairs)


def _spelled(constraint) -> str:
    positive = isinstance(constraint, type(torch.distributions.constraints.positive))
    return "positive numbers" if positive else "real numbers"
