"""A pair by its configuration: named sizes, changed where the user changes them, and built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.errors import check_choice
from pyro_vae.options import option, read_part
from pyro_vae.programs.architectures import MODELS, architecture
from pyro_vae.programs.assembly import (
    GUIDES,
    build_guide,
    build_model,
    check_guide_of_representations,
    row_width,
)
from pyro_vae.programs.changes import (
    activations_of,
    check_layers,
    families_of,
    hidden_of,
    with_levels,
    with_transforms,
)
from pyro_vae.programs.conditionals import FAMILIES
from pyro_vae.programs.guides import Guide
from pyro_vae.programs.likelihoods import LIKELIHOODS
from pyro_vae.programs.models import Generative
from pyro_vae.programs.networks import ACTIVATIONS, NETWORKS, Shape
from pyro_vae.programs.posteriors import POSTERIORS
from pyro_vae.programs.priors import PRIORS, bind_
from pyro_vae.programs.representations import TRANSFORMS
from pyro_vae.programs.self_supervised_assembly import check_self_supervised
from pyro_vae.programs.sizes import PARTS, Architecture
from pyro_vae.programs.start import STARTS
from pyro_vae.torch_state import own_generators


@dataclass(frozen=True)
class PairConfig:
    """What a model and its guide are made of; everything is plain values, as JSON has them."""

    model: str = option("td", f"{', '.join(MODELS)} (default: td)", metavar="NAME")
    guide: str = option(
        "topdown",
        f"{', '.join(GUIDES)} (default: topdown; of ssvae meanfield)",
        metavar="NAME",
    )
    preset: str = option(
        "small",
        "small: minutes on a CPU; paper: the published sizes and recipe; of image also conv, "
        "conv-gated, conv-small, srvae (default: small)",
        metavar="NAME",
    )
    transforms: tuple[str, ...] | None = option(
        None,
        f"of ssvae: from the image to ever simpler ones, one for a level; {', '.join(TRANSFORMS)}, "
        "as downscale:2 or greyscale quantise:bits=3 (default: downscale:2)",
        nargs="+",
        metavar="NAME",
    )
    latent: tuple[int, ...] | None = option(
        None,
        "units of z1, z2, ...; as many numbers as levels (default: the model's)",
        kind=int,
        nargs="+",
        metavar="D",
    )
    family: tuple[str, ...] | None = option(
        None,
        f"family of z1, z2, ...: {' or '.join(FAMILIES)} (default: the model's)",
        nargs="+",
        metavar="NAME",
    )
    hidden: tuple[str, ...] | None = option(
        None,
        "hidden layers of all networks, as 200,200; or of one part, as decoder=200,200 or "
        f"encoders=500/250,100 with a slash between levels; parts: {', '.join(PARTS)} (default: "
        "the preset's)",
        nargs="+",
        metavar="[PART=]W,W",
    )
    activation: tuple[str, ...] | None = option(
        None,
        f"{', '.join(ACTIVATIONS)}; or of one part, as decoder=relu (default: the model's)",
        nargs="+",
        metavar="[PART=]NAME",
    )
    network: str | None = option(
        None,
        f"kind of the hidden layers: {' or '.join(NETWORKS)} (default: the model's)",
        metavar="NAME",
    )
    decoder_reads: str | None = option(
        None, "z1, or all: p(x | z1, ..., zL) (default: the model's)", metavar="z1|all"
    )
    prior: str = option(
        "standard",
        f"of the top level: {', '.join(PRIORS)}; settings follow a colon, as NAME:key=value "
        "(default: standard)",
        metavar="NAME",
    )
    likelihood: str | None = option(
        None,
        f"of the pixels: {', '.join(LIKELIHOODS)}; settings follow a colon, as "
        "gaussian:noise=0.3 (default: the model's)",
        metavar="NAME",
    )
    posterior: str = option(
        "locscale",
        f"of the levels: {', '.join(POSTERIORS)}; or of each, as locscale/flow (default: locscale)",
        metavar="NAME",
    )
    init: str = option(
        "random",
        f"{', '.join(STARTS)}: what training starts from; data: ICA for a linear decoder, factors "
        "of the sources' magnitudes for z2 (default: data for td and sparse in the preset small, "
        "else random)",
        metavar="NAME",
    )

    @property
    def architecture(self) -> Architecture:
        """The sizes and parts; InputError where a value cannot be used."""
        arch = architecture(self.model, self.preset)
        check_choice("guide", self.guide, GUIDES)
        if self.transforms is not None:
            arch = with_transforms(arch, self.transforms)
        if arch.between is not None:
            check_guide_of_representations(self.guide)
        if self.latent is not None:
            arch = with_levels(arch, self.latent)
        if self.family is not None:
            arch = replace(arch, families=families_of(self.family, len(arch.units)))
        if self.hidden is not None:
            layers: dict[str, Any] = hidden_of(self.hidden, arch)
            arch = replace(arch, **layers)
        if self.activation is not None:
            arch = replace(arch, activation=activations_of(self.activation, arch))
        if self.network is not None:
            check_layers(arch, "--network")
            arch = replace(arch, network=self.network)
        if self.decoder_reads is not None:
            check_layers(arch, "--decoder-reads")
            arch = replace(arch, decoder_reads=self.decoder_reads)
        read_part("prior", self.prior, PRIORS)
        if self.likelihood is not None:
            made, _ = read_part("likelihood", self.likelihood, LIKELIHOODS)
            arch = replace(arch, likelihood=self.likelihood, pixels=made.pixels)
        if arch.between is not None:
            check_self_supervised(arch)
        arch = replace(arch, prior=self.prior, posterior=self.posterior)
        STARTS[check_choice("init", self.init, STARTS)].check(arch)
        return arch

    def build(
        self,
        num_pixels: int,
        image_shape: Shape | None = None,
        *,
        rows: Tensor | None = None,
        seed: int = 0,
        say: Callable[[str], None] = lambda line: None,
    ) -> tuple[Generative, Guide]:
        """The pair, initialised from ``seed`` without touching the global generator.

        Args:
            num_pixels: D, the width of a row of data.
            image_shape: (C, H, W) of the images that rows hold, channel first; None where they are
                no images.
            rows: training rows (N, D), for ``init`` and for the parts that start from data; without
                them the weights are random, whatever ``init`` says.
            say: is told, a line each, what a start did instead where something did not fit.

        Raises:
            InputError: a setting that cannot be used, rows that are no such images or that the
                networks cannot read, or rows that ``init`` cannot start from.
        """
        arch = self.architecture.of_rows(row_width(num_pixels, image_shape), self.latent)
        with own_generators():
            torch.manual_seed(seed)
            model = build_model(arch, num_pixels, image_shape)
            guide = build_guide(self.guide, arch, num_pixels, image_shape)
            known = torch.zeros(0, num_pixels) if rows is None else rows
            bind_(model.prior, guide, known, model.likelihood)
            if rows is not None:
                initialise_(model, rows)
                initialise_(guide, rows)
                for line in STARTS[self.init](model, guide, seed=seed).initialise_(rows):
                    say(line)
        return model, guide


def initialise_(program: nn.Module, rows: Tensor) -> None:
    """Let every part of the program that starts from data see the training rows (N, D).

    A part takes part by a method ``initialise_(rows)``: the Bernoulli likelihood sets the bias of
    its output from the mean of the pixels. A program that has one sees to its parts itself, as the
    self-supervised VAE does, whose parts see representations. What concerns model and guide
    together is a start, see :mod:`pyro_vae.programs.start`.
    """
    start = getattr(program, "initialise_", None)
    if start is not None:
        start(rows)
        return
    for part in program.modules():
        start = getattr(part, "initialise_", None)
        if part is not program and start is not None:
            start(rows)


def build_pair(
    model: str = "td",
    guide: str = "topdown",
    *,
    num_pixels: int = 400,
    preset: str = "small",
    pixel_mean: Tensor | None = None,
    rows: Tensor | None = None,
    seed: int = 0,
) -> tuple[Generative, Guide]:
    """A named model and guide, initialised from ``seed`` without touching the global generator.

    :class:`PairConfig` has every other choice: ``PairConfig(latent=(32, 10)).build(num_pixels)``.

    Args:
        model: one of ``MODELS``.
        guide: one of ``GUIDES``.
        preset: one of ``PRESETS``.
        num_pixels: D, the width of a row of data.
        pixel_mean: mean of the training pixels (D,); sets the output bias of Bernoulli models.
        rows: training rows (N, D), for all parts that start from data; instead of the mean.
    """
    config = PairConfig(model, guide, preset)
    program, recognition = config.build(num_pixels, rows=rows, seed=seed)
    for part in program.likelihood.modules():
        if pixel_mean is not None and hasattr(part, "set_output_mean_"):
            part.set_output_mean_(pixel_mean)
    return program, recognition
