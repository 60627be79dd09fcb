"""The sizes, families and parts of a pair: what every named architecture says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyro_vae.datasets.pixel_space import PixelSpace, pixel_space
from pyro_vae.errors import InputError, check_choice
from pyro_vae.programs.models import DECODER_READS
from pyro_vae.programs.networks import (
    ACTIVATIONS,
    NETWORKS,
    ImageLayers,
    LevelNetworks,
    Maps,
    check_images,
)
from pyro_vae.programs.posteriors import per_level
from pyro_vae.programs.representations import chain

Widths = tuple[int, ...]
ABOVE_IMAGES: Widths = (128,)  # hidden layers of levels above one whose networks are of images
# The parts of a pair that have hidden layers.
PARTS = ("encoders", "feedback", "priors", "decoder")


@dataclass(frozen=True)
class Architecture:
    """Sizes of a hierarchical pair, from the data upward.

    Attributes:
        units, families: number of units and family of z1, ..., zL; 0 units where they come with
            the rows (:meth:`of_rows`).
        encoders: hidden layers of the encoding of x at levels 1, ..., L.
        feedback: hidden layers from z_{l+1} into q(z_l | x, z_{l+1}), l = 1, ..., L-1.
        priors: hidden layers of p(z_l | z_{l+1}), l = 1, ..., L-1.
        decoder: hidden layers of p(x | z1); empty for a linear mean.
        pixels: the pixel space of the data: "standardised", "binary" or "levels".
        noise: standard deviation of the Gaussian likelihood, where ``likelihood`` says no other.
        activation: between layers; one for all, or part -> name (:data:`PARTS`).
        gain: how scale heads are read, see ``conditionals.LocScale``.
        glorot: Glorot weights and zero biases instead of torch's default.
        prior: of the top level, ``NAME`` or ``NAME:key=value`` of ``priors.PRIORS``.
        likelihood: the same of ``likelihoods.LIKELIHOODS``; None for the one of ``pixels``.
        network: the kind of all hidden layers, of ``networks.NETWORKS``.
        decoder_reads: "z1", or "all" for p(x | z1, ..., zL): then the first hidden layer of the
            decoder is of each latent alone, where it has several (``networks.JointNetwork``).
        joints: hidden layers of q(z_l | x, z_{l+1}) where x and z_{l+1} have met, in top-down
            guides.
        he: Normal weights of variance 2 / inputs instead of torch's default.
        images: layers between x and z1 where these networks are of images; the first encoder and
            the decoder have no hidden layers then, and z1 as many units as its maps where it has
            places (:meth:`of_rows`).
        posterior: of every level in a guide, of ``posteriors.POSTERIORS``; one for all levels, or
            one for each with a slash between them.
        transforms: of a self-supervised VAE, d_1, ..., d_K, in the words of
            ``representations.chain``; it has K + 1 levels.
        between: its networks, which are all of images: no level has hidden layers of its own.
    """

    units: Widths
    families: tuple[str, ...]
    encoders: tuple[Widths, ...]
    feedback: tuple[Widths, ...]
    priors: tuple[Widths, ...]
    decoder: Widths
    pixels: PixelSpace
    noise: float = 0.4
    activation: str | Mapping[str, str] = "softplus"
    gain: float = 0.5
    glorot: bool = False
    prior: str = "standard"
    likelihood: str | None = None
    network: str = "mlp"
    decoder_reads: str = "z1"
    joints: Widths = ()
    he: bool = False
    images: ImageLayers | None = None
    posterior: str = "locscale"
    transforms: tuple[str, ...] = ()
    between: LevelNetworks | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", pixel_space(self.pixels))
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
        per_level(self.posterior, levels)
        for part in PARTS:
            check_choice("activation", self.activation_of(part), ACTIVATIONS)
        if self.between is not None:
            if len(self.transforms) != levels - 1:
                raise InputError(f"{len(self.transforms)} transforms want one level more")
            return
        if self.images is not None and self.decoder_reads != "z1":
            raise InputError("a decoder of images reads z1 alone (--decoder-reads z1)")
        if self.images is not None and (self.encoders[0] or self.decoder):
            raise InputError(
                "between images and z1 there are convolutions: the first encoder and the decoder "
                "have no widths of hidden layers"
            )
        for what, first in (("encoders", 0 if self.images is None else 1), ("feedback", 0)):
            if not all(getattr(self, what)[first:]):
                raise InputError(f"every level's {what} want at least one hidden layer")
        check_choice("network", self.network, NETWORKS)
        check_choice("decoder_reads", self.decoder_reads, DECODER_READS)
        if self.decoder_reads == "all" and not self.decoder:
            raise InputError(
                "a decoder that reads all latents wants at least one hidden layer, where they meet"
            )

    def activation_of(self, part: str) -> str:
        """The activation of one of :data:`PARTS`."""
        if isinstance(self.activation, str):
            return self.activation
        return self.activation.get(part, "softplus")

    @property
    def of_images(self) -> bool:
        """Whether its networks are of images."""
        return self.images is not None or self.between is not None

    @property
    def encodings(self) -> tuple[Widths | ImageLayers, ...]:
        """What the encoders of levels 1, ..., L are made of."""
        return self.encoders if self.images is None else (self.images, *self.encoders[1:])

    def of_rows(self, width: int, units: Widths | None = None) -> Architecture:
        """With the units that rows have, where latents have places in images.

        Args:
            width: of a row, ``Maps`` where it is an image.
            units: of z1, ..., zL, where they are asked for.

        Raises:
            InputError: rows that are no images, a side that the networks or a transform cannot
                halve, or units that do not fit.
        """
        if not self.of_images:
            return self
        image = check_images(width)
        if self.between is not None:
            return replace(self, units=self._of_levels(image, units))
        assert self.images is not None  # as ``of_images`` says
        of_z1 = None if units is None else units[0]
        asked = self.units[0] if self.images.channels is None else of_z1
        return replace(self, units=(self.images.latent(image, asked), *self.units[1:]))

    def _of_levels(self, image: Maps, units: Widths | None) -> Widths:
        """Of the latents that explain x, y_1, ..., y_K."""
        shapes = (image.shape, *(one.shape_out for one in chain(self.transforms, image.shape)))
        asked, networks = units or (0,) * len(shapes), self.between
        assert networks is not None  # whoever calls has looked
        return tuple(
            networks.latent(Maps(shape), asked[level] or None, f"z{level + 1}")
            for level, shape in enumerate(shapes)
        )
