"""The settings of training: how long, in what batches, with which optimiser and schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyro_vae.options import option, resolved
from pyro_vae.training.optimisation import GRADIENTS, OPTIMISERS, OptimiserSettings
from pyro_vae.training.recipes import RECIPES
from pyro_vae.training.schedules import (
    LR_SHAPES,
    Cosine,
    Decay,
    LinearWarmUp,
    Stages,
    shaped,
    stages,
)


@dataclass(frozen=True)
class TrainingConfig:
    """How long, in what batches and with which optimiser; None where the recipe decides."""

    annealing: Mapping[str, tuple[float, float, float]] | None = option(
        None,
        "beta of a level, linear over a share of training; repeatable (default: z2=0.1:1:0.5 for "
        "models with a z2)",
        flag="--anneal",
        metavar="LEVEL=START:END:SHARE",
        action="append",
    )
    recipe: str | None = option(
        None,
        f"{', '.join(RECIPES)}: epochs, batch size and optimiser, which the flags below change one "
        "by one (default: the preset's)",
        metavar="NAME",
    )
    epochs: int | None = option(
        None,
        "learning rates that fall in stages run through all of them in N (default: the recipe's)",
        kind=int,
        metavar="N",
        may_change=True,
    )
    max_minutes: float | None = option(
        None,
        "stop training after M minutes, with a checkpoint",
        kind=float,
        metavar="M",
        may_change=True,
    )
    patience: int | None = option(
        None,
        "stop after N epochs without a better bound L_k of the validation data; the weights of the "
        "best epoch are kept, judged and exported; epochs with a rising beta do not count "
        "(default: the recipe's)",
        kind=int,
        metavar="N",
    )
    batch_size: int | None = option(None, "default: the recipe's", kind=int, metavar="B")
    optimiser_name: str | None = option(
        None,
        f"{' or '.join(OPTIMISERS)} (default: the recipe's)",
        name="optimiser",
        metavar="NAME",
    )
    lr: float | None = option(
        None,
        "learning rate, the largest one where it has a shape: it overrides the stages of a recipe "
        "(default: the recipe's)",
        kind=float,
    )
    lr_shape: str | None = option(
        None,
        f"{LR_SHAPES}: the rate rises from 0 over a SHARE of training and falls back to 0 along "
        "half a cosine, or every step multiplies it by FACTOR (default: the recipe's)",
        metavar="SHAPE",
    )
    lr_stages: tuple[float, ...] | None = option(None, "learning rates of the stages", hidden=True)
    adam_beta1: float | None = option(
        None,
        "decay of the running mean of the gradient, of Adamax too (default: the recipe's)",
        kind=float,
        metavar="B",
    )
    adam_eps: float | None = option(
        None, "eps of Adam or Adamax (default: the recipe's)", kind=float, metavar="E"
    )
    gradient: str | None = option(
        None,
        f"{' or '.join(GRADIENTS)} over the batch, for the optimiser (default: the recipe's)",
        metavar="HOW",
    )
    second_moment: float | None = option(
        None,
        "Adam's second moment before the first step (default: the recipe's)",
        kind=float,
        metavar="V",
    )
    clip_norm: float | None = option(
        None,
        "clip gradients at this norm per datum (default: the recipe's)",
        kind=float,
        metavar="G",
    )
    skip_norm: float | None = option(
        None,
        "skip steps above this norm per datum (default: the recipe's)",
        kind=float,
        metavar="G",
    )

    @property
    def optimiser(self) -> OptimiserSettings:
        """The optimiser's settings; the learning rate is the first one where there are stages."""
        beta2 = OptimiserSettings().betas[1]  # that of every recipe
        return OptimiserSettings(
            name=self.optimiser_name or "adam",  # runs of earlier versions do not say
            lr=self.lr_stages[0] if self.lr_stages else resolved(self.lr),
            betas=(resolved(self.adam_beta1), beta2),
            eps=resolved(self.adam_eps),
            gradient=resolved(self.gradient),
            second_moment=resolved(self.second_moment),
            clip_norm=resolved(self.clip_norm),
            skip_norm=resolved(self.skip_norm),
        )

    @property
    def lr_schedule(self) -> Stages | Cosine | Decay | None:
        """The learning rate over the epochs; None where it is constant."""
        if self.lr_stages is None:
            return shaped(self.lr_shape, resolved(self.lr))
        return stages(resolved(self.epochs), self.lr_stages)

    @property
    def schedules(self) -> dict[str, LinearWarmUp]:
        """Level -> schedule of its beta."""
        return {name: LinearWarmUp(*numbers) for name, numbers in (self.annealing or {}).items()}
