"""Annealed importance sampling and its reverse."""

from pyro_vae.evaluation.ais.annealed import (
    AnnealedEstimate,
    Bracket,
    ais,
    bidirectional,
)

__all__ = ["AnnealedEstimate", "Bracket", "ais", "bidirectional"]
