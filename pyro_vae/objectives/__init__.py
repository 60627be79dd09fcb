"""What training minimises: losses that follow Pyro's ``ELBO`` convention.

A bound is one choice and its gradient estimator another; how many particles the gradient is
computed for (``thin``) is a third. ``docs/objectives.md`` has a page on each.
"""

from pyro_vae.objectives.base import ImportanceWeightedELBO, Loss, loss_of, sum_over_data
from pyro_vae.objectives.catalogue import (
    CATALOGUE,
    OBJECTIVES,
    SETTINGS,
    can_thin,
    check_objective_fits,
    make_objective,
    num_proposals,
)
from pyro_vae.objectives.controlled import BetaELBO, CapacityELBO, FreeBitsELBO
from pyro_vae.objectives.piwae import PIWAE
from pyro_vae.objectives.thinning import default_kept
from pyro_vae.objectives.weighted import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    STL,
    AnalyticELBO,
    DReG,
    MedianWeight,
    PowerMean,
    RenyiELBO,
)

__all__ = [
    "CATALOGUE",
    "CIWAE",
    "ELBO",
    "IWAE",
    "MIWAE",
    "OBJECTIVES",
    "PIWAE",
    "SETTINGS",
    "STL",
    "AnalyticELBO",
    "BetaELBO",
    "CapacityELBO",
    "DReG",
    "FreeBitsELBO",
    "ImportanceWeightedELBO",
    "Loss",
    "MedianWeight",
    "PowerMean",
    "RenyiELBO",
    "can_thin",
    "check_objective_fits",
    "default_kept",
    "loss_of",
    "make_objective",
    "num_proposals",
    "sum_over_data",
]
