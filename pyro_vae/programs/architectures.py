"""Named architectures: sizes, families and parts of every level of a pair.

=========  ======================================================================================
model      generative program
=========  ======================================================================================
td         z2 standard normal (20), z1 | z2 Laplace (450), x Normal(W z1 + b, 0.4)
sparse     z1 standard Laplace (450), x Normal(W z1 + b, 0.4): the lower level of td alone
burda1     z1 standard normal (50), x Bernoulli; two tanh layers of 200 units
burda2     z2 standard normal (50), z1 | z2 normal (100), x Bernoulli
planar     burda1 with two units: z1 standard normal (2), a latent to look at
vamp       z2 standard normal (40), z1 | z2 normal (40), x | z1, z2 Bernoulli; gated layers
image      z1 standard normal, convolutions between x and z1, x logistic levels, 0 to 255
=========  ======================================================================================

td is the two-level sparse model of Vas 2024 (section 3.2); burda1 and burda2 are those of Burda et
al. 2016 (https://arxiv.org/abs/1509.00519) as Arnal et al. 2021 (appendix A, figure 5) have them;
vamp is the two-level VAE of Tomczak and Welling 2018 (https://arxiv.org/abs/1705.07120), of which
``--prior`` gives every variant.

The preset ``paper`` has the published hidden sizes (for td those of the laboratory's script, see
``docs/design.md``), ``small`` has narrower ones where they cost: in what runs per particle. Latent
sizes, families and likelihoods are the same in both. ``sparse`` has no published sizes.

``image`` has further presets: ``conv`` (strided convolutions, 64 units, for sides such as 28 and
32), ``conv-small`` (blocks of 32 channels for sides of 16, in minutes on a CPU; ``small`` is the
same) and ``srvae`` (the sizes of Gatopoulos 2020 for sides of 32, 10.41 million parameters in the
encoder and 12.45 million in a decoder of mixtures of ten logistics; ``paper`` is the same).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyro_vae.datasets.pixel_space import PixelSpace, pixel_space
from pyro_vae.errors import InputError, check_choice
from pyro_vae.programs.models import DECODER_READS
from pyro_vae.programs.networks import ACTIVATIONS, NETWORKS, ImageLayers, Stack, check_images
from pyro_vae.programs.posteriors import per_level

Widths = tuple[int, ...]
ABOVE_IMAGES: Widths = (128,)  # hidden layers of levels above one whose networks are of images
# The parts of a pair that have hidden layers.
PARTS = ("encoders", "feedback", "priors", "decoder")


@dataclass(frozen=True)
class Architecture:
    """Sizes of a hierarchical pair, from the data upward.

    Attributes:
        units, families: number of units and family of z1, ..., zL.
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
        per_level(self.posterior, levels)
        for part in PARTS:
            check_choice("activation", self.activation_of(part), ACTIVATIONS)

    def activation_of(self, part: str) -> str:
        """The activation of one of :data:`PARTS`."""
        if isinstance(self.activation, str):
            return self.activation
        return self.activation.get(part, "softplus")

    @property
    def encodings(self) -> tuple[Widths | ImageLayers, ...]:
        """What the encoders of levels 1, ..., L are made of."""
        return self.encoders if self.images is None else (self.images, *self.encoders[1:])

    def of_rows(self, width: int, units: int | None = None) -> Architecture:
        """With the units of z1 that rows have, where z1 has places in images.

        Args:
            width: of a row, ``Maps`` where it is an image. units: of z1, where they are asked for.

        Raises:
            InputError: rows that are no images, a side that the networks cannot halve, or units
                that do not fit.
        """
        if self.images is None:
            return self
        image = check_images(width)
        asked = self.units[0] if self.images.channels is None else units
        return replace(self, units=(self.images.latent(image, asked), *self.units[1:]))


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


def _vamp(width: int) -> Architecture:
    return Architecture(
        units=(40, 40),
        families=("normal", "normal"),
        encoders=((width,), (width,)),
        feedback=((width,),),
        priors=((width, width),),
        decoder=(width, width),
        pixels="binary",
        network="gated",
        decoder_reads="all",
        joints=(width,),
        he=True,
    )


def _image(units: int, images: ImageLayers) -> Architecture:
    return Architecture(
        units=(units,),
        families=("normal",),
        encoders=((),),
        feedback=(),
        priors=(),
        decoder=(),
        pixels="levels",
        activation="elu",
        images=images,
    )


_CONV = _image(64, ImageLayers(Stack((32, 64, 128)), Stack((32, 64, 128))))
_BLOCKS = Stack((32, 32, 32), steps=2, growth=20)
_CONV_SMALL = _image(256, ImageLayers(_BLOCKS, _BLOCKS, channels=16))
_SRVAE = _image(
    1024, ImageLayers(Stack(steps=8, growth=16), Stack(steps=6, growth=128), channels=16)
)

ARCHITECTURES: dict[str, dict[str, Architecture]] = {
    "td": {
        "small": _td(((500,), (250, 100)), (50, 100)),
        "paper": _td(((500,), (400, 250, 100)), (100, 250, 400, 500)),
    },
    "sparse": {"small": _sparse((500,)), "paper": _sparse((500, 500))},
    "burda1": {"small": _BURDA1, "paper": _BURDA1},
    "burda2": {"small": _BURDA2, "paper": _BURDA2},
    "planar": {"small": _PLANAR, "paper": _PLANAR},
    "vamp": {"small": _vamp(100), "paper": _vamp(300)},
    "image": {
        "small": _CONV_SMALL,
        "paper": _SRVAE,
        "conv": _CONV,
        "conv-small": _CONV_SMALL,
        "srvae": _SRVAE,
    },
}
MODELS = tuple(ARCHITECTURES)
PRESETS = ("small", "paper")  # that every model has


def check_preset(model: str, preset: str) -> str:
    """The preset; InputError lists those that the model has."""
    check_choice("model", model, MODELS)
    return check_choice("preset", preset, ARCHITECTURES[model])


def architecture(model: str, preset: str = "small") -> Architecture:
    """The named architecture; InputError lists the names there are."""
    preset = check_preset(model, preset)
    return ARCHITECTURES[model][preset]
