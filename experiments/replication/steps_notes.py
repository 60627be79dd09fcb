"""What a reader of the tables of images in steps must know, the errors of the paper included."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.replication.published_steps import (
    CELEBA,
    CIFAR10,
    IMAGENET32,
    IMAGENETTE,
    LITERATURE,
    PublishedSteps,
)

CIFAR_DIMS, CELEBA_DIMS = 3 * 32 * 32, 3 * 64 * 64
_LABELS = {
    "distortion": "RE",
    "distortion_x": "RE_x",
    "distortion_y1": "RE_y",
    "rate": "KL",
    "kl_z1": "KL_z",
    "kl_z2": "KL_u",
}
_MODELS = {
    "realnvp": "VAE",
    "downscale": "ssVAE",
    "sketch": "ssVAE - sketch",
    "twice": "ssVAE - 3lvl",
}


def _sums(rows: Mapping[str, PublishedSteps], dims: int) -> str:
    """Printed terms of every row in bits, beside its printed bits."""
    found = [
        f"({' + '.join(map(str, row.terms.values()))}) / ({dims} ln 2) = "
        f"{row.bits_of_terms(dims):.3f} for {row.bits_per_dim:.2f}"
        for row in rows.values()
    ]
    return ", ".join(found)


def _in_words(rows: Mapping[str, PublishedSteps]) -> str:
    """The numbers of rows that stand in no column."""
    found = []
    for name, row in rows.items():
        parts = [f"{_MODELS[name]} {row.bits_per_dim:.2f} bits"]
        parts += [f"{_LABELS[term]} {value}" for term, value in row.terms.items()]
        if row.inception_fid_train is not None:
            parts.append(f"FID {row.inception_fid_train} ({row.inception_fid_test})")
        found.append(", ".join(parts))
    return "; ".join(found)


def _literature() -> str:
    return ", ".join(
        f"{model} {first:.2f}" + (f" ({second:.2f})" if second is not None else "")
        for model, (first, second) in LITERATURE.items()
    )


_OF_PAIRS = (
    "The bound of an ssVAE tends to log p(x, d(x)), not to log p(x): its decoder may draw an x "
    "that has another d(x). The paper does not say so, and prints its bits beside those of plain "
    "VAEs; both are upper bounds on the bits of x."
)
_BY_CONSTRUCTION = (
    "RE_x of an ssVAE is below a plain VAE's by construction: y is given, and is paid for as RE_y."
)
_KL_SUM = (
    "Equation 5.4 begins its sum of KLs at k = 2, which would lose KL_z; the printed bits have it, "
    "and so have ours. Equation 5.3 adds the KLs that it should subtract, and calls KL_z and KL_u "
    "RE_z and KL_z."
)
_SIZES = (
    "Under minutes-images: CIFAR-10 at 16 x 16, as many images as the data folder holds; plain "
    "VAEs have 256 latent units, an ssVAE 128 at each level (published: 1024 at each)."
)
_OTHER_IMAGES = (
    "Bits of other images than the published ones, or of another size, are not comparable with "
    "them, and those of images that were JPEG before are not either: what can be compared is how "
    "rows differ."
)
_KL_OF_TEXT = 1707
_BITS_OF_TEXT = IMAGENET32["realnvp"]._replace(kl_z1=_KL_OF_TEXT).bits_of_terms(CIFAR_DIMS)
_SECONDS = "The published seconds are of a GeForce GTX 1080 Ti, ours of this machine."

OF_TWO_STEPS: tuple[str, ...] = (
    _OF_PAIRS,
    _BY_CONSTRUCTION,
    f"{_SIZES} {_OTHER_IMAGES}",
    "The published nll is said to be of 512 importance-weighted particles; it is the ELBO, and "
    f"stands beside ours: {_sums(CIFAR10, CIFAR_DIMS)}.",
    "In table 7.2 VAE is the one with the RealNVP prior; the row of the standard normal, and "
    "parameters and seconds of plain VAEs, are those of table 7.1. The text has approximately 35 "
    "million parameters for the ssVAE.",
    _KL_SUM,
    "y is the mean of squares of 2 x 2 pixels, which is bilinear interpolation, as in the paper's "
    "code; its text says bicubic.",
    "Published FID: of the features of an Inception network, 50,000 images against the training "
    "images and 10,000 against the test images; ours: of features that are made for these data, "
    "1000 images or half of the test images. The two cannot be compared.",
    f"Table 7.2 on ImageNet32 (published only): {_in_words(IMAGENET32)}. They too are ELBOs: "
    f"{_sums(IMAGENET32, CIFAR_DIMS)}. The text has {_KL_OF_TEXT} for the KL of its VAE, "
    f"which would be {_BITS_OF_TEXT:.3f} bits. A folder of such images is judged with --dataset "
    "FOLDER.",
    f"Table 7.3, bits of CIFAR-10 (of ImageNet32), published only: {_literature()}; Flow++ without "
    "variational dequantisation 3.29. Those of autoregressive models are exact, of the others "
    "upper bounds (of flows through dequantisation). The text has the ssVAE surpass RealNVP on "
    "ImageNet32: its 4.32 is above 4.28, and the 4.15 of the plain VAE is below.",
    "The text's total KL of around 1500 is 1438 and 1356. 2 x 1024 numbers are those that RS2 "
    "keeps, not RS1; z of RS1 is drawn from p(z given y, u), where q(z given u, y) is printed; the "
    "60,000 training images of CIFAR-10 are 50,000.",
    _SECONDS,
)
OF_TWICE: tuple[str, ...] = (
    _OF_PAIRS,
    _BY_CONSTRUCTION,
    "Neither CelebA nor Imagenette comes with this library, or is fetched by it. A folder of "
    "images is taken with --dataset FOLDER under both recipes (a tenth are test images), at 64 x "
    "64 under srvae; CelebA's faces of 218 x 178 also want --crop 40 15 148 148.",
    f"{_SIZES} y2 is of 4 x 4 there. {_OTHER_IMAGES}",
    "The published nll is the ELBO, with RE and KL of all sites and levels together: "
    f"{_sums(CELEBA, CELEBA_DIMS)}.",
    f"Table 7.6, Imagenette (published only): {_in_words(IMAGENETTE)}. They too are ELBOs: "
    f"{_sums(IMAGENETTE, CELEBA_DIMS)}.",
    "ssVAE - 3lvl has two transforms and three latents: ours are z3 (on top, u), z2 and z1; the "
    "text has u, z1 and z2 for the same in one place, and z3, y2 and z1 in another.",
    "For its sketch the paper cites Gastal and Oliveira 2011, whose filter is another one; ours is "
    "the dodge and burn that it describes.",
    "The paper does not describe its networks for 64 x 64. Under srvae they are those for 32 x 32 "
    "with one more halving where latents are of 8 x 8, and have more parameters than published; "
    "the plain VAE's 4096 units lie on 16 x 16.",
    _KL_SUM,
    _SECONDS,
)
