"""Training recipes: those of the papers by name, and those that the presets of the models use.

Burda et al. 2016: https://arxiv.org/abs/1509.00519. Vas 2024 and Arnal et al. 2021:
docs/references.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyro_vae.errors import check_choice
from pyro_vae.programs import MODELS, PRESETS
from pyro_vae.training.optimisation import OptimiserSettings
from pyro_vae.training.schedules import (
    BURDA_RATES,
    MLMI4_RATES,
    Cosine,
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
    """

    epochs: int
    batch_size: int
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    stages: tuple[float, ...] | None = None
    lr_shape: str = "constant"
    annealing: Mapping[str, tuple[float, float, float]] | None = None

    def lr_schedule(self, epochs: int | None = None) -> Stages | Cosine | None:
        """What :func:`pyro_vae.fit` wants as ``lr_schedule`` for so many epochs, default all."""
        if self.stages is None:
            return shaped(self.lr_shape, self.optimiser.lr)
        return stages(self.epochs if epochs is None else epochs, self.stages)


_BURDA_ADAM = {"lr": BURDA_RATES[0], "eps": 1e-4, "gradient": "sum"}

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
}

_ONCE_CALLED = {"s0": "vas"}  # up to version 0.4

_PATCHES = {"small": "minutes-patches", "paper": "vas"}
_FROM_DATA = {"small": "minutes-from-data", "paper": "vas"}
_DIGITS = {"small": "minutes-digits", "paper": "mlmi4"}
_OF_MODEL = {
    "td": _PATCHES,
    "sparse": _PATCHES,
    "burda1": _DIGITS,
    "burda2": _DIGITS,
    "planar": _DIGITS,
}


def recipe_name(model: str, preset: str = "small", init: str = "random") -> str:
    """The name of the recipe of a named model that starts so, one of ``RECIPES``."""
    check_choice("model", model, MODELS)
    recipes = _OF_MODEL[model]
    if recipes is _PATCHES and init == "data":
        recipes = _FROM_DATA
    return recipes[check_choice("preset", preset, PRESETS)]


def named_recipe(name: str) -> Recipe:
    """The recipe of this name; InputError lists the names there are."""
    return RECIPES[check_choice("recipe", _ONCE_CALLED.get(name, name), RECIPES)]


def recipe(model: str, preset: str = "small") -> Recipe:
    """The recipe of a named model: ``paper`` as published, ``small`` for minutes on a CPU."""
    return named_recipe(recipe_name(model, preset))
