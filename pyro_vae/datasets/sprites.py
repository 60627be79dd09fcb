"""Sprites with known factors, drawn here: shape, scale, rotation, and place across and down.

In the layout of dSprites (Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset):
one white sprite on black for every combination of five factors, one image each. The drawing is
another one. None of the three shapes looks the same after a turn of less than a circle, so that an
image tells all of its factors; the square and the ellipse of dSprites do not tell their rotation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch

from pyro_vae.datasets.arrays import SplitArrays
from pyro_vae.datasets.factors import Factor, Factors
from pyro_vae.datasets.seeding import numpy_generator

SIDE = 32  # pixels
RADII = (4.0, 4.8, 5.6, 6.4, 7.2, 8.0)  # of the circle around a sprite, in pixels
ROTATIONS, PLACES = 16, 8
STEP = 2  # pixels between two places, so that moved sprites are equal pixel by pixel
HELD_OUT = 0.1  # of all images, for valid and for test each


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = 1.33 * x, 1.33 * y + 0.17
    return x**2 * y**3 - (x**2 + y**2 - 1) ** 3


def _corner(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    upright = np.minimum(0.27 - np.abs(x + 0.31), 0.81 - np.abs(y))
    foot = np.minimum(0.57 - np.abs(x - 0.01), 0.27 - np.abs(y + 0.54))
    return np.maximum(upright, foot)


def _moon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(0.97 - np.hypot(x, y), np.hypot(x - 0.53, y) - 0.83)


# Name -> what is positive inside the shape, of coordinates in which it fills the unit circle.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "heart": _heart,
    "corner": _corner,
    "moon": _moon,
}
FACTORS = (
    Factor("shape", len(SHAPES), "class"),
    Factor("scale", len(RADII)),
    Factor("rotation", ROTATIONS, "circular"),
    Factor("x", PLACES),
    Factor("y", PLACES),
)


def sprite(shape: str, radius: float, rotation: int) -> np.ndarray:
    """How far pixels lie inside a sprite in the middle, positive inside, (SIDE - 2, SIDE - 2).

    In no unit, but of one sign on each side of the edge. The middle lies between four pixels.

    Args:
        shape: a name of ``SHAPES``.
        radius: of the circle around it, pixels.
        rotation: sixteenths of a full turn, against the clock.
    """
    length = SIDE - PLACES * STEP + STEP
    down, across = np.mgrid[:length, :length] - (length - 1) / 2
    angle = 2 * np.pi * rotation / ROTATIONS
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
    return SHAPES[shape](cos * across - sin * down, -sin * across - cos * down)


def all_sprites() -> tuple[np.ndarray, np.ndarray]:
    """Images (N, SIDE, SIDE), bytes 0 and 255, and their factors (N, 5), last factor fastest."""
    length = SIDE - PLACES * STEP + STEP
    looks = itertools.product(SHAPES, RADII, range(ROTATIONS))
    inside = np.stack([sprite(*look) > 0 for look in looks])
    images = np.zeros((len(inside), PLACES, PLACES, SIDE, SIDE), np.uint8)
    for across, down in itertools.product(range(PLACES), repeat=2):
        left, top = STEP * across, STEP * down
        part = images[:, across, down, top : top + length, left : left + length]
        part[inside] = 255
    sizes = [factor.size for factor in FACTORS]
    factors = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), 1)
    return images.reshape(-1, SIDE, SIDE), factors


def load_sprites() -> SplitArrays:
    """All 18,432 images in three splits at fixed random places, with factors and shape as label.

    Valid and test are a tenth each: combinations of factors that training does not see, each value
    of a factor being among them many times. The order is a random one, so that the first images of
    a split are of all kinds.
    """
    images, factors = all_sprites()
    order = numpy_generator(0, "sprites split").permutation(len(images))
    held_out = round(HELD_OUT * len(images))
    valid, test, train = np.split(order, [held_out, 2 * held_out])
    places = {"train": train, "valid": valid, "test": test}
    values = {split: torch.from_numpy(factors[rows]) for split, rows in places.items()}
    return SplitArrays(
        origin=f"{len(images)} sprites drawn by pyro_vae.datasets.sprites",
        train=images[train],
        valid=images[valid],
        test=images[test],
        labels={split: table[:, 0].clone() for split, table in values.items()},
        label_names=tuple(SHAPES),
        factors=Factors(FACTORS, values),
    )
