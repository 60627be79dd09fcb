"""Mixtures of discretised logistics: levels of grey images, and of colours that hang together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.distributions.broadcasting import Broadcasting
from pyro_vae.distributions.discretised_logistic import (
    HALF,
    LEVELS,
    DiscretisedLogistic,
    draw_levels,
    log_prob_of_levels,
    mean_level,
    variance_of_level,
)
from pyro_vae.errors import InputError, check_count


class DiscretisedLogisticMixture(Broadcasting):
    """At every place of an image a mixture of M discretised logistics over the levels there.

    ``log P(v) = sum_places logsumexp_m (log pi_m + sum_c log P_m(v_c | v_1 .. v_{c-1}))`` with
    ``P_m`` as :class:`DiscretisedLogistic` has it (Salimans et al. 2017,
    https://arxiv.org/abs/1701.05517, equations 2 and 3). All channels of a place share their
    component. With coefficients (a, b, c) the locations of green and blue follow the channels
    before them, whose values r, g are on [-1, 1]:

        loc_green + a r,    loc_blue + b r + c g

    The sum over all 256^3 colours of a place is one with them as without.

    Args:
        logits: of the components, (..., M, H, W), or (..., M, D) for rows; normalised here.
        loc, log_scale: (..., M, C, H, W), or (..., M, D) for rows, which are images of one channel;
            see :class:`DiscretisedLogistic` for their axis and for the clamp of the log-scale.
        coefficients: a, b, c: (..., M, 3, H, W), for images of three channels; None for channels
            that are independent given their component.

    Raises:
        InputError: no component; coefficients of images that have not three channels; axes that do
            not fit; with validation, values that are not whole levels or outside 0..255.

    ``mean`` and ``variance`` are exact without coefficients. With them ``mean`` reads the locations
    at the means of the channels before, as if no tail were cut at 0 and 255 (green and blue would
    be linear then), and there is no ``variance``.
    """

    arg_constraints = {  # noqa: RUF012 - torch's own convention
        "logits": constraints.real,
        "loc": constraints.real,
        "log_scale": constraints.real,
        "coefficients": constraints.real,
    }
    allowed = DiscretisedLogistic.allowed

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        coefficients: Tensor | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        images = loc.ndim == logits.ndim + 1
        self._places = 2 if images else 1  # axes of the places: H and W, or D
        self._axes = 3 if images else 1  # of the event
        self.logits, self.coefficients = logits, coefficients
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        event_shape = self.loc.shape[-self._axes :]
        self._check_axes(event_shape)
        lead = torch.broadcast_shapes(
            logits.shape[: -1 - self._places], self.loc.shape[: -1 - self._axes]
        )
        super().__init__(lead, event_shape, validate_args)

    def _check_axes(self, event_shape: torch.Size) -> None:
        logits, loc = tuple(self.logits.shape), tuple(self.loc.shape)
        if len(loc) <= self._axes or len(loc) - len(logits) not in (0, 1):
            raise InputError(
                f"logits have shape {logits} beside a loc of shape {loc}; both want (..., M, D), "
                "or (..., M, H, W) beside (..., M, C, H, W)"
            )
        components = check_count("number of components", loc[-1 - self._axes])
        wanted = (components, *event_shape[-self._places :])
        if logits[-1 - self._places :] != wanted:
            raise InputError(
                f"logits have shape {logits} beside a loc of shape {loc}; they want (..., "
                f"{', '.join(map(str, wanted))})"
            )
        if self.coefficients is None:
            return
        wanted = (components, 3, *event_shape[1:])
        given = tuple(self.coefficients.shape)
        if self._axes != 3 or event_shape[0] != 3 or given[-4:] != wanted:
            raise InputError(
                f"coefficients of shape {given} beside a loc of shape {loc}; they couple three "
                "channels, so that loc wants (..., M, 3, H, W), as they do"
            )

    @constraints.dependent_property(is_discrete=True)
    def support(self):
        return constraints.independent(LEVELS, self._axes)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self.loc.dtype).unsqueeze(-1 - self._axes)
        log_p = log_prob_of_levels(value, self._loc_after(value / HALF - 1), self.log_scale)
        if self._axes == 3:
            log_p = log_p.sum(-3)
        log_p = (log_p + self.logits.log_softmax(-1 - self._places)).logsumexp(-1 - self._places)
        return self._per_batch(log_p.sum(tuple(range(-self._places, 0))))

    def _loc_after(self, before: Tensor) -> Tensor:
        """Locations given the channels (..., 3, H, W) on [-1, 1]; each reads those before it."""
        if self.coefficients is None:
            return self.loc
        red, green, _ = before.unbind(-3)
        a, b, c = self.coefficients.unbind(-3)
        green_after, blue_after = a * red, b * red + c * green
        after = (torch.zeros_like(green_after), green_after, blue_after)
        return self.loc + torch.stack(torch.broadcast_tensors(*after), -3)

    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        shape = self._extended_shape(sample_shape)
        lead = shape[: len(shape) - self._axes]
        with torch.no_grad():
            logits = self.logits.expand(lead + self.logits.shape[-1 - self._places :])
            noise = torch.empty_like(logits, memory_format=torch.contiguous_format).exponential_()
            chosen = (logits - noise.log()).argmax(-1 - self._places, keepdim=True)  # Gumbel-max
            if self._axes == 3:
                chosen = chosen.unsqueeze(-3)
            loc, log_scale = (
                self._of_component(p, chosen, shape) for p in (self.loc, self.log_scale)
            )
            if self.coefficients is None:
                return draw_levels(loc, log_scale)
            a, b, c = self._of_component(self.coefficients, chosen, shape).unbind(-3)
            locs, log_scales = loc.unbind(-3), log_scale.unbind(-3)
            red = draw_levels(locs[0], log_scales[0])
            r = red / HALF - 1
            green = draw_levels(locs[1] + a * r, log_scales[1])
            g = green / HALF - 1
            blue = draw_levels(locs[2] + b * r + c * g, log_scales[2])
            return torch.stack((red, green, blue), -3)

    @property
    def mean(self) -> Tensor:
        mean = mean_level(self.loc, self.log_scale)
        if self.coefficients is not None:
            # Each pass gives one more channel its location after those before it.
            for _ in range(2):
                mean = mean_level(self._loc_after(mean / HALF - 1), self.log_scale)
        return self._per_event(self._over_components(mean))

    @property
    def variance(self) -> Tensor:
        if self.coefficients is not None:
            raise NotImplementedError("the variance of coupled channels has no closed form")
        mean = mean_level(self.loc, self.log_scale)
        variance = variance_of_level(self.loc, self.log_scale)
        centre = self._over_components(mean).unsqueeze(-1 - self._axes)
        return self._per_event(self._over_components(variance + (mean - centre).square()))

    def _over_components(self, values: Tensor) -> Tensor:
        weights = self.logits.softmax(-1 - self._places)
        if self._axes == 3:
            weights = weights.unsqueeze(-3)
        return (weights * values).sum(-1 - self._axes)

    def _of_component(self, parameter: Tensor, chosen: Tensor, shape: torch.Size) -> Tensor:
        """The parameter (shape) of the components ``chosen`` (..., 1, 1, H, W) or (..., 1, D)."""
        axis = len(shape) - self._axes
        event = shape[axis:]
        values = parameter.expand(*shape[:axis], parameter.shape[-1 - self._axes], *event)
        index = chosen.expand(*shape[:axis], 1, *event)
        return values.gather(axis, index).squeeze(axis)
