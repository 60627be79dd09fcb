"""Generative programs p(x, z1, ..., zL)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_choice, check_data

DECODER_READS = ("z1", "all")


class Generative(nn.Module):
    """What this library's generative programs have in common.

    Latents are z1 (next to the data) to zL (top), ``conditionals`` those of z1..z_{L-1}; called
    with ``x=None`` a program draws ``num_data`` images.
    """

    reads_numbers = True  # integers given as data are pixels or counts, not labels
    # Modules whose classes tell more than torch's: ``features``, the likelihood's ``pixels``.
    prior: Any
    conditionals: Any
    likelihood: Any

    @property
    def num_levels(self) -> int:
        return len(self.conditionals) + 1

    @property
    def recordable(self) -> bool:
        """Whether a record of its tensor operations tells all that it does."""
        return True

    @property
    def num_pixels(self) -> int:
        """D, the width of a row of data."""
        return self.likelihood.features

    @property
    def latent_names(self) -> tuple[str, ...]:
        """z1, ..., zL."""
        return tuple(f"z{level}" for level in range(1, self.num_levels + 1))

    @property
    def latent_sizes(self) -> tuple[int, ...]:
        """Number of units of z1, ..., zL."""
        return (*(part.features for part in self.conditionals), self.prior.features)

    @property
    def read_names(self) -> tuple[str, ...]:
        """The sites that the decoder reads."""
        return ("z1",)

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Observed sites beside x, from the data upward."""
        return ()

    def represent(self, x: Tensor) -> list[Tensor]:
        """Values of :attr:`representation_names` at rows x (B, D)."""
        return []

    @property
    def bound_of(self) -> str:
        """What bounds and weights are of, in words: x, or more than x."""
        return "x"

    @property
    def priors_of_x(self) -> tuple[str, ...]:
        """Latents whose prior reads the data, through what stands between them."""
        return ()

    def decode(self, *z: Tensor) -> Tensor:
        """E[x | .] at what the decoder reads: rows (..., D_l) -> (..., D), in units of the data.

        Raises:
            InputError: other latents than the decoder reads, or a likelihood without a mean.
        """
        if len(z) != len(self.read_names):
            raise InputError(
                f"the decoder reads {', '.join(self.read_names)}, and E[x | z] is of all of them; "
                f"{len(z)} were given"
            )
        pixels = self.likelihood(*z)
        try:
            return pixels.mean
        except NotImplementedError as error:
            raise InputError(
                f"E[x | z] of {type(pixels).__name__} has no closed form: its images can be drawn"
            ) from error

    def mean_of(self, latents: Mapping[str, Tensor]) -> Tensor:
        """E[x | .] at values of sites by name, of which the decoder takes those it reads.

        Raises:
            InputError: one of these is missing.
        """
        missing = [name for name in self.read_names if name not in latents]
        if missing:
            raise InputError(
                f"the decoder reads {', '.join(self.read_names)}: E[x | {', '.join(latents)}] "
                f"without {', '.join(missing)} is no function of it"
            )
        return self.decode(*(latents[name] for name in self.read_names))

    def check_rows(self, x: Tensor, what: str = "data") -> None:
        """InputError where rows (N, D) are none that it can be trained on."""
        check_data(x, self.num_pixels, what)


class HierarchicalVAE(Generative):
    """p(x, z1..zL) = p(zL) prod_l p(z_l | z_{l+1}) p(x | z1), any number of levels.

    Two levels are eq. 3.2 of Vas 2024; the ladder goes back to Rezende et al. 2014
    (https://arxiv.org/abs/1401.4082).

    Args:
        prior: module that returns p(zL) when called.
        conditionals: modules for p(z1 | z2), ..., p(z_{L-1} | zL), from the data upward; empty for
            one level.
        likelihood: module for p(x | z1); its ``features`` is the number of pixels D.
        decoder_reads: "z1", or "all": then it is p(x | z1, ..., zL), a module of so many inputs, as
            the two-level VAE of Tomczak and Welling 2018 has it (https://arxiv.org/abs/1705.07120).

    Sites: ``x`` and ``z1`` (next to the data) to ``zL`` (top), all inside one plate ``data``.

    Called with ``x`` of shape (B, D) it scores the data. Called with ``x=None`` it draws
    ``num_data`` images from the model. Raises InputError where x has another shape.
    """

    def __init__(
        self,
        prior: nn.Module,
        conditionals: Sequence[nn.Module],
        likelihood: nn.Module,
        decoder_reads: str = "z1",
    ) -> None:
        super().__init__()
        self.prior = prior
        self.conditionals = nn.ModuleList(conditionals)
        self.likelihood = likelihood
        self.decoder_reads = check_choice("decoder_reads", decoder_reads, DECODER_READS)

    @property
    def read_names(self) -> tuple[str, ...]:
        """The latents that the decoder reads, from z1 upward."""
        return self.latent_names if self.decoder_reads == "all" else ("z1",)

    def forward(self, x: Tensor | None = None, num_data: int = 1) -> Tensor:
        if x is not None:
            check_data(x, self.likelihood.features)
            num_data = len(x)
        with pyro.plate("data", num_data, dim=-1):
            z = pyro.sample(f"z{self.num_levels}", self.prior())
            drawn = [z]
            for level in range(self.num_levels - 1, 0, -1):
                z = pyro.sample(f"z{level}", self.conditionals[level - 1](z))
                drawn.insert(0, z)
            read = drawn if self.decoder_reads == "all" else drawn[:1]
            return pyro.sample("x", self.likelihood(*read), obs=x)
