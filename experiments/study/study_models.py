"""The models of the study of TD-IWAE: which cells they are, and which a later call may add."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.campaign.cell import Cell
from pyro_vae.errors import InputError

VANILLA = "vanilla"
MODELS = (VANILLA, "1", "4", "10", "50")  # those of Vas 2024
SEEDS = 3


@dataclass(frozen=True)
class Models:
    """The models of a study.

    Attributes:
        models: "vanilla" (TDVAE, analytic KL), or the number of particles of a TD-IWAE.
        without_annealing: train seed 0 of every model once more without it.
        from_random: train seed 0 of every model once more from random weights.
    """

    models: tuple[str, ...] | None = None
    without_annealing: bool = False
    from_random: bool = False

    @property
    def cells(self) -> list[Cell]:
        cells = [cell_of(model) for model in self.models]
        if self.without_annealing:
            cells += [cell_of(model, annealed=False) for model in self.models]
        if self.from_random:
            cells += [cell_of(model, from_random=True) for model in self.models]
        return cells

    def extended(self, asked: Models, folder: Path) -> Models:
        """With more models or twins; InputError where models are left out."""
        models = self.models
        if asked.models is not None:
            left_out = [model for model in models if model not in asked.models]
            if left_out:
                raise InputError(
                    f"{folder} was planned with models {' '.join(models)}; a resume may add some, "
                    f"not leave out {' '.join(left_out)}"
                )
            models = (*models, *(model for model in asked.models if model not in models))
        return Models(
            models,
            self.without_annealing or asked.without_annealing,
            self.from_random or asked.from_random,
        )


def cell_of(model: str, annealed: bool = True, from_random: bool = False) -> Cell:
    """The cell of a model, one of :attr:`Models.models`, or of one of its twins."""
    vanilla = model == VANILLA
    settings = ({} if annealed else {"annealing": ()}) | ({"init": "random"} if from_random else {})
    twin = ("" if annealed else "-noanneal") + ("-random" if from_random else "")
    return Cell(
        name=f"{model if vanilla else f'k{model}'}{twin}",
        label=model if vanilla else f"k = {model}",
        levels=2,
        objective="elbo-analytic" if vanilla else "iwae",
        num_particles=1 if vanilla else int(model),
        settings=settings,
        most_seeds=1 if twin else None,
    )


def checked_models(given: list[str] | None) -> tuple[str, ...] | None:
    """Names of models, each once; InputError where one is neither vanilla nor a count."""
    if given is None:
        return None
    for model in given:
        if model != VANILLA and not (model.isdecimal() and model == str(int(model)) != "0"):
            raise InputError(
                f"unknown model {model!r}; allowed: {VANILLA}, or a number of particles such as 10"
            )
    return tuple(dict.fromkeys(given))
