"""A hierarchical VAE for people who live in scikit-learn."""

from pyro_vae.encoder.estimator import HierarchicalVAEEncoder

__all__ = ["HierarchicalVAEEncoder"]
