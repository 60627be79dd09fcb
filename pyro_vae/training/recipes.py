"""Training recipes: those of the papers by name, and those that the presets of the models use.

Burda et al. 2016: https://arxiv.org/abs/1509.00519. Tomczak and Welling 2018:
https://arxiv.org/abs/1705.07120. Vas 2024, Arnal et al. 2021 and Gatopoulos 2020:
docs/references.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyro_vae.errors import check_choice
from pyro_vae.programs import check_preset
from pyro_vae.training.optimisation import OptimiserSettings
from pyro_vae.training.schedules import (
    BURDA_RATES,
    MLMI4_RATES,
    Cosine,
    Decay,
    Stages,
    shaped,
    stages,
)


@dataclass(frozen=True)
class Recipe:
    """How long, in what batches and with which optimiser a model is trained.

    Attributes:
        epochs: of the whole recipe; a shorter training keeps the stages, see :meth:`lr_schedule`.
        batch_size, optimiser: data of a step, and what is done with their gradient.
        stages: learning rates of the stages that training goes through; none for the one of the
            optimiser.
        lr_shape: how that one learning rate moves, in the words of ``schedules.shaped``.
        annealing: level -> start, end and share of its beta; None for ``default_annealing``.
        warm_up: start, end and share of the beta of every level there is, instead of ``annealing``.
        patience: of early stopping, epochs; None to train to the end.
    """

    epochs: int
    batch_size: int
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    stages: tuple[float, ...] | None = None
    lr_shape: str = "constant"
    annealing: Mapping[str, tuple[float, float, float]] | None = None
    warm_up: tuple[float, float, float] | None = None
    patience: int | None = None

    def annealing_of(self, num_levels: int) -> Mapping[str, tuple[float, float, float]] | None:
        """Level -> start, end and share of its beta in a model of so many levels; None likewise."""
        if self.warm_up is not None:
            return {f"z{level + 1}": self.warm_up for level in range(num_levels)}
        return self.annealing if num_levels > 1 else None

    def lr_schedule(self, epochs: int | None = None) -> Stages | Cosine | Decay | None:
        """What :func:`pyro_vae.fit` wants as ``lr_schedule`` for so many epochs, default all."""
        if self.stages is None:
            return shaped(self.lr_shape, self.optimiser.lr)
        return stages(self.epochs if epochs is None else epochs, self.stages)


_BURDA_ADAM: Mapping[str, Any] = {"lr": BURDA_RATES[0], "eps": 1e-4, "gradient": "sum"}

RECIPES = {
    # Burda et al. 2016, section 5 and their code: Adam's betas are those of the text.
    "burda": Recipe(3_280, 20, OptimiserSettings(**_BURDA_ADAM), BURDA_RATES),
    # As the code has it, which differs from the text in beta1 and in how Adam starts.
    "burda-code": Recipe(
        3_280,
        20,
        OptimiserSettings(**_BURDA_ADAM, betas=(0.99, 0.999), second_moment=1.0),
        BURDA_RATES,
    ),
    # Arnal et al. 2021, section 3.3: rates ten times smaller, mean gradients, larger batches.
    "mlmi4": Recipe(3_280, 100, OptimiserSettings(lr=MLMI4_RATES[0], eps=1e-4), MLMI4_RATES),
    # Vas 2024, section 5.1; clipping and skipping as its authors run it.
    "vas": Recipe(5_000, 400, OptimiserSettings(lr=1e-4, skip_norm=1100.0)),
    # Tomczak and Welling 2018 and their code: 100 of the 2000 epochs are warm-up. Their Adam also
    # divides gradients by their norms, part by part, which is not done here.
    "vampprior": Recipe(
        2_000, 100, OptimiserSettings(lr=5e-4), warm_up=(0.0, 1.0, 0.05), patience=50
    ),
    # Gatopoulos 2020, chapter 6: all epochs are trained, and the best validation bound is kept.
    "srvae": Recipe(
        2_000,
        32,
        OptimiserSettings(name="adamax", lr=2e-3, eps=1e-7),
        lr_shape="decay:0.999999:1e-4",
        patience=2_000,
    ),
    # Minutes on a CPU: from weights that the data gave (experiments/README.md compares), and from
    # random ones.
    "minutes-from-data": Recipe(
        4,
        50,
        OptimiserSettings(lr=3e-4),
        lr_shape="cosine:0.1",
        annealing={"z2": (0.5, 1.0, 0.5)},
    ),
    "minutes-patches": Recipe(10, 50, OptimiserSettings(lr=1e-3)),
    "minutes-digits": Recipe(30, 100, OptimiserSettings(lr=1e-3)),
    "minutes-images": Recipe(10, 32, OptimiserSettings(lr=2e-3), lr_shape="cosine:0.1"),
    # Without a warm-up of all levels z2 stays empty under a learned prior, and the priors' order is
    # another one.
    "minutes-warm-up": Recipe(
        15, 100, OptimiserSettings(lr=1e-3), lr_shape="cosine", warm_up=(0.01, 1.0, 0.5)
    ),
}

_ONCE_CALLED = {"s0": "vas"}  # up to version 0.4

_PATCHES = {"small": "minutes-patches", "paper": "vas"}
_FROM_DATA = {"small": "minutes-from-data", "paper": "vas"}
_DIGITS = {"small": "minutes-digits", "paper": "mlmi4"}
_LEARNED_PRIORS = {"small": "minutes-warm-up", "paper": "vampprior"}
_IMAGES = {
    "small": "minutes-images",
    "paper": "srvae",
    "conv": "minutes-images",
    "conv-gated": "minutes-images",
    "conv-small": "minutes-images",
    "srvae": "srvae",
}
_OF_MODEL = {
    "td": _PATCHES,
    "sparse": _PATCHES,
    "burda1": _DIGITS,
    "burda2": _DIGITS,
    "planar": _DIGITS,
    "vamp": _LEARNED_PRIORS,
    "image": _IMAGES,
    "ssvae": _IMAGES,
}


def recipe_name(model: str, preset: str = "small", init: str = "random") -> str:
    """The name of the recipe of a named model that starts so, one of ``RECIPES``."""
    check_preset(model, preset)
    recipes = _OF_MODEL[model]
    if recipes is _PATCHES and init == "data":
        recipes = _FROM_DATA
    return recipes[preset]


def named_recipe(name: str) -> Recipe:
    """The recipe of this name; InputError lists the names there are."""
    return RECIPES[check_choice("recipe", _ONCE_CALLED.get(name, name), RECIPES)]


def recipe(model: str, preset: str = "small") -> Recipe:
    """The recipe of a named model: ``paper`` as published, ``small`` for minutes on a CPU."""
    return named_recipe(recipe_name(model, preset))
