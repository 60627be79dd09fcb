"""Likelihoods p(x | z1): one kind a file, and the registry that ``--likelihood`` chooses from.

A likelihood is a module ``made(in_features, hidden, features, activation=..., decoder=None,
image_shape=None, **settings)`` that maps z1 to the distribution of a datum's pixels, of event shape
(features,). ``decoder`` is None for an MLP with the given hidden layers, or a function
``decoder(outputs)`` that makes a module from z1 to planes (..., outputs H W), planes first:
``outputs`` numbers for every place of the image. ``image_shape`` is (C, H, W), None where rows are
no images. Its class attribute ``pixels`` names the pixel space that it is a likelihood for,
``settings`` what follows the colon in ``--likelihood NAME:key=value``; a method
``initialise_(rows)`` lets it start from training rows.
"""

from typing import Any

from pyro_vae.programs.likelihoods.behind_network import BehindNetwork
from pyro_vae.programs.likelihoods.bernoulli import Bernoulli, BernoulliPixels
from pyro_vae.programs.likelihoods.categorical import Categorical
from pyro_vae.programs.likelihoods.gaussian import FixedNoiseGaussian, FixedNoiseNormal, Gaussian
from pyro_vae.programs.likelihoods.level_rows import Levels, LevelsLikelihood
from pyro_vae.programs.likelihoods.logistic import Logistic, LogisticMixture
from pyro_vae.programs.likelihoods.pixelcnn import PixelByPixel, PixelCNN, PixelCNNLevels
from pyro_vae.programs.likelihoods.quantised import Quantised

# The first one of a pixel space is its usual one.
LIKELIHOODS: dict[str, Any] = {
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "logistic": Logistic,
    "logistic-mixture": LogisticMixture,
    "categorical": Categorical,
    "pixelcnn": PixelCNN,
    "pixelcnn-levels": PixelCNNLevels,
}

__all__ = [
    "LIKELIHOODS",
    "BehindNetwork",
    "Bernoulli",
    "BernoulliPixels",
    "Categorical",
    "FixedNoiseGaussian",
    "FixedNoiseNormal",
    "Gaussian",
    "Levels",
    "LevelsLikelihood",
    "Logistic",
    "LogisticMixture",
    "PixelByPixel",
    "PixelCNN",
    "PixelCNNLevels",
    "Quantised",
]
