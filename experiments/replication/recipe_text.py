"""How a table's cells were trained, in words."""

from __future__ import annotations

from experiments.replication.rebuilt import Rebuilt
from pyro_vae.training.recipes import Recipe


def recipe_lines(rebuilt: Rebuilt) -> list[str]:
    """Recipe, share of it, whose numbers are printed, and how much was judged."""
    table, recipe, name = rebuilt.table, rebuilt.recipe, rebuilt.recipe_name
    settings = table.settings_under(name)
    told = _told(recipe)
    if recipe.warm_up is not None and settings.get("annealing") is None:
        start, end, share = recipe.warm_up
        told += f", beta of every level from {start:g} to {end:g} over {share:.0%} of training"
    if settings.get("binarise"):
        told += f"; binarised: {settings.get('binarise')}"
    return [
        f"recipe `{name}`: {told}",
        f"**{rebuilt.epochs} of the recipe's {recipe.epochs} epochs "
        f"({100 * rebuilt.share:.3g} %)**{_stages(rebuilt)}",
        f"published numbers: {table.regimes.get(name).source}",
        f"likelihoods: {rebuilt.particles} particles, the first {rebuilt.test_size} test images, "
        f"nats; {rebuilt.seeds} seed{'s' if rebuilt.seeds > 1 else ''}",
    ]


def _told(recipe: Recipe) -> str:
    adam = recipe.optimiser
    if recipe.stages is not None:
        rates = ", ".join(f"{rate:.2g}" for rate in recipe.stages)
        return (
            f"batch {recipe.batch_size}, learning rates {rates} in eight stages, Adam eps "
            f"{adam.eps:g}, beta1 {adam.betas[0]:g}, {adam.gradient} of the batch's gradients"
        )
    text = f"batch {recipe.batch_size}, {adam.name.capitalize()}, learning rate {adam.lr:g}"
    if recipe.lr_shape != "constant":
        text += f" along {recipe.lr_shape}"
    if recipe.patience is not None:
        text += f", early stopping after {recipe.patience} epochs"
    return text


def _stages(rebuilt: Rebuilt) -> str:
    """How long each stage lasts, where there are stages."""
    recipe, epochs = rebuilt.recipe, rebuilt.epochs
    if recipe.stages is None:
        return "; all cells alike"
    ends = recipe.lr_schedule(epochs).ends
    lengths = [
        f"{(end - start) * epochs:.1f}" for start, end in zip((0.0, *ends), ends, strict=False)
    ]
    return (
        f": every stage at its published learning rate, of {', '.join(lengths)} epochs "
        "(published: 3^i); all cells alike. Differences from the published numbers are mostly this."
    )
