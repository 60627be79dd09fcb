"""Training recipes that belong to the named models and presets."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyro_vae.architectures import MODELS, PRESETS
from pyro_vae.errors import check_choice
from pyro_vae.training.optimisation import OptimiserSettings


@dataclass(frozen=True)
class Recipe:
    """How long, in what batches and with which optimiser a model is trained."""

    epochs: int
    batch_size: int
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)


# S0, section 5.1: Adam 1e-4, batch 400, 5000 epochs; clipping and skipping as its authors run it.
_S0 = Recipe(5_000, 400, OptimiserSettings(lr=1e-4, skip_norm=1100.0))
# S4, section 3.3: batch 100, Adam 1e-4 with eps 1e-4, 3280 epochs (the smaller learning rates of
# its later stages are not part of this preset).
_S4 = Recipe(3_280, 100, OptimiserSettings(lr=1e-4, eps=1e-4))
_MINUTES_PATCHES = Recipe(10, 50, OptimiserSettings(lr=1e-3))
_MINUTES_DIGITS = Recipe(30, 100, OptimiserSettings(lr=1e-3))

_RECIPES = {
    "td": {"small": _MINUTES_PATCHES, "paper": _S0},
    "sparse": {"small": _MINUTES_PATCHES, "paper": _S0},
    "burda1": {"small": _MINUTES_DIGITS, "paper": _S4},
    "burda2": {"small": _MINUTES_DIGITS, "paper": _S4},
}


def recipe(model: str, preset: str = "small") -> Recipe:
    """The recipe of a named model: ``paper`` as published, ``small`` for minutes on a CPU."""
    check_choice("model", model, MODELS)
    return _RECIPES[model][check_choice("preset", preset, PRESETS)]
