"""Mixtures of Normal distributions whose density costs one matrix product."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.distributions.broadcasting import Broadcasting
from pyro_vae.errors import InputError, check_count


class MixtureOfNormals(Broadcasting):
    """p(z) = sum_m pi_m prod_d Normal(z_d; loc_md, scale_md): M components of D independent units.

    The density of ``MixtureSameFamily``, which has an array over batch, components and units. Here
    the square is multiplied out,

        ``log N_m(z) = [z^2, z] . [-1 / (2 scale_m^2), loc_m / scale_m^2] + constant_m``,

    one product of (batch, 2 D) with (2 D, M), and the largest array, backward too, is over batch
    and components. What is multiplied out cancels: in float32 log p is off by up to 0.2 nats at a
    log-scale of -3 and by 7 at -5, where locations are spread by 5 (500 components, 40 units).
    So products, logarithm of the sum and their gradients are in float64, whatever the dtype of the
    arguments, to which log_prob returns. Autocast leaves float64 alone.

    Args:
        logits: of the components, (..., M), normalised here.
        loc, scale: (..., M, D).

    Raises:
        InputError: no component; axes that do not fit; with validation, scales that are not
            positive, values that are not real or not of shape (..., D).
    """

    arg_constraints = {  # noqa: RUF012 - torch's own convention
        "logits": constraints.real,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real_vector
    allowed = "real numbers"

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None
    ) -> None:
        given = tuple(loc.shape), tuple(logits.shape)
        if loc.ndim < 2 or logits.ndim < 1 or logits.shape[-1] != loc.shape[-2]:
            raise InputError(
                f"loc has shape {given[0]} and logits {given[1]}; they want (..., M, D) and "
                "(..., M)"
            )
        check_count("number of components", logits.shape[-1])
        self.logits = logits
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        lead = torch.broadcast_shapes(logits.shape[:-1], self.loc.shape[:-2])
        super().__init__(lead, self.loc.shape[-1:], validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self._per_batch(self.log_joint(value).logsumexp(-1).to(self.loc.dtype))

    def log_joint(self, value: Tensor) -> Tensor:
        """log pi_m + log N_m(value) of every component: (..., D) -> (..., M), in float64.

        Their softmax is the responsibility of each component for the value.
        """
        value, loc, scale = value.double(), self.loc.double(), self.scale.double()
        precision = scale.square().reciprocal()
        weighted = loc * precision
        constant = self.logits.double().log_softmax(-1) - 0.5 * loc.shape[-1] * math.log(
            2 * math.pi
        )
        constant = constant - scale.log().sum(-1) - 0.5 * (loc * weighted).sum(-1)
        # Unlike matmul, einsum does not copy the parameters for axes that only the value has.
        return constant + torch.einsum(
            "...d,...md->...m",
            torch.cat((value.square(), value), -1),
            torch.cat((-0.5 * precision, weighted), -1),
        )

    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            logits = self.logits.expand(*shape[:-1], self.logits.shape[-1])
            index = dist.Categorical(logits=logits, validate_args=False).sample()[..., None, None]
            loc, scale = (
                parameter.expand(*shape[:-1], *parameter.shape[-2:])
                .gather(-2, index.expand(*shape[:-1], 1, shape[-1]))
                .squeeze(-2)
                for parameter in (self.loc, self.scale)
            )
            return torch.normal(loc, scale)

    @property
    def mean(self) -> Tensor:
        return self._per_event(self._mean())

    def _mean(self) -> Tensor:
        return (self.logits.softmax(-1)[..., None] * self.loc).sum(-2)

    @property
    def variance(self) -> Tensor:
        about = self.scale.square() + (self.loc - self._mean()[..., None, :]).square()
        return self._per_event((self.logits.softmax(-1)[..., None] * about).sum(-2))
