"""Normalising flows: invertible maps with a known Jacobian, for priors and posteriors.

A transform here is a lazy one of zuko (https://zuko.readthedocs.io): a module that returns a
``torch.distributions.Transform`` when it is called with a context, or without one.
"""

from pyro_vae.programs.flows.distribution import FlowDistribution
from pyro_vae.programs.flows.vector import autoregressive, coupling

__all__ = ["FlowDistribution", "autoregressive", "coupling"]
