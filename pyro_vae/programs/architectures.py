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
ssvae      image in steps: z2 standard normal, y1 | z2 a smaller image, z1 | y1, z2, x | y1, z1
=========  ======================================================================================

td is the two-level sparse model of Vas 2024 (section 3.2); burda1 and burda2 are those of Burda et
al. 2016 (https://arxiv.org/abs/1509.00519) as Arnal et al. 2021 (appendix A, figure 5) have them;
vamp is the two-level VAE of Tomczak and Welling 2018 (https://arxiv.org/abs/1705.07120), of which
``--prior`` gives every variant.

The preset ``paper`` has the published hidden sizes (for td those of the laboratory's script, see
``docs/design.md``), ``small`` has narrower ones where they cost: in what runs per particle. Latent
sizes, families and likelihoods are the same in both. ``sparse`` has no published sizes.

``image`` has further presets: ``conv`` (strided convolutions, 64 units, for sides such as 28 and
32), ``conv-gated`` (as many channels, with gates in the place of the activation, which is how
Tomczak and Welling 2018 make convolutions, in other numbers), ``conv-small`` (blocks of 32 channels
for sides of 16, in minutes on a CPU; ``small`` is the same) and ``srvae`` (the sizes of Gatopoulos
2020 for sides of 32, 10.41 million parameters in the encoder and 12.45 million in a decoder of
mixtures of ten logistics; ``paper`` is the same).

``ssvae`` is the self-supervised VAE of Gatopoulos 2020 (chapter 5), with a level more for every
transform of ``--transforms``: ``small`` is for sides of 16, in minutes on a CPU, ``paper`` has the
published networks and latents of 16 x 8 x 8 (of images whose side is 8, 16, 32, ...).
"""

from __future__ import annotations

from dataclasses import replace

from pyro_vae.datasets.pixel_space import pixel_space
from pyro_vae.errors import check_choice
from pyro_vae.programs.networks import Blocks, ImageLayers, LevelNetworks, Stack
from pyro_vae.programs.sizes import Architecture, Widths


def _td(encoders: tuple[Widths, ...], signal: Widths) -> Architecture:
    return Architecture(
        units=(450, 20),
        families=("laplace", "normal"),
        encoders=encoders,
        feedback=(signal,),
        priors=(signal,),
        decoder=(),
        pixels=pixel_space("standardised"),
    )


def _sparse(encoder: Widths) -> Architecture:
    return Architecture(
        units=(450,),
        families=("laplace",),
        encoders=(encoder,),
        feedback=(),
        priors=(),
        decoder=(),
        pixels=pixel_space("standardised"),
    )


_BURDA1 = Architecture(
    units=(50,),
    families=("normal",),
    encoders=((200, 200),),
    feedback=(),
    priors=(),
    decoder=(200, 200),
    pixels=pixel_space("binary"),
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
    pixels=pixel_space("binary"),
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
        pixels=pixel_space("binary"),
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
        pixels=pixel_space("levels"),
        activation="elu",
        images=images,
    )


_WIDTHS = (32, 64, 128)
_CONV = _image(64, ImageLayers(Stack(_WIDTHS), Stack(_WIDTHS)))
_GATES = Stack(_WIDTHS, gated=True)
_CONV_GATED = _image(64, ImageLayers(_GATES, _GATES))
_BLOCKS = Stack((32, 32, 32), steps=2, growth=20)
_CONV_SMALL = _image(256, ImageLayers(_BLOCKS, _BLOCKS, channels=16))
_SRVAE = _image(
    1024, ImageLayers(Stack(steps=8, growth=16), Stack(steps=6, growth=128), channels=16)
)


def _ssvae(likelihood: str, between: LevelNetworks) -> Architecture:
    return Architecture(
        units=(0, 0),
        families=("normal", "normal"),
        encoders=((), ()),
        feedback=((),),
        priors=((),),
        decoder=(),
        pixels=pixel_space("levels"),
        activation="elu",
        likelihood=likelihood,
        transforms=("downscale:2",),
        between=between,
    )


_SSVAE_SMALL = _ssvae(
    "logistic-mixture:components=5",
    LevelNetworks(
        encoder=_BLOCKS,
        top_encoder=_BLOCKS,
        top_decoder=_BLOCKS,
        seen=_BLOCKS,
        above=Blocks(growth=16, steps=2),
        joint=Blocks(growth=16, steps=2),
        decoder=_BLOCKS,
        met=Blocks(growth=16, steps=2),
        width=32,
        channels=8,
        side=4,
    ),
)
_SSVAE = _ssvae(
    "logistic-mixture:components=10",
    LevelNetworks(
        encoder=Stack(steps=4, growth=16),
        top_encoder=Stack(steps=3, growth=64),
        top_decoder=Stack(steps=4, growth=128),
        seen=Stack(steps=5, growth=32),
        above=Blocks(growth=64, steps=3, count=3),
        joint=Blocks(growth=64, steps=3, count=3),
        decoder=Stack(steps=8, growth=64),
        met=Blocks(growth=64, steps=5, count=3),
        width=100,
        channels=16,
        side=8,
    ),
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
        "conv-gated": _CONV_GATED,
        "conv-small": _CONV_SMALL,
        "srvae": _SRVAE,
    },
    "ssvae": {"small": _SSVAE_SMALL, "paper": _SSVAE},
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
