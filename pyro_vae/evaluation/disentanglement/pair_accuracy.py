"""The disentanglement score of Higgins et al. 2017: which factor do pairs of images share?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.disentanglement.code_arrays import check_codes, check_factors
from pyro_vae.evaluation.statistics import Mean, mean_and_error

BATCH = 64
_CHUNK = 2_000_000  # numbers of pairs held at once
_MAX_ITERATIONS = 200  # separable points never quite converge


@dataclass(frozen=True)
class PairScore:
    """Accuracies of the classifier over repeats.

    Attributes:
        values: (R,), of each repeat.
        chance: one over the number of factors, which a code that says nothing reaches.
        batch: pairs behind a point. num_train, num_test: points of a repeat.
    """

    values: np.ndarray
    chance: float
    batch: int
    num_train: int
    num_test: int

    @property
    def score(self) -> Mean:
        """Mean over the repeats with its standard error: of images, pairs and fits.

        The repeats divide the same images into other halves, so what other images would change is
        in the error in part only. NaN for one repeat.
        """
        return mean_and_error(self.values)


def pair_score(
    means: np.ndarray,
    factors: np.ndarray,
    *,
    batch: int = BATCH,
    num_train: int = 10_000,
    num_test: int = 5_000,
    repeats: int = 3,
    seed: int = 0,
) -> PairScore:
    """Accuracy of a linear classifier that names the factor which pairs of images share.

    A point of the classifier is made so (Higgins et al. 2017, section 3,
    https://openreview.net/forum?id=Sy2fzU9gl): pick a factor y; pick ``batch`` pairs (i, j) of
    images that agree in y and are chosen independently otherwise; the features are
    ``mean over pairs |z_i - z_j|`` of each unit, and y the label. The classifier is
    scikit-learn's ``LogisticRegression`` (C = 1) on the features as they are: in units of the
    prior, so that units that hardly move at all hardly count. Images are halved in each repeat:
    pairs of one half are fitted to, pairs of the other scored.

    **What it cannot see.** *A missing factor*: where pairs share one that no unit tells, no feature
    is small, and the classifier finds that factor by exclusion: codes without one of five factors
    score 1. *Mixed axes*: it may combine units, so a rotated code scores nearly as high as the
    factors themselves; with ``batch`` = 1 it is less sure. So read it beside
    :func:`information_gap` and :func:`factor_readout`, which see both.

    Args:
        means: (N, U), E[z | x] of N images.
        factors: (N, F), the value of each factor, whole.
        batch: pairs behind a point. num_train, num_test: points of each repeat.
        repeats: halvings, pairs and fits.
        seed: of all these.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, or fewer than four images
            of some value of a factor.
    """
    means = check_codes(means)
    factors = check_factors(factors, len(means))
    for name, number in (
        ("batch", batch),
        ("num_train", num_train),
        ("num_test", num_test),
        ("repeats", repeats),
    ):
        check_count(name, number)
    if factors.shape[1] < 2:
        raise InputError("the score tells factors apart and wants at least two; got one")
    scores = np.array(
        [
            _accuracy(
                means, factors, batch, (num_train, num_test), numpy_generator(seed, "pairs", repeat)
            )
            for repeat in range(repeats)
        ]
    )
    return PairScore(scores, 1 / factors.shape[1], batch, num_train, num_test)


def _accuracy(
    means: np.ndarray,
    factors: np.ndarray,
    batch: int,
    sizes: tuple[int, int],
    generator: np.random.Generator,
) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    halves = np.array_split(generator.permutation(len(means)), 2)
    points = [
        _points(means[half], factors[half], batch, size, generator)
        for half, size in zip(halves, sizes, strict=True)
    ]
    classifier = LogisticRegression(max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(*points[0])
    return float(classifier.score(*points[1]))


def _points(
    means: np.ndarray, factors: np.ndarray, batch: int, size: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Features (size, U) and labels (size,)."""
    shared = generator.permutation(np.arange(size) % factors.shape[1])  # as many of each
    features = np.empty((size, means.shape[1]))
    for factor, column in enumerate(factors.T):
        of_factor = np.flatnonzero(shared == factor)
        pairs = _Agreeing(column)
        step = max(1, _CHUNK // (batch * means.shape[1]))
        for part in np.split(of_factor, range(step, len(of_factor), step)):
            first, second = pairs.draw((len(part), batch), generator)
            features[part] = np.abs(means[first] - means[second]).mean(1)
    return features, shared


class _Agreeing:
    """Pairs of two different images that have the same value of one factor."""

    def __init__(self, values: np.ndarray) -> None:
        self._order = np.argsort(values, kind="stable")
        _, starts, counts = np.unique(values[self._order], return_index=True, return_counts=True)
        if counts.min() < 2:
            raise InputError(
                "pairs want two images of each value of a factor, in each half of all images; of "
                f"{len(values)} one is the only one with its value: give more images"
            )
        self._starts, self._counts = np.repeat(starts, counts), np.repeat(counts, counts)

    def draw(
        self, shape: tuple[int, int], generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the first and of the second image of each pair."""
        first = generator.integers(len(self._order), size=shape)
        start, count = self._starts[first], self._counts[first]
        # One of the others of the same value: those before the first, then those after it.
        other = (generator.random(shape) * (count - 1)).astype(np.int64)
        second = start + other + (other >= first - start)
        return self._order[first], self._order[second]
