"""The models of the study of TD-IWAE: which cells they are, and which a later call may add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from experiments.campaign.cell import Cell
from pyro_vae.errors import InputError, check_positive

VANILLA = "vanilla"
MODELS = (VANILLA, "1", "4", "10", "50")  # those of Vas 2024
# Their objectives are the same in expectation, so a learning rate that suits one alone would pass
# for a difference between them: both are swept over the same rates.
SWEPT = (VANILLA, "1")
SEEDS = 3


@dataclass(frozen=True)
class Models:
    """The models of a study.

    Attributes:
        models: "vanilla" (TDVAE, analytic KL), or the number of particles of a TD-IWAE.
        without_annealing: train seed 0 of every model once more without it.
        from_random: train seed 0 of every model once more from random weights.
        rates: further learning rates, with each of which those of ``SWEPT`` that are among the
            models are trained once more, all seeds.

    Raises:
        InputError: there are rates, and none of the models is swept.
    """

    models: tuple[str, ...] | None = None
    without_annealing: bool = False
    from_random: bool = False
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.rates and self.models is not None and not self.swept:
            raise InputError(
                f"--also-lr is for the models {' and '.join(SWEPT)}, none of which is among "
                f"{' '.join(self.models)}"
            )

    @property
    def swept(self) -> list[str]:
        return [model for model in self.models if model in SWEPT]

    @property
    def cells(self) -> list[Cell]:
        cells = [cell_of(model) for model in self.models]
        if self.without_annealing:
            cells += [cell_of(model, annealed=False) for model in self.models]
        if self.from_random:
            cells += [cell_of(model, from_random=True) for model in self.models]
        return cells + [cell_of(model, rate=rate) for rate in self.rates for model in self.swept]

    def extended(self, asked: Models, folder: Path) -> Models:
        """With more models, twins or rates; InputError where models are left out."""
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
            tuple(dict.fromkeys((*self.rates, *asked.rates))),
        )


def cell_of(
    model: str, annealed: bool = True, from_random: bool = False, rate: float | None = None
) -> Cell:
    """The cell of a model, one of :attr:`Models.models`, or of one of its twins.

    Args:
        rate: Adam's learning rate; None for that of the study.
    """
    vanilla = model == VANILLA
    settings = ({} if annealed else {"annealing": ()}) | ({"init": "random"} if from_random else {})
    twin = ("" if annealed else "-noanneal") + ("-random" if from_random else "")
    swept = {} if rate is None else {"lr": rate}
    return Cell(
        name=f"{model if vanilla else f'k{model}'}{twin}{f'-lr{written(rate)}' if swept else ''}",
        label=model if vanilla else f"k = {model}",
        levels=2,
        objective="elbo-analytic" if vanilla else "iwae",
        num_particles=1 if vanilla else int(model),
        settings=settings | swept,
        most_seeds=1 if twin else None,
    )


def written(rate: float) -> str:
    """A learning rate as 1e-3 or 2.5e-4, every rate in one way only."""
    return f"{Decimal(repr(rate)).normalize():e}"


def checked_rates(given: Sequence[float] | None) -> tuple[float, ...]:
    """Learning rates, each once; InputError where one is not positive."""
    return tuple(dict.fromkeys(check_positive("--also-lr", rate) for rate in given or ()))


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
