"""Networks between images, latents and parameters: one kind a file, and their registry.

A network is a module ``made(in_features, hidden, activation)`` with ``in_features`` and
``out_features``; inputs may differ in leading axes, (B, F) for data and (K, B, F) for particles.
"""

from pyro_vae.programs.networks.mlp import ACTIVATIONS, MLP, MergedLinear, glorot_

NETWORKS: dict[str, type] = {"mlp": MLP}

__all__ = ["ACTIVATIONS", "MLP", "NETWORKS", "MergedLinear", "glorot_"]
