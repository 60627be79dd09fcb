"""Models and guides put together from the parts that an architecture names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pyro_vae.errors import InputError, check_choice, check_positive
from pyro_vae.options import read_part
from pyro_vae.programs.architectures import Architecture, Widths
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.guides import BottomUpGuide, Guide, MeanFieldGuide, TopDownGuide
from pyro_vae.programs.likelihoods import LIKELIHOODS, BehindNetwork
from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.programs.networks import MLP, NETWORKS, JointNetwork, glorot_, he_
from pyro_vae.programs.priors import PRIORS


def build_model(arch: Architecture, num_pixels: int) -> HierarchicalVAE:
    """The generative program for images of ``num_pixels`` pixels, freshly initialised."""
    check_positive("number of pixels", num_pixels)
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
    likelihood = _likelihood(arch, num_pixels)
    return _begun(arch, HierarchicalVAE(prior, conditionals, likelihood, arch.decoder_reads))


def _begun(arch: Architecture, program: nn.Module) -> nn.Module:
    """The program with weights that start as the architecture has it."""
    if arch.he:
        return he_(program)
    return glorot_(program) if arch.glorot else program


def _likelihood(arch: Architecture, num_pixels: int) -> nn.Module:
    made, settings = read_part("likelihood", likelihood_of(arch), LIKELIHOODS)
    settings["activation"] = arch.activation_of("decoder")
    network = _before_likelihood(arch)
    if network is None:
        return made(arch.units[0], arch.decoder, num_pixels, **settings)
    return BehindNetwork(network, made(network.out_features, (), num_pixels, **settings))


def _before_likelihood(arch: Architecture) -> nn.Module | None:
    """Hidden layers of the decoder that the likelihood does not make itself."""
    kind, activation = NETWORKS[arch.network], arch.activation_of("decoder")
    if arch.decoder_reads == "all":
        return JointNetwork(arch.units, arch.decoder, activation, kind)
    if kind is MLP or not arch.decoder:
        return None
    return kind(arch.units[0], arch.decoder, activation)


def likelihood_of(arch: Architecture) -> str:
    """The likelihood that ``arch`` names, or the usual one of its pixel space."""
    if arch.likelihood is not None:
        return arch.likelihood
    usual = next(name for name, made in LIKELIHOODS.items() if made.pixels == arch.pixels)
    return f"{usual}:noise={arch.noise!r}" if "noise" in LIKELIHOODS[usual].settings else usual


def _topdown(arch: Architecture, num_pixels: int) -> Guide:
    widths = [encoder[-1] for encoder in arch.encoders]
    merged = [(width, signal[-1]) for width, signal in zip(widths, arch.feedback, strict=False)]
    feedback = [
        NETWORKS[arch.network](above, signal, arch.activation_of("feedback"))
        for above, signal in zip(arch.units[1:], arch.feedback, strict=True)
    ]
    joints = [*[arch.joints] * len(merged), ()]
    heads = _heads(arch, [*merged, widths[-1]], hidden=joints)
    return TopDownGuide(_ladder(arch, num_pixels), heads, feedback)


def _meanfield(arch: Architecture, num_pixels: int) -> Guide:
    return MeanFieldGuide(
        _ladder(arch, num_pixels), _heads(arch, [encoder[-1] for encoder in arch.encoders])
    )


def _bottomup(arch: Architecture, num_pixels: int) -> Guide:
    inputs = [num_pixels, *arch.units[:-1]]
    return BottomUpGuide(_heads(arch, inputs, hidden=arch.encoders))


def _ladder(arch: Architecture, num_pixels: int) -> list[nn.Module]:
    inputs = [num_pixels, *(encoder[-1] for encoder in arch.encoders[:-1])]
    return [
        NETWORKS[arch.network](width, hidden, arch.activation_of("encoders"))
        for width, hidden in zip(inputs, arch.encoders, strict=True)
    ]


def _heads(arch: Architecture, inputs: list, hidden: Sequence[Widths] = ()):
    """One LocScale per level from the given inputs."""
    return [
        LocScale(
            inputs[level],
            hidden[level] if hidden else (),
            arch.units[level],
            family=arch.families[level],
            activation=arch.activation_of("encoders"),
            gain=arch.gain,
            network=arch.network,
        )
        for level in range(len(arch.units))
    ]


_GUIDES: dict[str, Callable[[Architecture, int], Guide]] = {
    "topdown": _topdown,
    "bottomup": _bottomup,
    "meanfield": _meanfield,
}
GUIDES = tuple(_GUIDES)


def build_guide(guide: str, arch: Architecture, num_pixels: int) -> Guide:
    """The named recognition program with the latents of ``arch``, freshly initialised."""
    return _begun(arch, _GUIDES[check_choice("guide", guide, GUIDES)](arch, num_pixels))


def check_same_levels(model: nn.Module, guide: nn.Module) -> None:
    """InputError where both tell their number of levels and the numbers differ."""
    levels = getattr(model, "num_levels", None), getattr(guide, "num_levels", None)
    if None not in levels and levels[0] != levels[1]:
        raise InputError(
            f"the model has {levels[0]} levels and the guide {levels[1]}; both must agree"
        )
