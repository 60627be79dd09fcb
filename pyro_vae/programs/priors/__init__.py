"""Priors of the top latent: one kind a file, and the registry that ``--prior`` chooses from.

A prior is a module ``made(features, family, **settings)`` that returns p(zL), of event shape
(features,), when it is called. Its class attribute ``settings`` says what follows the colon in
``--prior NAME:key=value``; a method ``initialise_(rows)`` lets it start from the training rows. A
mixture tells its components' ``responsibilities(z)``, (..., features) -> (..., M), whose use is
counted then. Where a refit had better step further than for a network, ``refit_rate`` is its
learning rate.

A prior that wants the guide has a method ``bind_(guide, rows, interval)``, which :func:`bind_`
calls once model and guide exist, before training and before weights are loaded. Rows are the
training rows (N, D), or (0, D) where none are at hand; the interval is (lowest, highest) value of a
pixel, None where it is any number. The guide is held and not registered: its parameters are its
own.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pyro_vae.datasets.pixel_space import pixel_space
from pyro_vae.programs.priors.flow_prior import FlowPrior, MAFPrior, RealNVPPrior, SplinePrior
from pyro_vae.programs.priors.learned import LearnedPrior
from pyro_vae.programs.priors.mixture import MixturePrior
from pyro_vae.programs.priors.spatial import SpatialPrior
from pyro_vae.programs.priors.standard import StandardPrior
from pyro_vae.programs.priors.vamp import VampPrior

PRIORS: dict[str, Any] = {
    "standard": StandardPrior,
    "learned": LearnedPrior,
    "mixture": MixturePrior,
    "realnvp": RealNVPPrior,
    "maf": MAFPrior,
    "spline": SplinePrior,
    "spatial": SpatialPrior,
    "vamp": VampPrior,
}


def bind_(prior: nn.Module, guide: nn.Module, rows: Tensor, likelihood: nn.Module | None) -> None:
    """Tell the prior what it stands on besides its own parameters, if it asks.

    Args:
        rows: training rows (N, D), or (0, D).
        likelihood: of the model, whose pixels count.
    """
    bind = getattr(prior, "bind_", None)
    if bind is not None:
        pixels = getattr(likelihood, "pixels", None)
        bind(guide, rows, None if pixels is None else pixel_space(pixels).interval)


__all__ = [
    "PRIORS",
    "FlowPrior",
    "LearnedPrior",
    "MAFPrior",
    "MixturePrior",
    "RealNVPPrior",
    "SpatialPrior",
    "SplinePrior",
    "StandardPrior",
    "VampPrior",
    "bind_",
]
