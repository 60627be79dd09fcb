"""What a run's numbers do not say, and what its pair is not for: parts of its card."""

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


def limits(config: Any, log_likelihood: Mean | None) -> list[str]:
    """What the numbers of a run do not say, in sentences."""
    pixels = config.pixels
    lines = [
        "The standard errors are over the test data of this one run: another seed of the training "
        "gives other parameters, and they do not hold that spread.",
        "The log-likelihood is a lower estimate, whose bias the standard error does not hold. "
        "`pyro-vae bracket` bounds it from both sides on data that the model made.",
        "The test data come from where the training data come from: nothing is known of others.",
        "A higher likelihood is no better representation: what the latents are good for has to be "
        "measured by itself.",
    ]
    if log_likelihood is not None and log_likelihood.monte_carlo_error is not None:
        lines[1] += f" Its Monte Carlo error is {log_likelihood.monte_carlo_error:.3f} nats."
    if config.facts.own_pixels is not None:
        lines.append(
            "Nats are of the programs' own likelihood, which may be one of counts or of densities: "
            "they compare with those of models of the same rows and nothing else."
        )
    elif pixels.whole:
        lines.append(
            f"Nats are of probabilities of {pixels.levels} levels, not of densities: they compare "
            "with those of any model of the same images at the same size."
        )
    elif pixels.standardised:
        lines.append(
            "Nats are densities of scaled pixels here: they compare with runs on data of the same "
            "preprocessing and nothing else."
        )
    return lines
