"""Tables of images in bits per dimension: priors (Gatopoulos 2020), PixelVAE (Isachenko 2019).

The published images are larger, or another data set, and the published models took days on GPUs;
minutes on a CPU have images of 16 x 16, where a late prior shows what one from the start does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.campaign.cell import Cell
from experiments.replication.columns import (
    Column,
    counted,
    found,
    paired,
    printed,
    told,
)
from experiments.replication.image_columns import RECIPES, SHARED, in_bits
from experiments.replication.measures import drawing, parameters
from experiments.replication.published_priors import PIXELVAE, PRIORS_OF_IMAGES
from experiments.replication.published_table import Regime, Row, Table
from experiments.replication.remarks import khat_remark

_SHARED: Mapping[str, Any] = {**SHARED, "dataset": "cifar10"}
_SMALL: Mapping[str, Any] = {"preset": "conv-small", "image_size": 16}
_PRIORS = {"standard": "standard", "mixture": "mixture:components=1000", "realnvp": "spatial"}
_LATE_SHARE, _LATE_RATE = 1 / 3, 1e-3


def _cell(name: str, label: str, prior: str, start: Cell | None = None) -> Cell:
    settings: dict[str, Any] = {"prior": prior}
    if start is None:
        return Cell(name, label, 1, "elbo", 1, settings)
    settings["lr"] = _LATE_RATE
    return Cell(name, label, 1, "elbo", 1, settings, start, _LATE_SHARE)


STANDARD = _cell("standard", "standard normal", "standard")
LATER = _cell("late-standard", "standard normal, trained on", "standard", STANDARD)
_FROM_START = {
    "standard": STANDARD,
    "mixture": _cell("mixture", "mixture of 1000", _PRIORS["mixture"]),
    "realnvp": _cell("realnvp", "RealNVP of maps", _PRIORS["realnvp"]),
}
_LATE = (
    LATER,
    _cell("late-mixture", "mixture of 10, late", "mixture:components=10", STANDARD),
    _cell("late-realnvp", "RealNVP of maps, late", _PRIORS["realnvp"], STANDARD),
)


def _like(row: Row) -> Cell:
    """The cell with the standard normal prior that was trained as long."""
    return STANDARD if row.cell.start is None else LATER


def _decoder(name: str, label: str, likelihood: str, **settings: Any) -> Cell:
    return Cell(name, label, 1, "elbo", 1, {"likelihood": likelihood, **settings})


_PIXELCNN = "pixelcnn-levels:components=5"
INDEPENDENT = _decoder("independent", "no other pixel", "logistic-mixture:components=5")
WHOLE = _decoder("whole", "all pixels before it", _PIXELCNN)
_DECODERS = (
    INDEPENDENT,
    _decoder("window", "those before it within 1 place", f"{_PIXELCNN},window=1"),
    WHOLE,
    _decoder(
        "whole-warm-up",
        "all pixels before it; warm-up of z",
        _PIXELCNN,
        annealing={"z1": (0.01, 1.0, 0.5)},
    ),
)


def _of_terms() -> tuple[Column, ...]:
    return (
        found("-E log p(x given z)", "distortion", 1),
        found("KL", "rate", 1, "Reconstruction and KL in nats."),
    )


IMAGE_TABLES: dict[str, Table] = {
    "priors": Table(
        "Priors of colour images, bits per dimension (Gatopoulos 2020, table 7.1)",
        settings=_SHARED,
        rows=(
            *(
                Row(cell, dict.fromkeys(RECIPES, PRIORS_OF_IMAGES[name]))
                for name, cell in _FROM_START.items()
            ),
            *(Row(cell) for cell in _LATE),
        ),
        regimes={
            "minutes-images": Regime(
                "Gatopoulos 2020", {**_SMALL, "likelihood": "logistic-mixture:components=5"}
            ),
            "srvae": Regime("Gatopoulos 2020", {"preset": "srvae"}),
        },
        columns=(
            told("prior", lambda cell: cell.label),
            printed("bits published", "bits_per_dim"),
            *in_bits(),
            paired(
                "bits less standard's",
                _like,
                "bits_per_dim",
                4,
                "Less standard's: paired over the same test images, with the standard normal prior "
                "that was trained as long (negative is better); sd is over seeds.",
            ),
            printed("-E log p(x given z) published", "distortion", 0),
            printed("KL published", "rate", 0),
            *_of_terms(),
            printed("parameters published, millions", "size", 0),
            found("parameters", "parameters", 0),
            printed("seconds for 1 image published", "seconds_1"),
            found("1 image", "seconds_1", 3),
            printed("for 100 published", "seconds_100"),
            found("100 images", "seconds_100", 3, "Seconds: to draw images, median of 5."),
        ),
        measures=(parameters, drawing(1, 100)),
        remarks=(khat_remark,),
        notes=(
            "Late: the pair that was trained under the standard normal prior takes the prior that "
            "fits its q(z given x) best, all else held fixed, and all is trained for a third as "
            "many epochs more. A prior from the first step on is one more thing to learn while "
            "the KL is a small part of the bits; the published order is that of 2000 epochs.",
            "Under minutes-images: CIFAR-10 at 16 x 16, the images that the data folder holds, a "
            "network of 256 latent units; published: 32 x 32, 1024 units. Bits of other image "
            "sizes are not comparable, and those of images that were JPEG before are not either.",
            "The published nll is said to be of 512 importance-weighted particles; it is the "
            "ELBO: (6675 + 1596) / (3072 ln 2) = 3.884, (6512 + 1653) / (3072 ln 2) = 3.834 and "
            "(5540 + 1966) / (3072 ln 2) = 3.525 are the printed 3.88, 3.83 and (nearly) 3.51. It "
            "stands beside our ELBO.",
            "The published mixture is of 10 components in the text; 20M to 22M parameters are "
            "1000 components of 1024 units, as in its code. The printed 60,000 training images of "
            "CIFAR-10 are 50,000.",
            "The thesis prints L(q) = KL - log p(x) for log p(x) - KL (section 3.1), z = mu + "
            "sigma^2 eps for mu + sigma eps, log q(z given x) in its auxiliary bound for log q(z, "
            "w given x), and has samples of a flow made by f^-1 beside the formula with f.",
            "The published seconds are of a GeForce GTX 1080 Ti, ours of this machine.",
        ),
        particles=512,
    ),
    "pixelvae": Table(
        "Autoregressive decoders, bits per dimension (Isachenko 2019, from Gulrajani et al. 2017)",
        settings=_SHARED,
        rows=tuple(
            Row(cell, dict.fromkeys(RECIPES, PIXELVAE) if cell is WHOLE else {})
            for cell in _DECODERS
        ),
        regimes={
            "minutes-images": Regime("Gulrajani et al. 2017", _SMALL),
            "srvae": Regime("Gulrajani et al. 2017", {"preset": "srvae"}),
        },
        columns=(
            told("a pixel sees, beside z", lambda cell: cell.label),
            printed("bits published", "bits_per_dim"),
            *in_bits(),
            paired(
                "bits less independent's",
                lambda row: INDEPENDENT,
                "bits_per_dim",
                4,
                "Less independent's: paired over the same test images (negative is better); sd is "
                "over seeds.",
            ),
            *_of_terms(),
            counted("active", "active_test", "Active units: Var_x(E[z]) > 0.01."),
            found("parameters", "parameters", 0),
        ),
        measures=(parameters,),
        remarks=(khat_remark,),
        notes=(
            "The slides print the published row without its data set: it is 64 x 64 ImageNet "
            "(validation 3.66, training 3.59). Their other rows: convolutional DRAW 4.10 (4.04), "
            "RealNVP 4.01 (3.93), PixelRNN 3.63 (3.57), gated PixelCNN 3.57 (3.48). DRAW's and "
            "PixelVAE's are upper bounds.",
            "Ours under minutes-images: CIFAR-10 at 16 x 16, the images that the data folder "
            "holds. Bits of other images are not comparable with the published ones: what can be "
            "compared is what an autoregressive decoder gains, and what it leaves to z (KL).",
            "A window is that of the Variational Lossy Autoencoder (Chen et al. 2017, "
            "https://arxiv.org/abs/1611.02731), for whose results the slides cite "
            "arXiv:1606.04934, another paper. A decoder that sees the whole image before a pixel "
            "may leave z unused, which a warm-up is said to prevent.",
            "The slides' proof that an autoregressive prior is an inverse autoregressive "
            "posterior prints -q(z given x) for -log q(z given x), and their hierarchy p(z1, z2) "
            "as its last factor for p(z1 given z2).",
        ),
        particles=64,
    ),
}
