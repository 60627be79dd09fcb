"""Weights: programs are run and read here, and become log-weights and what is known of them."""

from pyro_vae.weights import bounds, diagnostics, resampling
from pyro_vae.weights.log_weights import LogWeights, log_weights

__all__ = ["LogWeights", "bounds", "diagnostics", "log_weights", "resampling"]
