"""Priors of the top latent: one kind a file, and the registry that ``--prior`` chooses from.

A prior is a module ``made(features, family, **settings)`` that returns p(zL), of event shape
(features,), when it is called. Its class attribute ``settings`` says what follows the colon in
``--prior NAME:key=value``; a method ``initialise_(rows)`` lets it start from the training rows, and
``start_at_(draws)`` a refit at draws (N, features) of q(zL | x). A mixture tells its components'
``responsibilities(z)``, (..., features) -> (..., M), whose use is counted then.
"""

from pyro_vae.programs.priors.flow_prior import FlowPrior, MAFPrior, RealNVPPrior, SplinePrior
from pyro_vae.programs.priors.learned import LearnedPrior
from pyro_vae.programs.priors.mixture import MixturePrior
from pyro_vae.programs.priors.standard import StandardPrior

PRIORS: dict[str, type] = {
    "standard": StandardPrior,
    "learned": LearnedPrior,
    "mixture": MixturePrior,
    "realnvp": RealNVPPrior,
    "maf": MAFPrior,
    "spline": SplinePrior,
}

__all__ = [
    "PRIORS",
    "FlowPrior",
    "LearnedPrior",
    "MAFPrior",
    "MixturePrior",
    "RealNVPPrior",
    "SplinePrior",
    "StandardPrior",
]
