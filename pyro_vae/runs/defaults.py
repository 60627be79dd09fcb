"""Defaults that follow from one another: what a pair starts from, and the patches it then takes.

``experiments/README.md`` has the paired runs behind these numbers.
"""

from __future__ import annotations

import dataclasses

from pyro_vae.datasets.load import PATCH_SIZE
from pyro_vae.datasets.whitening import below_nyquist, default_components
from pyro_vae.errors import InputError
from pyro_vae.programs import PairConfig
from pyro_vae.programs.start import STARTS

STARTED_FROM_DATA = ("td", "sparse")
# The preset's encoder of 500 hidden units carries 250 sources, two units each.
MOST_COMPONENTS = 250
STARTING_ROWS = 20_000  # enough for the sources of 250 components
NUM_TRAIN = 10_000  # where weights are random


def default_init(pair: PairConfig) -> str:
    """``data`` for the sparse models of patches in minutes; ``random`` elsewhere.

    The published sizes keep the start that was published, and so do networks and likelihoods that
    data cannot start.
    """
    if pair.preset != "small" or pair.model not in STARTED_FROM_DATA:
        return "random"
    try:
        STARTS["data"].check(dataclasses.replace(pair, init="random").architecture)
    except InputError:
        return "random"
    return "data"


def patch_defaults(init: str, whiten: str | None, patch_size: int | None) -> dict[str, int]:
    """Side of a patch, principal components and training patches."""
    size = PATCH_SIZE if patch_size is None else patch_size
    starting = init == "data"
    components = default_components(whiten, size)
    if starting and whiten in ("zca", "pca"):
        components = min(MOST_COMPONENTS, below_nyquist(size))
    return {
        "patch_size": size,
        "components": components,
        "num_train": STARTING_ROWS if starting else NUM_TRAIN,
    }
