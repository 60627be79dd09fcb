"""Decoded images along one unit at a time, all others held at the code of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.evaluation import kl_per_unit
from pyro_vae.evaluation.encoding import encode
from pyro_vae.torch_state import evaluating

VALUES = tuple(np.linspace(-2.5, 2.5, 9))


@dataclass(frozen=True)
class Traversal:
    """What single units of one level do to an image.

    Attributes:
        level: of the units. units: (n,), counted from 0.
        values: (V,), that each unit takes in its turn, in units of the latent.
        rows: (n, V, D), E[x | z].
        kl: (U,), of each unit of the level, nats, mean over the data.
    """

    level: str
    units: tuple[int, ...]
    values: tuple[float, ...]
    rows: np.ndarray
    kl: np.ndarray


def traverse(
    model: Callable,
    guide: Callable,
    x: Tensor,
    *,
    image: int = 0,
    level: str = "z1",
    units: Sequence[int] | None = None,
    values: Sequence[float] = VALUES,
) -> Traversal:
    """E[x | z] as one unit takes the values in turn and all others stay at E[z | x_image].

    The traversals of Burgess et al. 2018 (https://arxiv.org/abs/1804.03599, figure 3). A unit that
    has collapsed to the prior leaves the image as it is.

    Args:
        x: (N, D), over which the KL of the units is averaged. image: which row is encoded.
        level: of the units. units: counted from 0; default: all, of largest KL first.

    Raises:
        InputError: there is no such row, level or unit.
    """
    if not 0 <= image < len(x):
        raise InputError(f"image {image} is none of the {len(x)}, which are counted from 0")
    code = encode(model, guide, x[image : image + 1])
    check_choice("level", level, code.levels)
    kl = kl_per_unit(model, guide, x)[level]
    if units is None:
        units = np.argsort(-kl, kind="stable").tolist()
    for unit in units:
        if not 0 <= check_count("unit", unit, minimum=0) < len(kl):
            raise InputError(f"unit {unit} is none of the {len(kl)} of {level}, counted from 0")
    latents = {
        name: torch.as_tensor(means, dtype=x.dtype, device=x.device).repeat(
            len(units) * len(values), 1
        )
        for name, means in code.means.items()
    }
    moved = latents[level].reshape(len(units), len(values), -1)
    for place, unit in enumerate(units):
        moved[place, :, unit] = torch.as_tensor(tuple(values), dtype=x.dtype)
    with torch.no_grad(), evaluating(model, guide):
        rows = model.mean_of(latents).reshape(len(units), len(values), -1)
    return Traversal(level, tuple(units), tuple(values), rows.cpu().numpy(), kl)
