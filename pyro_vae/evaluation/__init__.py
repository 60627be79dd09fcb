"""Held-out estimates of a trained pair: likelihoods, KL terms, weights and gradients."""

from pyro_vae.evaluation import activity
from pyro_vae.evaluation.ais import AnnealedEstimate, Bracket, ais, bidirectional
from pyro_vae.evaluation.estimates import (
    CHUNK_SIZE,
    BoundCurve,
    Evaluation,
    bound_curve,
    evaluate,
    log_likelihood,
)
from pyro_vae.evaluation.gradient_noise import (
    GradientNoise,
    SignalToNoise,
    gradient_signal_to_noise,
)
from pyro_vae.evaluation.likelihood_change import LikelihoodChange, likelihood_change
from pyro_vae.evaluation.pruned_likelihood import pruned_log_likelihood
from pyro_vae.evaluation.surgery import ElboSurgery, elbo_surgery, kl_per_unit
from pyro_vae.weights.simulation import simulate

__all__ = [
    "CHUNK_SIZE",
    "AnnealedEstimate",
    "BoundCurve",
    "Bracket",
    "ElboSurgery",
    "Evaluation",
    "GradientNoise",
    "LikelihoodChange",
    "SignalToNoise",
    "activity",
    "ais",
    "bidirectional",
    "bound_curve",
    "elbo_surgery",
    "evaluate",
    "gradient_signal_to_noise",
    "kl_per_unit",
    "likelihood_change",
    "log_likelihood",
    "pruned_log_likelihood",
    "simulate",
]
