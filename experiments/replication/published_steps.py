"""Published numbers of images in steps: Gatopoulos 2020 (MSc thesis), tables 7.2, 7.3, 7.5 and 7.6.

They are compared with; a number that a table does not print is None.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from experiments.replication.published_priors import PRIORS_OF_IMAGES


class PublishedSteps(NamedTuple):
    """A row of test images: bits per dimension, -ELBO / (D ln 2), with what it is made of.

    Attributes:
        distortion, rate: reconstruction losses and KLs, nats, of all sites and levels together.
        distortion_x, distortion_y1: of the image and of its representation.
        kl_z1, kl_z2: of the lower latent (KL_z; the only one of a plain VAE) and of the upper one
            (KL_u).
        inception_fid_train, inception_fid_test: of 50,000 images against the training images, and
            of 10,000 against the test images.
        size: millions of parameters. seconds_1, seconds_20, seconds_100: to draw so many images, on
            a GeForce GTX 1080 Ti.
    """

    bits_per_dim: float
    distortion: int | None = None
    rate: int | None = None
    distortion_x: int | None = None
    distortion_y1: int | None = None
    kl_z1: int | None = None
    kl_z2: int | None = None
    inception_fid_train: float | None = None
    inception_fid_test: float | None = None
    size: int | None = None
    seconds_1: float | None = None
    seconds_20: float | None = None
    seconds_100: float | None = None

    @property
    def terms(self) -> dict[str, int]:
        """Name -> loss or KL that is printed; together they are -ELBO, nats."""
        kinds = ("distortion", "distortion_x", "distortion_y1", "rate", "kl_z1", "kl_z2")
        return {name: getattr(self, name) for name in kinds if getattr(self, name) is not None}

    def bits_of_terms(self, dims: int) -> float:
        """What the printed terms are in bits for each of so many numbers of an image."""
        return sum(self.terms.values()) / (dims * math.log(2))


def _of_prior(name: str, **more: float) -> PublishedSteps:
    """A plain VAE as table 7.1 has it, with what another table adds."""
    row = PRIORS_OF_IMAGES[name]
    return PublishedSteps(
        row.bits_per_dim,
        distortion_x=row.distortion,
        kl_z1=row.rate,
        size=row.size,
        seconds_1=row.seconds_1,
        seconds_100=row.seconds_100,
        **more,
    )


# Table 7.2, CIFAR-10; a plain VAE's cost is that of table 7.1, which also has the standard normal.
CIFAR10 = {
    "standard": _of_prior("standard"),
    "realnvp": _of_prior("realnvp", inception_fid_train=37.25, inception_fid_test=41.36),
    "downscale": PublishedSteps(
        3.65,
        distortion_x=5107,
        distortion_y1=1241,
        kl_z1=619,
        kl_z2=819,
        inception_fid_train=29.95,
        inception_fid_test=34.71,
        size=35,
    ),
}
# Table 7.2, ImageNet32.
IMAGENET32 = {
    "realnvp": PublishedSteps(
        4.15,
        distortion_x=7153,
        kl_z1=1683,
        inception_fid_train=46.93,
        inception_fid_test=50.94,
    ),
    "downscale": PublishedSteps(
        4.32,
        distortion_x=6548,
        distortion_y1=1278,
        kl_z1=596,
        kl_z2=760,
        inception_fid_train=41.34,
        inception_fid_test=45.99,
    ),
}
# Table 7.3: model -> bits per dimension of CIFAR-10 and of ImageNet32.
LITERATURE: dict[str, tuple[float, float | None]] = {
    "PixelCNN": (3.14, None),
    "PixelRNN": (3.00, 3.86),
    "Gated PixelCNN": (3.03, 3.83),
    "PixelCNN++": (2.92, None),
    "Image Transformer": (2.90, 3.77),
    "PixelSNAIL": (2.85, 3.80),
    "RealNVP": (3.49, 4.28),
    "DVAE++": (3.38, None),
    "Glow": (3.35, 4.09),
    "IAF-VAE": (3.11, None),
    "BIVA": (3.08, 3.96),
    "Flow++": (3.08, 3.86),
}
# Table 7.5, CelebA at 64 x 64, and table 7.6, Imagenette at 64 x 64.
CELEBA = {
    "realnvp": PublishedSteps(3.12, 24096, 2502, size=40, seconds_1=0.07, seconds_20=0.1),
    "sketch": PublishedSteps(3.24, 23797, 3816, size=50, seconds_1=0.16, seconds_20=0.3),
    "twice": PublishedSteps(2.88, 23336, 1214, size=50, seconds_1=0.18, seconds_20=0.3),
}
IMAGENETTE = {
    "realnvp": PublishedSteps(3.85, 30809, 1961),
    "twice": PublishedSteps(3.70, 30394, 1171),
}
