"""Distributions that torch and Pyro lack, or have in a form that costs more.

Levels are whole numbers from 0 to 255, locations and scales of levels are on [-1, 1], where level
v lies at v / 127.5 - 1. An axis of components stands in front of the event.
"""

from pyro_vae.distributions.categorical_levels import CategoricalLevels
from pyro_vae.distributions.discretised_logistic import DiscretisedLogistic
from pyro_vae.distributions.logistic_mixture import DiscretisedLogisticMixture
from pyro_vae.distributions.normal_mixture import MixtureOfNormals
from pyro_vae.distributions.within_buckets import WithinBuckets

__all__ = [
    "CategoricalLevels",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
    "MixtureOfNormals",
    "WithinBuckets",
]
