"""What a trained pair should not be used for, as far as its own files tell: a part of its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyro_vae.evaluation.statistics import Mean

FEW_TEST_DATA = 100
MOST_UNSURE = 0.5  # share of data with k-hat above 0.7


def not_for(config: Any, test: Mapping[str, Mean], test_data: int | None) -> Iterator[str]:
    """Sentences, the general ones first.

    Args:
        config: of the run.
        test: name -> estimate; empty where the run was not evaluated.
        test_data: how many data are behind them.
    """
    name = config.data.dataset
    yield (
        f"Images of another kind, size or preprocessing than those of {name}: neither codes nor "
        "bounds mean anything there, and nothing warns."
    )
    yield (
        "Telling unfamiliar images from familiar ones by their likelihood: models of this kind "
        "give some unfamiliar images higher ones (Nalisnick et al. 2019, "
        "https://arxiv.org/abs/1810.09136)."
    )
    yield (
        "Evidence: what is drawn, reconstructed or filled in is what the model finds likely, not "
        "what was there."
    )
    yield (
        "Decisions about people: nothing was measured here of how errors differ between groups, "
        "and codes may hold what the images tell of persons."
    )
    if not test:
        yield "Anything that rests on a number: the run was not evaluated."
        return
    yield (
        "Claims that this way of training is better than another: they want several seeds, trained "
        "and judged alike, and this is one run."
    )
    unsure = test.get("khat_above_0.7")
    if unsure is not None and unsure.mean > MOST_UNSURE:
        yield (
            f"Comparing log-likelihoods with those of other models: for {unsure.mean:.0%} of the "
            "test data k-hat is above 0.7, so L_K is below log p(x) by an unknown amount, which "
            "differs between models. `pyro-vae bracket` bounds it; ELBOs compare as they are."
        )
    if test_data is not None and test_data < FEW_TEST_DATA:
        yield f"Small differences: {test_data} test data are few, also for their standard errors."
    if config.pixels.drawn:
        yield (
            "Grey images: the pixels that the model knows are 0 or 1, drawn with the grey level as "
            "probability, and its nats are of those."
        )
