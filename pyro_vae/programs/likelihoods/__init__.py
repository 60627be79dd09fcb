"""Likelihoods p(x | z1): one kind a file, and the registry that ``--likelihood`` chooses from.

A likelihood is a module ``made(in_features, hidden, features, activation=..., **settings)`` that
maps z1 to the distribution of a datum's pixels, of event shape (features,). Its class attribute
``pixels`` names the pixel space that it is a likelihood for, ``settings`` what follows the colon in
``--likelihood NAME:key=value``; a method ``initialise_(rows)`` lets it start from training rows.
"""

from pyro_vae.programs.likelihoods.behind_network import BehindNetwork
from pyro_vae.programs.likelihoods.bernoulli import Bernoulli, BernoulliPixels
from pyro_vae.programs.likelihoods.fixed_noise import FixedNoiseGaussian, FixedNoiseNormal

# The first one of a pixel space is its usual one.
LIKELIHOODS: dict[str, type] = {"gaussian": FixedNoiseGaussian, "bernoulli": Bernoulli}

__all__ = [
    "LIKELIHOODS",
    "BehindNetwork",
    "Bernoulli",
    "BernoulliPixels",
    "FixedNoiseGaussian",
    "FixedNoiseNormal",
]
