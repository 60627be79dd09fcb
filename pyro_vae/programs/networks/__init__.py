"""Networks between images, latents and parameters: one kind a file."""

from pyro_vae.programs.networks.mlp import ACTIVATIONS, MLP, MergedLinear, glorot_

__all__ = ["ACTIVATIONS", "MLP", "MergedLinear", "glorot_"]
