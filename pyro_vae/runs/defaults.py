"""Defaults that follow from one another: objective, what a pair starts from, the patches it takes.

``experiments/README.md`` has the paired runs behind the numbers of starts and patches.
"""

from __future__ import annotations

import dataclasses

from pyro_vae.datasets.load import PATCH_SIZE
from pyro_vae.datasets.whitening import below_nyquist, default_components
from pyro_vae.errors import InputError
from pyro_vae.programs import PairConfig, architecture, check_preset
from pyro_vae.programs.assembly import MEAN_FIELD
from pyro_vae.programs.start import STARTS
from pyro_vae.runs.settings import EvaluationConfig, ObjectiveConfig

STARTED_FROM_DATA = ("td", "sparse")
# The preset's encoder of 500 hidden units carries 250 sources, two units each.
MOST_COMPONENTS = 250
STARTING_ROWS = 20_000  # enough for the sources of 250 components
NUM_TRAIN = 10_000  # where weights are random
IMAGE_PARTICLES = 512  # of the test log-likelihood


def default_guide(model: str, preset: str = "small") -> str:
    """``topdown``, but of models whose latents each read their own image, which have one guide."""
    check_preset(model, preset)
    return PairConfig.guide if architecture(model, preset).between is None else MEAN_FIELD


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


def objective_defaults(pair: PairConfig, objective: str | None = None) -> dict[str, str | int]:
    """Objective, particles of training and of the test log-likelihood, by flat name.

    A particle of networks of images costs a pass of convolutions: they have the ELBO of one
    particle and are judged by 512, as published (Gatopoulos 2020, chapter 6). Another objective
    that is asked for has the particles of all models.

    Args:
        objective: the one that is asked for.
    """
    usual, judged = ObjectiveConfig(), EvaluationConfig().eval_particles
    name, particles = objective or usual.name, usual.num_particles
    if pair.architecture.of_images:
        judged = IMAGE_PARTICLES
        if objective in (None, "elbo"):
            name, particles = "elbo", 1
    return {"objective": name, "num_particles": particles, "eval_particles": judged}


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
