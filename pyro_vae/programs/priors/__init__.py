"""Priors of the top latent: one kind a file."""

from pyro_vae.programs.priors.standard import StandardPrior

__all__ = ["StandardPrior"]
