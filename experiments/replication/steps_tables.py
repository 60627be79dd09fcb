"""Tables of images in steps: the self-supervised VAE of Gatopoulos 2020, with one level and two.

Minutes on a CPU have CIFAR-10 at 16 x 16; the published regime of the second table has images of
64 x 64 that a call brings with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.campaign.cell import Cell
from experiments.replication.columns import (
    Column,
    counted,
    found,
    found_each,
    paired,
    printed,
    printed_each,
    told,
)
from experiments.replication.image_columns import RECIPES, SHARED, in_bits
from experiments.replication.measures import agreement, drawing, frechet, parameters, terms
from experiments.replication.published_steps import CELEBA, CIFAR10, PublishedSteps
from experiments.replication.published_table import Regime, Row, Table
from experiments.replication.remarks import khat_remark, lower_latents_remark
from experiments.replication.steps_notes import OF_TWICE, OF_TWO_STEPS

PARTICLES = 64
_PRIOR = "spatial"  # RealNVP over latents that lie on maps
_SMALL: Mapping[str, Any] = {
    "preset": "small",
    "image_size": 16,
    "likelihood": "logistic-mixture:components=5",
}
_PUBLISHED: Mapping[str, Any] = {"preset": "paper", "likelihood": "logistic-mixture:components=10"}


def _plain(name: str, label: str, prior: str) -> Cell:
    return Cell(name, label, 1, "elbo", 1, {"prior": prior})


def _in_steps(name: str, label: str, *transforms: str) -> Cell:
    """A self-supervised VAE, a level more for every transform."""
    settings = {
        "model": "ssvae",
        "guide": "meanfield",
        "prior": _PRIOR,
        "transforms": transforms,
    }
    return Cell(name, label, 1 + len(transforms), "elbo", 1, settings)


STANDARD = _plain("standard", "VAE, standard normal prior", "standard")
REALNVP = _plain("realnvp", "VAE, RealNVP prior", _PRIOR)
DOWNSCALE = _in_steps("downscale", "ssVAE, half the side", "downscale:2")
SKETCH = _in_steps("sketch", "ssVAE, sketch", "sketch")
TWICE = _in_steps("twice", "ssVAE, half the side twice", "downscale:2", "downscale:2")


def _rows(cells: tuple[Cell, ...], published: Mapping[str, PublishedSteps]) -> tuple[Row, ...]:
    return tuple(Row(cell, dict.fromkeys(RECIPES, published[cell.name])) for cell in cells)


def _first() -> tuple[Column, ...]:
    """What a row is, and its bits."""
    return (
        told("model", lambda cell: cell.label),
        printed("bits published", "bits_per_dim"),
        *in_bits(),
        paired(
            "bits less RealNVP's",
            lambda row: REALNVP,
            "bits_per_dim",
            4,
            "Of a self-supervised VAE (ssVAE) bits are those of the pair (x, d(x)), an upper bound "
            "on those of x that no K brings to them. Less RealNVP's: paired over the same test "
            "images, with the plain VAE of that prior (negative is better); sd, everywhere, is "
            "over seeds of training.",
        ),
    )


def _ours_of_terms() -> tuple[Column, ...]:
    return (
        found_each("RE of x, y1, ..", "distortion_", 1),
        found_each(
            "KL of z1, z2, ..",
            "kl_z",
            1,
            "RE: -E log p of the image and of its representations, each given what stands above; "
            "RE and KL in nats, the sum of all is D ln 2 times the bits.",
        ),
        counted("active", "active_test", "Active units: Var_x(E[z]) > 0.01, z1 + z2 + ..."),
    )


def _of_images() -> tuple[Column, ...]:
    """Of drawn images."""
    return (
        found_each(
            "FID",
            "fid_",
            2,
            "FID: Frechet distance between drawn and test images, one for each seed of the "
            "features (docs/evaluation.md); null: between two sets of test images.",
        ),
        found_each("null", "null_fid_", 2),
        found_each(
            "draws agree",
            "agree_",
            3,
            "Draws agree: share of the numbers of a drawn y1, y2, .. that the representation of "
            "the image drawn from it equals.",
        ),
        printed("parameters published, millions", "size", 0),
        found("parameters", "parameters", 0),
        printed("seconds for 1 image published", "seconds_1"),
        found("1 image", "seconds_1", 3),
    )


_DRAWN = "Seconds: to draw so many images together, median of 5."

STEPS_TABLES: dict[str, Table] = {
    "ssvae": Table(
        "Images in two steps, bits per dimension (Gatopoulos 2020, tables 7.2 and 7.3)",
        settings={**SHARED, "dataset": "cifar10"},
        rows=_rows((STANDARD, REALNVP, DOWNSCALE), CIFAR10),
        regimes={
            "minutes-images": Regime("Gatopoulos 2020, CIFAR-10", _SMALL),
            "srvae": Regime("Gatopoulos 2020, CIFAR-10", {**_PUBLISHED, "image_size": 32}),
        },
        columns=(
            *_first(),
            printed_each("RE_x, RE_y published", "distortion_", 0),
            printed_each("KL_z, KL_u published", "kl_z", 0),
            *_ours_of_terms(),
            printed_each("FID published (training, test images)", "inception_fid"),
            *_of_images(),
            printed("for 100 published", "seconds_100"),
            found("100 images", "seconds_100", 3, _DRAWN),
        ),
        measures=(terms, agreement, frechet, parameters, drawing(1, 100)),
        remarks=(khat_remark, lower_latents_remark),
        notes=OF_TWO_STEPS,
        particles=PARTICLES,
    ),
    "multilevel": Table(
        "Images in two and three steps, bits per dimension (Gatopoulos 2020, tables 7.5 and 7.6)",
        settings=SHARED,
        rows=_rows((REALNVP, SKETCH, TWICE), CELEBA),
        regimes={
            "minutes-images": Regime("Gatopoulos 2020, CelebA", {**_SMALL, "dataset": "cifar10"}),
            "srvae": Regime(
                "Gatopoulos 2020, CelebA",
                {**_PUBLISHED, "image_size": 64},
                data="CelebA's aligned faces (with --crop 40 15 148 148), Imagenette's photographs "
                "or others",
            ),
        },
        columns=(
            *_first(),
            printed("RE published", "distortion", 0),
            printed("KL published", "rate", 0),
            *_ours_of_terms(),
            *_of_images(),
            printed("for 20 published", "seconds_20"),
            found("20 images", "seconds_20", 3),
            found("100 images", "seconds_100", 3, _DRAWN),
        ),
        measures=(terms, agreement, frechet, parameters, drawing(1, 20, 100)),
        remarks=(khat_remark, lower_latents_remark),
        notes=OF_TWICE,
        particles=PARTICLES,
    ),
}
