"""Frechet distances between images: features, the distance, and the null that it stands on."""

from pyro_vae.evaluation.fid.distance import FrechetDistances, fid
from pyro_vae.evaluation.fid.features import FeatureMap, label_features, random_features
from pyro_vae.evaluation.fid.gaussians import frechet_distance, frechet_distance_of_moments
from pyro_vae.evaluation.fid.of_data import features_of

__all__ = [
    "FeatureMap",
    "FrechetDistances",
    "features_of",
    "fid",
    "frechet_distance",
    "frechet_distance_of_moments",
    "label_features",
    "random_features",
]
