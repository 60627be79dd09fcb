"""Codes beside the known factors of their images: scores, nulls, and what the scores hide."""

from pyro_vae.evaluation.disentanglement.gap import InformationGap, information_gap
from pyro_vae.evaluation.disentanglement.pair_accuracy import PairScore, pair_score
from pyro_vae.evaluation.disentanglement.readout import FactorReadout, factor_readout
from pyro_vae.evaluation.disentanglement.scores import (
    Disentanglement,
    code_disentanglement,
    disentanglement,
)

__all__ = [
    "Disentanglement",
    "FactorReadout",
    "InformationGap",
    "PairScore",
    "code_disentanglement",
    "disentanglement",
    "factor_readout",
    "information_gap",
    "pair_score",
]
