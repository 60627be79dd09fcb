"""Named architectures: sizes and families of every level, and the pairs that are built from them.

=========  ======================================================================================
model      generative program
=========  ======================================================================================
td         S0: z2 standard normal (20), z1 | z2 Laplace (450), x Normal(W z1 + b, 0.4)
sparse     z1 standard Laplace (450), x Normal(W z1 + b, 0.4): S0's lower level alone
burda1     S4 appendix A: z1 standard normal (50), x Bernoulli; two tanh layers of 200 units
burda2     S4 appendix A: z2 standard normal (50), z1 | z2 normal (100), x Bernoulli
planar     burda1 with two units: z1 standard normal (2), a latent to look at (S4, figure 5)
=========  ======================================================================================

The preset ``paper`` has the published hidden sizes (for td those of the laboratory's script, see
``docs/design.md``), ``small`` has narrower ones where they cost: in what runs per particle. Latent
sizes, families and likelihoods are the same in both. ``sparse`` has no published sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_choice, check_positive
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.guides import BottomUpGuide, Guide, MeanFieldGuide, TopDownGuide
from pyro_vae.programs.likelihoods.bernoulli import Bernoulli
from pyro_vae.programs.likelihoods.fixed_noise import FixedNoiseGaussian
from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.programs.networks import MLP, glorot_
from pyro_vae.programs.priors import StandardPrior
from pyro_vae.torch_state import own_generators

Widths = tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """Sizes of a hierarchical pair, from the data upward.

    Attributes:
        units, families: number of units and family of z1, ..., zL.
        encoders: hidden layers of the encoding of x at levels 1, ..., L.
        feedback: hidden layers from z_{l+1} into q(z_l | x, z_{l+1}), l = 1, ..., L-1.
        priors: hidden layers of p(z_l | z_{l+1}), l = 1, ..., L-1.
        decoder: hidden layers of p(x | z1); empty for a linear mean.
        pixels: "standardised" (Gaussian likelihood of fixed ``noise``) or "binary" (Bernoulli).
        gain: how scale heads are read, see ``conditionals.LocScale``.
        glorot: Glorot weights and zero biases instead of torch's default.
    """

    units: Widths
    families: tuple[str, ...]
    encoders: tuple[Widths, ...]
    feedback: tuple[Widths, ...]
    priors: tuple[Widths, ...]
    decoder: Widths
    pixels: str
    noise: float = 0.4
    activation: str = "softplus"
    gain: float = 0.5
    glorot: bool = False

    def __post_init__(self) -> None:
        levels = len(self.units)
        for what, wanted in (
            ("families", levels),
            ("encoders", levels),
            ("feedback", levels - 1),
            ("priors", levels - 1),
        ):
            if len(getattr(self, what)) != wanted:
                raise InputError(
                    f"{levels} levels want {wanted} {what}, got {len(getattr(self, what))}"
                )
        for what in ("encoders", "feedback"):
            if not all(getattr(self, what)):
                raise InputError(f"every level's {what} want at least one hidden layer")


def _td(encoders: tuple[Widths, ...], signal: Widths) -> Architecture:
    return Architecture(
        units=(450, 20),
        families=("laplace", "normal"),
        encoders=encoders,
        feedback=(signal,),
        priors=(signal,),
        decoder=(),
        pixels="standardised",
    )


def _sparse(encoder: Widths) -> Architecture:
    return Architecture(
        units=(450,),
        families=("laplace",),
        encoders=(encoder,),
        feedback=(),
        priors=(),
        decoder=(),
        pixels="standardised",
    )


_BURDA1 = Architecture(
    units=(50,),
    families=("normal",),
    encoders=((200, 200),),
    feedback=(),
    priors=(),
    decoder=(200, 200),
    pixels="binary",
    activation="tanh",
    gain=1.0,
    glorot=True,
)
_BURDA2 = Architecture(
    units=(100, 50),
    families=("normal", "normal"),
    encoders=((200, 200), (100, 100)),
    feedback=((100, 100),),
    priors=((100, 100),),
    decoder=(200, 200),
    pixels="binary",
    activation="tanh",
    gain=1.0,
    glorot=True,
)
_PLANAR = replace(_BURDA1, units=(2,))

ARCHITECTURES: dict[str, dict[str, Architecture]] = {
    "td": {
        "small": _td(((500,), (250, 100)), (50, 100)),
        "paper": _td(((500,), (400, 250, 100)), (100, 250, 400, 500)),
    },
    "sparse": {"small": _sparse((500,)), "paper": _sparse((500, 500))},
    "burda1": {"small": _BURDA1, "paper": _BURDA1},
    "burda2": {"small": _BURDA2, "paper": _BURDA2},
    "planar": {"small": _PLANAR, "paper": _PLANAR},
}
MODELS = tuple(ARCHITECTURES)
PRESETS = ("small", "paper")


def architecture(model: str, preset: str = "small") -> Architecture:
    """The named architecture; InputError lists the names there are."""
    check_choice("model", model, MODELS)
    return ARCHITECTURES[model][check_choice("preset", preset, PRESETS)]


def build_model(arch: Architecture, num_pixels: int) -> HierarchicalVAE:
    """The generative program for images of ``num_pixels`` pixels, freshly initialised."""
    check_positive("number of pixels", num_pixels)
    conditionals = [
        LocScale(
            arch.units[level + 1],
            arch.priors[level],
            arch.units[level],
            family=arch.families[level],
            activation=arch.activation,
            gain=arch.gain,
        )
        for level in range(len(arch.units) - 1)
    ]
    likelihood: nn.Module
    if arch.pixels == "binary":
        likelihood = Bernoulli(arch.units[0], arch.decoder, num_pixels, activation=arch.activation)
    else:
        likelihood = FixedNoiseGaussian(
            arch.units[0], arch.decoder, num_pixels, noise=arch.noise, activation=arch.activation
        )
    prior = StandardPrior(arch.units[-1], arch.families[-1])
    model = HierarchicalVAE(prior, conditionals, likelihood)
    return glorot_(model) if arch.glorot else model


def _topdown(arch: Architecture, num_pixels: int) -> Guide:
    widths = [encoder[-1] for encoder in arch.encoders]
    merged = [(width, signal[-1]) for width, signal in zip(widths, arch.feedback, strict=False)]
    feedback = [
        MLP(above, signal, arch.activation)
        for above, signal in zip(arch.units[1:], arch.feedback, strict=True)
    ]
    return TopDownGuide(_ladder(arch, num_pixels), _heads(arch, [*merged, widths[-1]]), feedback)


def _meanfield(arch: Architecture, num_pixels: int) -> Guide:
    return MeanFieldGuide(
        _ladder(arch, num_pixels), _heads(arch, [encoder[-1] for encoder in arch.encoders])
    )


def _bottomup(arch: Architecture, num_pixels: int) -> Guide:
    inputs = [num_pixels, *arch.units[:-1]]
    return BottomUpGuide(_heads(arch, inputs, hidden=arch.encoders))


def _ladder(arch: Architecture, num_pixels: int) -> list[MLP]:
    inputs = [num_pixels, *(encoder[-1] for encoder in arch.encoders[:-1])]
    return [
        MLP(width, hidden, arch.activation)
        for width, hidden in zip(inputs, arch.encoders, strict=True)
    ]


def _heads(arch: Architecture, inputs: list, hidden: tuple[Widths, ...] | None = None):
    """One LocScale per level from the given inputs."""
    return [
        LocScale(
            inputs[level],
            hidden[level] if hidden else (),
            arch.units[level],
            family=arch.families[level],
            activation=arch.activation,
            gain=arch.gain,
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
    built = _GUIDES[check_choice("guide", guide, GUIDES)](arch, num_pixels)
    return glorot_(built) if arch.glorot else built


def build_pair(
    model: str = "td",
    guide: str = "topdown",
    *,
    num_pixels: int = 400,
    preset: str = "small",
    pixel_mean: Tensor | None = None,
    seed: int = 0,
) -> tuple[HierarchicalVAE, Guide]:
    """A named model and guide, initialised from ``seed`` without touching the global generator.

    Args:
        model: one of ``MODELS``. guide: one of ``GUIDES``. preset: one of ``PRESETS``.
        num_pixels: D, the width of a row of data.
        pixel_mean: mean of the training pixels (D,); sets the output bias of Bernoulli models.
    """
    arch = architecture(model, preset)
    check_choice("guide", guide, GUIDES)
    with own_generators():
        torch.manual_seed(seed)
        program = build_model(arch, num_pixels)
        recognition = build_guide(guide, arch, num_pixels)
    if pixel_mean is not None and arch.pixels == "binary":
        program.likelihood.set_output_mean_(pixel_mean)
    return program, recognition


def check_same_levels(model: nn.Module, guide: nn.Module) -> None:
    """InputError where both tell their number of levels and the numbers differ."""
    levels = getattr(model, "num_levels", None), getattr(guide, "num_levels", None)
    if None not in levels and levels[0] != levels[1]:
        raise InputError(
            f"the model has {levels[0]} levels and the guide {levels[1]}; both must agree"
        )
