"""Models and guides put together from the parts that an architecture names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from pyro_vae.errors import InputError, check_choice, check_positive
from pyro_vae.options import read_part
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.guides import BottomUpGuide, Guide, MeanFieldGuide, TopDownGuide
from pyro_vae.programs.likelihoods import LIKELIHOODS, BehindNetwork
from pyro_vae.programs.models import Generative, HierarchicalVAE
from pyro_vae.programs.networks import (
    MLP,
    NETWORKS,
    ImageDecoder,
    ImageLayers,
    JointNetwork,
    Maps,
    Shape,
    glorot_,
    he_,
    make_network,
    no_images,
)
from pyro_vae.programs.networks.image_layers import check_images
from pyro_vae.programs.networks.mlp import Program
from pyro_vae.programs.posteriors import per_level
from pyro_vae.programs.priors import PRIORS
from pyro_vae.programs.self_supervised_assembly import self_supervised_guide, self_supervised_model
from pyro_vae.programs.sizes import Architecture, Widths


def build_model(
    arch: Architecture, num_pixels: int, image_shape: Shape | None = None
) -> Generative:
    """The generative program for images of ``num_pixels`` pixels, freshly initialised.

    Args:
        num_pixels: D, the width of a row.
        image_shape: (C, H, W) of the images that rows hold, channel first; None where they are
            none, or where nobody asks.

    Raises:
        InputError: rows that are no such images, or images that the networks cannot read.
    """
    arch, width = _of_rows(arch, num_pixels, image_shape)
    if arch.between is not None:
        return _begun(arch, self_supervised_model(arch, check_images(width)))
    conditionals = [
        LocScale(
            arch.units[level + 1],
            arch.priors[level],
            arch.units[level],
            family=arch.families[level],
            activation=arch.activation_of("priors"),
            gain=arch.gain,
            network=arch.network,
        )
        for level in range(len(arch.units) - 1)
    ]
    made, settings = read_part("prior", arch.prior, PRIORS)
    prior = made(arch.units[-1], arch.families[-1], **settings)
    likelihood = _likelihood(arch, width)
    return _begun(arch, HierarchicalVAE(prior, conditionals, likelihood, arch.decoder_reads))


def _begun(arch: Architecture, program: Program) -> Program:
    """The program with weights that start as the architecture has it."""
    if arch.he:
        return he_(program)
    return glorot_(program) if arch.glorot else program


def row_width(num_pixels: int, image_shape: Shape | None) -> int:
    """D, as ``Maps`` where rows are images; InputError where they are not of that shape."""
    check_positive("number of pixels", num_pixels)
    if image_shape is None:
        return num_pixels
    image = Maps(image_shape)
    if image != num_pixels:
        raise no_images(num_pixels, image)
    return image


def _of_rows(
    arch: Architecture, num_pixels: int, image_shape: Shape | None
) -> tuple[Architecture, int]:
    """The architecture with the units that rows of this shape have, and the width of a row."""
    width = row_width(num_pixels, image_shape)
    return arch.of_rows(width, arch.units), width


def _likelihood(arch: Architecture, width: int) -> nn.Module:
    made, settings = read_part("likelihood", likelihood_of(arch, width), LIKELIHOODS)
    settings["activation"] = arch.activation_of("decoder")
    settings["image_shape"] = width.shape if isinstance(width, Maps) else None
    if arch.images is not None:
        settings["decoder"] = partial(_image_decoder, arch, arch.images, check_images(width))
    network = _before_likelihood(arch)
    if network is None:
        return made(arch.units[0], arch.decoder, int(width), **settings)
    return BehindNetwork(network, made(network.out_features, (), int(width), **settings))


def _image_decoder(arch: Architecture, layers: ImageLayers, image: Maps, outputs: int) -> nn.Module:
    """z1 -> so many numbers for every place of the image."""
    activation = arch.activation_of("decoder")
    return ImageDecoder(arch.units[0], outputs, image, layers, activation)


def _before_likelihood(arch: Architecture) -> nn.Module | None:
    """Hidden layers of the decoder that the likelihood does not make itself."""
    kind, activation = NETWORKS[arch.network], arch.activation_of("decoder")
    if arch.decoder_reads == "all":
        return JointNetwork(arch.units, arch.decoder, activation, kind)
    if kind is MLP or not arch.decoder:
        return None
    return kind(arch.units[0], arch.decoder, activation)


def likelihood_of(arch: Architecture, width: int = 1) -> str:
    """The likelihood that ``arch`` names, or the usual one of its pixel space.

    Args:
        width: of a row. Levels of colours, ``Maps`` of three channels, usually have the mixture of
            logistics, which couples them.
    """
    if arch.likelihood is not None:
        return arch.likelihood
    usual = next(name for name, made in LIKELIHOODS.items() if made.pixels == arch.pixels)
    if usual == "logistic" and isinstance(width, Maps) and width.shape[0] == 3:
        return "logistic-mixture"
    return f"{usual}:noise={arch.noise!r}" if "noise" in LIKELIHOODS[usual].settings else usual


def _topdown(arch: Architecture, width: int) -> Guide:
    # In this order, which the weights of a seed hang on: runs of earlier versions are repeated.
    feedback = [
        make_network(above, signal, arch.activation_of("feedback"), arch.network)
        for above, signal in zip(arch.units[1:], arch.feedback, strict=True)
    ]
    ladder = _ladder(arch, width)
    merged = [
        (one.out_features, signal.out_features)
        for one, signal in zip(ladder, feedback, strict=False)
    ]
    joints = [*[arch.joints] * len(merged), ()]
    heads = _heads(arch, [*merged, ladder[-1].out_features], hidden=joints)
    return TopDownGuide(ladder, heads, feedback)


def _meanfield(arch: Architecture, width: int) -> Guide:
    ladder = _ladder(arch, width)
    return MeanFieldGuide(ladder, _heads(arch, [one.out_features for one in ladder]))


def _bottomup(arch: Architecture, width: int) -> Guide:
    return BottomUpGuide(_heads(arch, [width, *arch.units[:-1]], hidden=arch.encodings))


def _ladder(arch: Architecture, width: int) -> list[nn.Module]:
    ladder: list[Any] = []
    for hidden in arch.encodings:
        ladder.append(make_network(width, hidden, arch.activation_of("encoders"), arch.network))
        width = ladder[-1].out_features
    return ladder


def _heads(arch: Architecture, inputs: list, hidden: Sequence[Widths | ImageLayers] = ()):
    """The posterior of every level from the given inputs."""
    return [
        made(
            inputs[level],
            hidden[level] if hidden else (),
            arch.units[level],
            family=arch.families[level],
            activation=arch.activation_of("encoders"),
            gain=arch.gain,
            network=arch.network,
            **settings,
        )
        for level, (made, settings) in enumerate(per_level(arch.posterior, len(arch.units)))
    ]


_GUIDES: dict[str, Callable[[Architecture, int], Guide]] = {
    "topdown": _topdown,
    "bottomup": _bottomup,
    "meanfield": _meanfield,
}
GUIDES = tuple(_GUIDES)
MEAN_FIELD = "meanfield"


def build_guide(
    guide: str, arch: Architecture, num_pixels: int, image_shape: Shape | None = None
) -> Guide:
    """The named recognition program with the latents of ``arch``, freshly initialised.

    Arguments and errors as for :func:`build_model`. A self-supervised VAE has the guide
    ``meanfield`` alone, and every latent reads the image that it explains.
    """
    made = _GUIDES[check_choice("guide", guide, GUIDES)]
    arch, width = _of_rows(arch, num_pixels, image_shape)
    if arch.between is not None:
        check_guide_of_representations(guide)
        return _begun(arch, self_supervised_guide(arch, check_images(width)))
    return _begun(arch, made(arch, width))


def check_guide_of_representations(guide: str) -> None:
    """InputError where a self-supervised VAE cannot have the guide."""
    if guide != MEAN_FIELD:
        raise InputError(
            f"a self-supervised VAE has the guide {MEAN_FIELD}, q(z_k | y_k-1) of every level, not "
            f"{guide}: each latent is read off the image that it explains"
        )


def check_same_levels(model: nn.Module, guide: nn.Module) -> None:
    """InputError where both tell their number of levels and the numbers differ."""
    levels = getattr(model, "num_levels", None), getattr(guide, "num_levels", None)
    if None not in levels and levels[0] != levels[1]:
        raise InputError(
            f"the model has {levels[0]} levels and the guide {levels[1]}; both must agree"
        )
