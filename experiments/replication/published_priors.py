"""Published numbers about priors: log-likelihoods, the surgery of the ELBO, bits per dimension.

Of Isachenko 2019 (lecture slides), who prints those of Tomczak and Welling 2018
(https://arxiv.org/abs/1705.07120), of Hoffman and Johnson 2016 and of Gulrajani et al. 2017
(https://arxiv.org/abs/1611.05013), and of Gatopoulos 2020 (MSc thesis).
They are compared with, never computed with.
"""

from __future__ import annotations

from typing import NamedTuple


class PublishedLikelihood(NamedTuple):
    """A test log-likelihood with its sign turned, nats."""

    nll: float


class PublishedBits(NamedTuple):
    """A row of test images in bits per dimension, -ELBO / (D ln 2), with what it is made of.

    Attributes:
        distortion, rate: reconstruction loss and KL, nats. size: millions of parameters.
        seconds_1, seconds_100: to draw so many images, on a GeForce GTX 1080 Ti.
    """

    bits_per_dim: float
    distortion: float | None = None
    rate: float | None = None
    size: int | None = None
    seconds_1: float | None = None
    seconds_100: float | None = None


class PublishedSurgery(NamedTuple):
    """A row of the surgery: nats, means over 60,000 training images."""

    elbo: float
    average_kl: float
    mutual_information: float
    marginal_kl: float


# Test log-likelihoods of static MNIST: the two-level VAE of 40 + 40 units, by its prior.
VAMPPRIOR = {
    "standard": PublishedLikelihood(85.89),
    "mixture": PublishedLikelihood(85.07),
    "vamp-data": PublishedLikelihood(85.71),
    "vamp": PublishedLikelihood(83.19),
}
# Number of units -> row; log N = 11.0021.
SURGERY = {
    2: PublishedSurgery(-129.63, 7.41, 7.20, 0.21),
    10: PublishedSurgery(-88.95, 19.17, 10.82, 8.35),
    20: PublishedSurgery(-87.45, 20.2, 10.67, 9.53),
}
# Gatopoulos 2020, table 7.1: CIFAR-10, by prior.
PRIORS_OF_IMAGES = {
    "standard": PublishedBits(3.88, 6675, 1596, 20, 0.01, 0.07),
    "mixture": PublishedBits(3.83, 6512, 1653, 22, 0.01, 0.07),
    "realnvp": PublishedBits(3.51, 5540, 1966, 32, 0.07, 0.14),
}
# Gulrajani et al. 2017, of validation images.
PIXELVAE = PublishedBits(3.66)
