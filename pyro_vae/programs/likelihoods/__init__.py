"""Likelihoods p(x | z1): one kind of pixels a file."""

from pyro_vae.programs.likelihoods.bernoulli import Bernoulli, BernoulliPixels
from pyro_vae.programs.likelihoods.fixed_noise import FixedNoiseGaussian, FixedNoiseNormal

__all__ = ["Bernoulli", "BernoulliPixels", "FixedNoiseGaussian", "FixedNoiseNormal"]
