"""Self-supervised pairs put together from the networks and transforms of an architecture."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from pyro_vae.errors import InputError
from pyro_vae.options import read_part
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.likelihoods import LIKELIHOODS, BehindNetwork, Quantised
from pyro_vae.programs.networks import (
    Folded,
    ImageDecoder,
    ImageEncoder,
    LevelNetworks,
    Maps,
    WeightNormConv,
    before_image,
    between_latents,
)
from pyro_vae.programs.networks.image_layers import check_images
from pyro_vae.programs.posteriors import per_level
from pyro_vae.programs.priors import PRIORS
from pyro_vae.programs.representations import Quantise, Representation, chain
from pyro_vae.programs.self_supervised import SelfSupervisedGuide, SelfSupervisedVAE
from pyro_vae.programs.sizes import Architecture

WITHIN_BUCKETS = ("logistic", "logistic-mixture")  # whose buckets sum in closed form


def self_supervised_model(arch: Architecture, image: Maps) -> SelfSupervisedVAE:
    """p(x, y, z) for images of this width; the architecture's units are those of its rows."""
    networks, activation = _networks(arch), arch.activation_of("decoder")
    transforms = chain(arch.transforms, image.shape)
    images = _widths(image, transforms)
    made, settings = read_part("prior", arch.prior, PRIORS)
    prior = made(arch.units[-1], arch.families[-1], **settings)
    conditionals, likelihoods = [], []
    for level, transform in enumerate(transforms):
        below, above = map(check_images, arch.units[level : level + 2])
        y, seen = images[level + 1], images[level]
        read = between_latents(y, above, below, networks, arch.activation_of("priors"))
        head = LocScale(read.out_features, (), below, family=arch.families[level], gain=arch.gain)
        conditionals.append(BehindNetwork(read, head))
        met = before_image(y, below, seen, networks, activation)
        own = transforms[level - 1] if level else None
        likelihoods.append(_likelihood(arch, seen, transform, own, behind=met))
    top = _likelihood(arch, images[-1], None, transforms[-1])
    return SelfSupervisedVAE(prior, top, conditionals, likelihoods, transforms)


def self_supervised_guide(arch: Architecture, image: Maps) -> SelfSupervisedGuide:
    """q(z | x) = q(z_{K+1} | y_K) prod_k q(z_k | y_{k-1}) for images of this width."""
    transforms = chain(arch.transforms, image.shape)
    activation, networks = arch.activation_of("encoders"), _networks(arch)
    encoders, heads = [], []
    posteriors = per_level(arch.posterior, len(arch.units))
    for level, (width, (made, settings)) in enumerate(
        zip(_widths(image, transforms), posteriors, strict=True)
    ):
        top = level == len(transforms)
        stack = networks.top_encoder if top else networks.encoder
        encoders.append(ImageEncoder(width, networks.layers(width, stack), activation))
        head = made(
            encoders[-1].out_features,
            (),
            arch.units[level],
            family=arch.families[level],
            activation=activation,
            gain=arch.gain,
            **settings,
        )
        heads.append(head)
    return SelfSupervisedGuide(encoders, heads, transforms)


def check_self_supervised(arch: Architecture) -> None:
    """InputError where a likelihood is none of levels, or none that the transforms can have."""
    if arch.likelihood is None:
        return
    name = arch.likelihood.partition(":")[0]
    allowed = [one for one, made in LIKELIHOODS.items() if made.pixels == "levels"]
    if name not in allowed:
        raise InputError(
            f"representations are images of 256 levels, and {name} is no likelihood of levels; "
            f"allowed: {', '.join(allowed)}"
        )
    quantised = [one for one in arch.transforms if one.partition(":")[0] == "quantise"]
    if quantised and name not in WITHIN_BUCKETS:
        raise InputError(
            f"{quantised[0]} renormalises the likelihood within the buckets of levels, which "
            f"{name} cannot; allowed: {', '.join(WITHIN_BUCKETS)}"
        )


def _widths(image: Maps, transforms: list[Representation]) -> list[Maps]:
    """Of x, y_1, ..., y_K."""
    return [image, *(Maps(one.shape_out) for one in transforms)]


def _likelihood(
    arch: Architecture,
    image: Maps,
    given: Representation | None,
    own: Representation | None,
    behind: Any = None,
) -> nn.Module:
    """p(image | y, z) behind the network in which both meet, or p(image | z) of the top.

    Args:
        given: the transform that made y of the image.
        own: the one that made the image; None of x.
    """
    assert arch.likelihood is not None  # as those of all architectures of images
    made, settings = read_part("likelihood", arch.likelihood, LIKELIHOODS)
    quantised = isinstance(given, Quantise) or isinstance(own, Quantise)
    if quantised and arch.likelihood.startswith("logistic-mixture"):
        settings["coupled"] = False
    settings["activation"] = arch.activation_of("decoder")
    settings["image_shape"] = image.shape
    found = _of_network(arch, made, settings, image, behind)
    if not quantised:
        return found
    bits = given.bits if isinstance(given, Quantise) else None
    return Quantised(found, bits, own.bits) if isinstance(own, Quantise) else Quantised(found, bits)


def _of_network(
    arch: Architecture,
    made: type[nn.Module],
    settings: dict[str, Any],
    image: Maps,
    behind: Any,
) -> nn.Module:
    if behind is None:
        top = partial(_top_decoder, arch, image)
        return made(arch.units[-1], (), int(image), decoder=top, **settings)
    met = behind.out_features
    return BehindNetwork(
        behind, made(met, (), int(image), decoder=partial(_planes, met), **settings)
    )


def _networks(arch: Architecture) -> LevelNetworks:
    assert arch.between is not None  # a self-supervised VAE has them
    return arch.between


def _top_decoder(arch: Architecture, image: Maps, outputs: int) -> ImageDecoder:
    networks = _networks(arch)
    layers = networks.layers(image, networks.top_decoder)
    return ImageDecoder(arch.units[-1], outputs, image, layers, arch.activation_of("decoder"))


def _planes(maps: Maps, outputs: int) -> Folded:
    """So many numbers for every place of the maps."""
    return Folded(WeightNormConv(maps.shape[0], outputs, 1), maps.shape)
