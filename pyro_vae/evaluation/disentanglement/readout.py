"""How well each factor is read from a code, so that one which is missing shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyro_vae.datasets.factors import Factor
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.errors import InputError
from pyro_vae.evaluation.disentanglement.code_arrays import check_codes, check_factors
from pyro_vae.evaluation.statistics import Mean, mean_and_error

FOLDS = 2
_TREES = {"n_estimators": 100, "min_samples_leaf": 3}


@dataclass(frozen=True)
class FactorReadout:
    """How well one factor is read from the code of an image that was not fitted to.

    Attributes:
        factor: which.
        linear: by regression, logistic for classes.
        forest: by 100 random trees, which need no straight line.
        chance: of the best answer that ignores the code: the largest share of a class, else 0.
    """

    factor: Factor
    linear: Mean
    forest: Mean
    chance: float

    @property
    def measure(self) -> str:
        """What the numbers are."""
        return "accuracy" if self.factor.kind == "class" else "R2"


def factor_readout(
    codes: np.ndarray, factors: np.ndarray, described: Sequence[Factor], *, seed: int = 0
) -> tuple[FactorReadout, ...]:
    """Accuracy of each class, R^2 of each ordered or circular factor, from the whole code.

        R^2 = 1 - mean_n |v_n - v^(z_n)|^2 / mean_n |v_n - mean v|^2

    with v on the unit circle where it is circular. Images are halved, and each half is read by what
    was fitted to the other; errors are over images, with the fits as they are. 0, or less by what
    was fitted to chance, where the code says nothing of a factor.

    Args:
        codes: (N, U), a draw of q(z | x) for each image. Means of units that have collapsed to the
            prior can still be read, to any number of digits: draws cannot.
        factors: (N, F), whole numbers from 0.
        described: the F factors.
        seed: of the halves and of the trees.

    Raises:
        InputError: shapes that do not fit, or numbers that are not finite.
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    codes = check_codes(codes)
    factors = check_factors(factors, len(codes))
    if len(described) != factors.shape[1]:
        raise InputError(f"{factors.shape[1]} factors, but {len(described)} are described")
    folds = np.array_split(numpy_generator(seed, "readout").permutation(len(codes)), FOLDS)
    found = []
    for factor, values in zip(described, factors.T, strict=True):
        if factor.kind == "class":
            makers = (
                lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)),
                lambda: ExtraTreesClassifier(**_TREES, random_state=seed),
            )
            linear, forest = (_hits(codes, values, make, folds) for make in makers)
            chance = float(np.bincount(values).max() / len(values))
        else:
            targets = factor.coordinates(values)
            makers = (LinearRegression, lambda: ExtraTreesRegressor(**_TREES, random_state=seed))
            linear, forest = (_explained(codes, targets, make, folds) for make in makers)
            chance = 0.0
        found.append(FactorReadout(factor, mean_and_error(linear), mean_and_error(forest), chance))
    return tuple(found)


def _hits(
    codes: np.ndarray, values: np.ndarray, make: Callable[[], Any], folds: Sequence[np.ndarray]
) -> np.ndarray:
    """Whether the class of each image is read, (N,)."""
    return (_read(codes, values, make, folds) == values).astype(float)


def _explained(
    codes: np.ndarray, targets: np.ndarray, make: Callable[[], Any], folds: Sequence[np.ndarray]
) -> np.ndarray:
    """(N,), whose mean is R^2."""
    read = _read(codes, targets, make, folds).reshape(targets.shape)
    around = np.square(targets - targets.mean(0)).sum(1).mean()
    return 1 - np.square(targets - read).sum(1) / around


def _read(
    codes: np.ndarray, targets: np.ndarray, make: Callable[[], Any], folds: Sequence[np.ndarray]
) -> np.ndarray:
    """What is read of each image by what was fitted to the other folds."""
    read = np.empty(targets.shape)
    for fold in folds:
        others = np.setdiff1d(np.arange(len(codes)), fold)
        answers = make().fit(codes[others], targets[others].squeeze()).predict(codes[fold])
        read[fold] = answers.reshape(read[fold].shape)
    return read
