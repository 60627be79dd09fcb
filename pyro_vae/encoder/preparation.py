"""What the parameters of the estimator and its X are to a run: a configuration and a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyro_vae.datasets import Dataset
from pyro_vae.datasets.arrays import MIN_SCALE
from pyro_vae.datasets.moments import mean_and_scale
from pyro_vae.datasets.preprocessing import ArrayPreprocessing
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.errors import InputError, check_choice, check_count, check_positive
from pyro_vae.objectives import CATALOGUE
from pyro_vae.options import read_part
from pyro_vae.runs import RunConfig, new_config

ORIGIN = "X of HierarchicalVAEEncoder.fit"
_MODEL = "burda1"  # what nobody gave, such as Glorot's initial weights, is that of this named model


def config_of(parameters: Mapping[str, Any], seed: int) -> RunConfig:
    """All settings of a run with the estimator's parameters.

    Raises:
        InputError: a parameter that cannot be used.
    """
    given = dict(parameters)
    for name in ("num_particles", "epochs", "batch_size"):
        given[name] = check_count(name, given[name])
    given["lr"] = float(check_positive("learning_rate", given.pop("learning_rate")))
    share = given.pop("validation_fraction")
    if not 0 <= share < 1:
        raise InputError(f"validation_fraction must lie in [0, 1), got {share!r}")
    latent = tuple(check_count("each number of latent", units) for units in given["latent"])
    if not latent:
        raise InputError("latent must hold the units of at least one level, got none")
    levels = [f"z{level + 1}" for level in range(len(latent))]
    check_choice("level", given.pop("level"), [*levels, "all"])
    objective = given["objective"]
    _, settings = read_part("objective", objective, CATALOGUE)
    for name in ("random_state", "verbose"):
        del given[name]
    return new_config(
        given
        | settings
        | {
            "dataset": ORIGIN,
            "model": _MODEL,
            "latent": latent,
            "hidden": _hidden(given["hidden"]),
            "activation": (given["activation"],),
            "family": (given["family"],),
            "objective": objective.partition(":")[0],
            "eval_particles": given["num_particles"],
            "seed": seed,
            "compile": False,  # whether it pays depends on the clock, and rounds otherwise
        }
    )


def _hidden(given: Sequence[int | str]) -> tuple[str, ...]:
    """Widths (200, 200) or words ("encoders=200", "decoder=linear") as ``--hidden`` has them."""
    words = [word for word in given if isinstance(word, str)]
    widths = [check_count("each width of hidden", w) for w in given if not isinstance(w, str)]
    return (",".join(map(str, widths)), *words) if widths or not words else tuple(words)


def dataset_of(X: np.ndarray, config: RunConfig, held_out: float) -> Dataset:
    """X (N, D) as rows, scaled by those that are trained on.

    Args:
        held_out: share of the rows that become ``valid``, drawn by the seed of ``config``.

    Raises:
        InputError: hardly any variance where X is to be standardised.
    """
    pixels, shape = config.pair.architecture.pixels, X.shape[1:]
    number = int(held_out * len(X))
    order = numpy_generator(config.seed, "split").permutation(len(X)) if number else np.arange(0)
    valid = X[order[:number]]
    train = np.delete(X, order[:number], axis=0)
    mean, scale = mean_and_scale(train) if pixels.standardised else (0.0, 1.0)
    if scale < MIN_SCALE:
        raise InputError(f"the values of X vary by {scale:g} only: zero variance")
    preprocessing = ArrayPreprocessing(pixels, shape, mean, scale, seed=config.seed)
    rows = preprocessing.scaled(train)
    judged = rows[:0]
    if number:
        judged = preprocessing.scaled(valid)
        if pixels.drawn:
            judged = preprocessing.draw(judged, "valid")
    return Dataset(
        config.data.dataset,
        train=rows,
        valid=judged,
        test=rows[:0],
        image_shape=shape,
        pixels=pixels,
        preprocessing=preprocessing,
    )
