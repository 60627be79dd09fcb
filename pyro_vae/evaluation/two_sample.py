"""Whether a classifier tells a model's images from real ones: a two-sample test with its null."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.datasets.seeding import torch_generator
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.small_classifier import Scaling, small_classifier
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.torch_state import own_generators

MIN_IMAGES = 20
STEPS, FEATURES = 300, 64


@dataclass(frozen=True)
class TwoSampleTest:
    """How often a small network, trained to tell two sets of images apart, is right on new ones.

    Attributes:
        accuracy: generated against real images; 0.5 where nothing tells them apart, 1 where all are
            told. Its standard error is over the images judged.
        null: the same between two sets of real images.
        num_images: n of each set, half of them to train the network, half to judge it.
    """

    accuracy: Mean
    null: Mean
    num_images: int

    @property
    def p_value(self) -> float:
        """One-sided, of the accuracy under chance: hits of n images are Binomial(n, 1 / 2).

        By its normal limit, as Lopez-Paz and Oquab 2017 have it (section 3).
        """
        z = (self.accuracy.mean - 0.5) * 2 * math.sqrt(self.num_images)
        return 0.5 * math.erfc(z / math.sqrt(2))

    def __str__(self) -> str:
        return (
            f"a small network tells generated from real images with accuracy {_told(self.accuracy)}"
            f", and two sets of real ones with {_told(self.null)} (chance 0.5; {self.num_images} "
            "images of each set)"
        )


def two_sample_test(
    real: Tensor,
    generated: Tensor,
    image_shape: Sequence[int] | None = None,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> TwoSampleTest:
    """The classifier two-sample test of Lopez-Paz and Oquab 2017, with an empirical null.

    (https://arxiv.org/abs/1610.06545.) Half of n generated and n real images train a network
    (:func:`~pyro_vae.evaluation.small_classifier.small_classifier`), the other halves judge it. A
    density says how likely images are, this how alike: a model may be good at one and bad at the
    other. It is a lower estimate, since larger networks and more images tell more apart.

    Args:
        real: (N, D) with N at least 2 n; the other n are the null's.
        generated: (n, D).
        image_shape: (C, H, W) of a row, channel first; None for rows that are no images.
        steps: of the network's training.
        seed: of the network, the halves and the choice of real images; on the CPU a seed gives the
            same numbers.

    Raises:
        InputError: fewer than 20 generated images, fewer real ones than twice as many, or rows of
            other widths.
    """
    count = len(generated)
    check_count("steps", steps)
    if count < MIN_IMAGES or len(real) < 2 * count:
        raise InputError(
            f"the two-sample test wants at least {MIN_IMAGES} generated images and twice as many "
            f"real ones, half of them for its null; got {count} and {len(real)}"
        )
    if real.shape[1:] != generated.shape[1:]:
        raise InputError(
            f"rows of shape {tuple(real.shape[1:])} cannot be compared with rows of shape "
            f"{tuple(generated.shape[1:])}"
        )
    generator = torch_generator(check_count("seed", seed, minimum=0), "two samples", "real")
    order = torch.randperm(len(real), generator=generator).to(real.device)
    first, second = (real[part] for part in order[: 2 * count].split(count))
    scaling = Scaling.of(first)
    found = []
    with own_generators():
        for others in (generated, second):
            torch.manual_seed(seed)
            found.append(_told_apart(first, others.to(first), image_shape, scaling, steps))
    told_apart, null = found
    return TwoSampleTest(told_apart, null, num_images=count)


def _told_apart(
    real: Tensor, others: Tensor, image_shape: Sequence[int] | None, scaling: Scaling, steps: int
) -> Mean:
    """Share of the second halves that a network trained on the first halves is right on."""
    half = len(real) // 2
    sets = [
        (torch.cat([rows, more]), torch.arange(2, device=rows.device).repeat_interleave(len(rows)))
        for rows, more in ((real[:half], others[:half]), (real[half:], others[half:]))
    ]
    (rows, labels), judged = sets
    network = small_classifier(
        rows, labels, image_shape, scaling, num_features=FEATURES, steps=steps
    )
    return mean_and_error(network.hits(*judged).cpu().numpy())


def _told(value: Mean) -> str:
    return f"{value.mean:.3f} ± {value.standard_error:.3f}"
