"""Held-out estimates of a trained pair: likelihoods, KL terms, weights and gradients."""

from pyro_vae.evaluation import activity
from pyro_vae.evaluation.ais import AnnealedEstimate, Bracket, ais, bidirectional
from pyro_vae.evaluation.bits import bits_per_dim
from pyro_vae.evaluation.bound_curve import BoundCurve, bound_curve
from pyro_vae.evaluation.component_use import ComponentUse, component_use
from pyro_vae.evaluation.disentanglement import (
    Disentanglement,
    FactorReadout,
    InformationGap,
    PairScore,
    code_disentanglement,
    disentanglement,
    factor_readout,
    information_gap,
    pair_score,
)
from pyro_vae.evaluation.draw_consistency import consistency
from pyro_vae.evaluation.drawing_cost import (
    GenerationCost,
    drawing_seconds,
    generation_cost,
    num_parameters,
)
from pyro_vae.evaluation.estimates import CHUNK_SIZE, Evaluation, evaluate, log_likelihood
from pyro_vae.evaluation.fid import (
    FeatureMap,
    FrechetDistances,
    features_of,
    fid,
    frechet_distance,
    label_features,
    random_features,
)
from pyro_vae.evaluation.gradient_noise import (
    GradientNoise,
    SignalToNoise,
    gradient_signal_to_noise,
)
from pyro_vae.evaluation.likelihood_change import LikelihoodChange, likelihood_change
from pyro_vae.evaluation.pruned_likelihood import pruned_log_likelihood
from pyro_vae.evaluation.route_rates import RouteRate, route_rate, route_rates
from pyro_vae.evaluation.routes import generate, reconstruct
from pyro_vae.evaluation.surgery import ElboSurgery, elbo_surgery, kl_per_unit
from pyro_vae.evaluation.two_sample import TwoSampleTest, two_sample_test
from pyro_vae.weights.simulation import simulate

__all__ = [
    "CHUNK_SIZE",
    "AnnealedEstimate",
    "BoundCurve",
    "Bracket",
    "ComponentUse",
    "Disentanglement",
    "ElboSurgery",
    "Evaluation",
    "FactorReadout",
    "FeatureMap",
    "FrechetDistances",
    "GenerationCost",
    "GradientNoise",
    "InformationGap",
    "LikelihoodChange",
    "PairScore",
    "RouteRate",
    "SignalToNoise",
    "TwoSampleTest",
    "activity",
    "ais",
    "bidirectional",
    "bits_per_dim",
    "bound_curve",
    "code_disentanglement",
    "component_use",
    "consistency",
    "disentanglement",
    "drawing_seconds",
    "elbo_surgery",
    "evaluate",
    "factor_readout",
    "features_of",
    "fid",
    "frechet_distance",
    "generate",
    "generation_cost",
    "gradient_signal_to_noise",
    "information_gap",
    "kl_per_unit",
    "label_features",
    "likelihood_change",
    "log_likelihood",
    "num_parameters",
    "pair_score",
    "pruned_log_likelihood",
    "random_features",
    "reconstruct",
    "route_rate",
    "route_rates",
    "simulate",
    "two_sample_test",
]
