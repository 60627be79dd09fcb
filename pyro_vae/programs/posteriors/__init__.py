"""Posteriors of one level given what a guide read: the registry that ``--posterior`` chooses from.

A posterior is a module ``made(in_features, layers, features, *, family, activation, gain, network,
**settings)``, a :class:`~pyro_vae.programs.conditionals.LocScale` or one that bends its units. It
returns q(z_l | h), of event shape (features,), from what the guide hands it. Its class attribute
``settings`` says what follows the colon in ``--posterior NAME:key=value``.
"""

from collections.abc import Mapping
from typing import Any

from pyro_vae.errors import InputError
from pyro_vae.options import read_part
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.posteriors.flow_head import CouplingPosterior, FlowLocScale, IAFPosterior

POSTERIORS: dict[str, type[LocScale]] = {
    "locscale": LocScale,
    "flow": CouplingPosterior,
    "iaf": IAFPosterior,
}


def per_level(text: str, levels: int) -> list[tuple[type[LocScale], Mapping[str, Any]]]:
    """Class and settings of every level's posterior, from z1 up.

    Args:
        text: ``NAME:key=value`` for all levels, or one for each with a slash between them.

    Raises:
        InputError: an unknown name or setting, or neither one nor as many as levels.
    """
    words = text.split("/")
    if len(words) not in (1, levels):
        raise InputError(
            f"--posterior {text} wants 1 or {levels} names for {levels} levels, got {len(words)}"
        )
    return [read_part("posterior", word, POSTERIORS) for word in words * (levels // len(words))]


__all__ = [
    "POSTERIORS",
    "CouplingPosterior",
    "FlowLocScale",
    "IAFPosterior",
    "per_level",
]
