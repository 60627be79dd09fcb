"""Transforms by name: ``downscale:2``, ``quantise:bits=3``, one on the result of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyro_vae.errors import InputError
from pyro_vae.options import read_part
from pyro_vae.programs.representations.representation import Representation


def read_transform(text: str, shape: Sequence[int]) -> Representation:
    """The transform ``NAME``, ``NAME:value`` (of its one setting) or ``NAME:key=value``.

    Raises:
        InputError: an unknown name or setting, or images of ``shape`` that it cannot read.
    """
    made, settings = _named(text)
    return made(shape, **settings)


def read_names(texts: Sequence[str]) -> None:
    """InputError where there are no transforms, or one that is unknown or has other settings."""
    if not texts:
        raise InputError("a self-supervised VAE wants at least one transform, such as downscale:2")
    for text in texts:
        _named(text)


def _named(text: str) -> tuple[type[Representation], dict[str, Any]]:
    """The class and the settings of a transform."""
    from pyro_vae.programs.representations import TRANSFORMS

    name, colon, rest = text.partition(":")
    known = getattr(TRANSFORMS.get(name), "settings", {})
    if colon and "=" not in rest and len(known) == 1:
        text = f"{name}:{next(iter(known))}={rest}"
    return read_part("transform", text, TRANSFORMS)


def chain(texts: Sequence[str], shape: Sequence[int]) -> list[Representation]:
    """The transforms d_1, ..., d_K, each on the images that the one before it makes.

    Raises:
        InputError: none at all, or one that cannot be read or cannot read what it is given.
    """
    read_names(texts)
    found: list[Representation] = []
    for text in texts:
        found.append(read_transform(text, found[-1].shape_out if found else shape))
    return found
