"""The log-probability of one recorded site, read while the program's parameters are in place."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from numbers import Number

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import Independent

from pyro_vae.errors import InputError
from pyro_vae.programs.likelihoods import Levels
from pyro_vae.weights.site import Site

_PACKAGES = ("torch.distributions.", "pyro.distributions.")
_WRAPPERS = (Independent, dist.MaskedDistribution, ExpandedDistribution, Levels)
_OF_OTHERS = (dist.MixtureSameFamily, dist.MaskedMixture, dist.Rejector)
_HELD = (Tensor, Number, str, torch.Size, type(None))  # nothing that could read a parameter later


class NoInverse(InputError):
    """A flow without an inverse is asked for the density of a value that it did not just draw."""


def log_prob(site: Site) -> Tensor:
    """log-probability with the site's mask and without any scale.

    Raises:
        NoInverse: the site is a flow without an inverse, at a value from elsewhere.
    """
    if site.scored is not None:  # where the program sampled it
        return site.scored
    density = log_prob_at(site.fn, site.value, f"site {site.name!r}")
    return scale_and_mask(density, mask=site.mask)


def log_prob_at(fn: dist.TorchDistribution, value: Tensor, what: str) -> Tensor:
    """``fn.log_prob(value)``, with an error that a person can act on where a flow has no inverse.

    Args:
        what: whose distribution it is, for the error.

    Raises:
        NoInverse: a flow without an inverse, at a value from elsewhere.
    """
    try:
        return fn.log_prob(value)
    except (KeyError, NotImplementedError) as error:
        frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
        if frame.f_code.co_name != "_inverse":
            raise
        raise NoInverse(
            f"the density of {what} wants the inverse of "
            f"{type(frame.f_locals['self']).__name__}, which has none: such a flow scores what it "
            "has just drawn itself and no value from elsewhere, and its .inv the reverse"
        ) from error


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of one term or more."""
    first, *rest = terms
    return sum(rest, first)


def reads_late(fn: dist.Distribution) -> bool:
    """Whether ``fn.log_prob`` may read parameters that ``fn`` does not hold as tensors.

    Flows and mixtures do, and so may distributions of other people, which can hold a module or
    name one. They must be scored where the program samples them: afterwards other tensors may stand
    in the place of the parameters that they were drawn with.
    """
    while isinstance(fn, _WRAPPERS):
        fn = fn.base_dist
    kind = type(fn)
    if kind.__module__.startswith(_PACKAGES):
        return isinstance(fn, _OF_OTHERS) or kind.__name__ == "TransformedDistribution"
    ours = kind.__module__.startswith("pyro_vae.")
    return not (ours and all(isinstance(value, _HELD) for value in vars(fn).values()))
