"""The KL of a level in closed form, and unit by unit, from recorded sites of guide and model."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from pyro_vae.errors import InputError
from pyro_vae.weights.site import Site

Mask = bool | Tensor | None  # None hides nothing


def unit_kl(guide_site: Site, model_site: Site, *, analytic: bool = True) -> Tensor:
    """KL(q_u || p_u) of every unit u of one level, (K, B, units), in nats; differentiable.

    With ``analytic`` in closed form at the sampled parents, where torch knows it; else the sampled
    log-ratio log q_u - log p_u. The sum over units is the level's KL (``log_weights.run_pair`` with
    ``analytic``) or its log-ratio (``LogWeights.log_ratios``). Masks count as they do there: what a
    mask hides is 0; the closed form is used only where guide and model hide the same.

    The closed form has the right expectation where the parents that the model gives a level are
    drawn before it in the guide (top-down and mean-field guides), not in bottom-up chains.

    Args:
        guide_site, model_site: the level in the two programs, within particles at
            dim -2 and data at dim -1; the model's scored at the value of the guide's. Units of
            several event dimensions are in one row, as ``flatten`` puts them.

    Raises:
        InputError: the units of a site are not independent given its parents (it names the site).
    """
    q, q_mask = units_of(guide_site, "guide")
    p, p_mask = units_of(model_site, "model")
    kl = closed_form(q, p) if analytic and _same(q_mask, p_mask) else None
    if kl is None:
        value = guide_site.value
        kl = _masked(q.log_prob(value), q_mask) - _masked(p.log_prob(value), p_mask)
    else:
        kl = _masked(kl, q_mask)
    fn = guide_site.fn
    return kl.expand(fn.shape()).reshape(*fn.batch_shape, fn.event_shape.numel())


def units_of(site: Site, program: str) -> tuple[dist.TorchDistribution, Mask]:
    """The distribution of a site's units, all in its batch shape, and the mask over them.

    A density of the site is the sum of its units' densities where the mask is True. ``program`` is
    the word for the site's program in the error: InputError where units depend on each other.
    """
    fn = site.fn
    mask = _behind(site.mask, fn)
    while isinstance(fn, (Independent, dist.MaskedDistribution)):
        if isinstance(fn, dist.MaskedDistribution):
            mask = _both(mask, _behind(fn._mask, fn))
        fn = fn.base_dist
    if isinstance(fn, dist.Delta):
        raise InputError(
            f"site {site.name!r} in the {program} is Delta, whose single units have no density "
            "of their own; single units want a distribution of one unit with .to_event"
        )
    if fn.event_shape:
        raise InputError(
            f"site {site.name!r} in the {program} is {type(fn).__name__}, whose "
            f"{fn.event_shape.numel()} units are not independent of each other given their "
            "parents; single units want a distribution of one unit with .to_event"
        )
    return fn, mask


def _behind(mask: Mask, fn: dist.TorchDistribution) -> Mask:
    """A mask over the batch shape of ``fn`` as one over its units too."""
    if not torch.is_tensor(mask):
        return None if mask is True else mask
    return mask.reshape(mask.shape + (1,) * len(fn.event_shape))


def _both(first: Mask, second: Mask) -> Mask:
    if first is None or second is None:
        return second if first is None else first
    return first & second


def _same(first: Mask, second: Mask) -> bool:
    if torch.is_tensor(first) and torch.is_tensor(second):
        return first is second or torch.equal(*torch.broadcast_tensors(first, second))
    return first is second


def _masked(values: Tensor, mask: Mask) -> Tensor:
    return values if mask is None else values.where(torch.as_tensor(mask, device=values.device), 0)


def closed_form(q: dist.TorchDistribution, p: dist.TorchDistribution) -> Tensor | None:
    """KL(q || p) in closed form, one number where log_prob gives one; None where torch has none."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None
