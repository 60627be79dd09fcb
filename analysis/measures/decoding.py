"""How well a label is decoded from a representation: multinomial logistic regression.

The classifier is scikit-learn's ``LogisticRegression`` (lbfgs, C = 1, squared-norm penalty) on
units standardised with the mean and standard deviation of its own training rows. lbfgs is
deterministic, so fits are repeated on stratified subsamples of the training rows.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.preprocessing import StandardScaler

from pyro_vae.errors import InputError, check_count

REPEATS = 5
SHARE = 0.8  # of the training rows that each repeat is fitted on
PENALTY = 1.0  # C of scikit-learn: the weight of the log-likelihood against |w|^2 / 2
MAX_ITERATIONS = 1_000
MIN_PER_CLASS = 5  # training rows: the least of which 0.8 and the rest are both whole


@dataclass(frozen=True)
class Decoding:
    """Repeated fits of one decoder and what they get right on the test rows.

    Attributes:
        classes: (C,), the labels in the order of the confusion matrix.
        accuracy: (repeats,), share of the test rows that are decoded rightly.
        train_accuracy: (repeats,), the same of the rows fitted on; far above ``accuracy`` where
            there are too few rows for so many units.
        null: (repeats,), test accuracy after a fit to shuffled training labels; empty if not asked.
        confusion: (C, C), share of the test rows of class i (row) decoded as class j, averaged over
            the repeats; nan in the rows of classes that the test rows lack.
        chance: share of the largest class among the test rows, which a constant answer reaches.
        num_train, num_test: rows that each repeat is fitted on, and tested on.
        num_units: columns.
        unconverged: repeats in which lbfgs stopped at ``MAX_ITERATIONS``.
    """

    classes: np.ndarray
    accuracy: np.ndarray
    train_accuracy: np.ndarray
    null: np.ndarray
    confusion: np.ndarray
    chance: float
    num_train: int
    num_test: int
    num_units: int
    unconverged: int

    @property
    def mean(self) -> float:
        """Accuracy, averaged over the repeats."""
        return float(self.accuracy.mean())

    @property
    def sd(self) -> float:
        """Standard deviation of the accuracy over the repeats, nan for one repeat.

        The repeats share rows (two subsamples of 0.8 have 0.8 of their rows in common), so it
        understates how much another training set would change.
        """
        return float(self.accuracy.std(ddof=1)) if len(self.accuracy) > 1 else float("nan")

    @property
    def standard_error(self) -> float:
        """sqrt(a (1 - a) / num_test): binomial error of the accuracy, test rows independent.

        Patches cut from the same photograph are not: the true error is larger.
        """
        return binomial_error(self.mean, self.num_test)

    @property
    def chance_error(self) -> float:
        """Binomial standard error of an accuracy at chance level on so many test rows."""
        return binomial_error(self.chance, self.num_test)

    def table(self) -> pd.DataFrame:
        """A row per repeat: ``repeat``, ``accuracy``, ``train_accuracy``, ``null`` (shares)."""
        null = self.null if len(self.null) else np.full(len(self.accuracy), np.nan)
        return pd.DataFrame(
            {
                "repeat": np.arange(len(self.accuracy)),
                "accuracy": self.accuracy,
                "train_accuracy": self.train_accuracy,
                "null": null,
            }
        )


def decode(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    null: bool = True,
) -> Decoding:
    """Fit the decoder on stratified subsamples of the training rows, test it on all test rows.

    Vas 2024, Tables 5.1, 5.3, 5.4, 5.6 and Figures 5.13, 5.20. A constant unit adds nothing; where
    all units are constant the most frequent class is answered.

    Args:
        train: (N, U). train_labels: (N,). test: (M, U). test_labels: (M,).
        repeats: subsamples, each of ``SHARE`` of the rows of every class. seed: of the subsamples
            and of the shuffled labels.
        null: fit to shuffled labels as well, once per repeat.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, fewer than two classes,
            fewer than ``MIN_PER_CLASS`` training rows of a class, a test label that no training row
            has.
    """
    check_count("repeats", repeats)
    train, train_labels = check_labelled("training", train, train_labels)
    test, test_labels = check_labelled("test", test, test_labels)
    classes = check_classes(train_labels)
    if test.shape[1] != train.shape[1]:
        raise InputError(f"test rows have {test.shape[1]} units, training rows {train.shape[1]}")
    unknown = np.setdiff1d(test_labels, classes)
    if len(unknown):
        raise InputError(f"no training row has the test label {unknown[0]}")
    generator = np.random.default_rng(seed)
    subsamples = StratifiedShuffleSplit(n_splits=repeats, train_size=SHARE, random_state=seed)
    scores, nulls, confusion, unconverged = [], [], [], 0
    for rows, _ in subsamples.split(train, train_labels):
        scaler = StandardScaler().fit(train[rows])
        x, y, unseen = scaler.transform(train[rows]), train_labels[rows], scaler.transform(test)
        classifier, converged = fit(x, y)
        unconverged += not converged
        answers = classifier.predict(unseen)
        scores.append((np.mean(answers == test_labels), classifier.score(x, y)))
        confusion.append(_confusion(test_labels, answers, classes))
        if null:
            shuffled, _ = fit(x, generator.permutation(y))
            nulls.append(shuffled.score(unseen, test_labels))
    accuracy, train_accuracy = np.array(scores).T
    return Decoding(
        classes,
        accuracy,
        train_accuracy,
        np.array(nulls),
        np.mean(confusion, axis=0),
        largest_share(test_labels),
        len(x),
        len(test),
        train.shape[1],
        unconverged,
    )


def fit(x: np.ndarray, labels: np.ndarray) -> tuple[LogisticRegression, bool]:
    """The classifier on standardised rows (N, U), and whether lbfgs converged."""
    classifier = LogisticRegression(C=PENALTY, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        # Told by the second value instead.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(x, labels)
    return classifier, bool(classifier.n_iter_.max() < MAX_ITERATIONS)


def largest_share(labels: np.ndarray) -> float:
    """Share of the most frequent label: the accuracy of the best constant answer."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def binomial_error(share: float, count: int) -> float:
    """Standard error of a share of ``count`` independent trials."""
    return float(np.sqrt(share * (1 - share) / count))


def check_labelled(
    what: str, values: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values as float64 (N, U) and labels (N,), or InputError about the ``what`` rows."""
    values, labels = np.asarray(values, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(
            f"{what} values have shape {values.shape}; wanted are (rows, units), at least one each"
        )
    if labels.shape != (len(values),):
        raise InputError(f"{len(values)} {what} rows have labels of shape {labels.shape}")
    if not np.isfinite(values).all() or (labels.dtype.kind == "f" and np.isnan(labels).any()):
        raise InputError(f"{what} values or labels are not all finite numbers")
    return values, labels


def check_classes(labels: np.ndarray, minimum: int = MIN_PER_CLASS) -> np.ndarray:
    """The classes (C,), or InputError for fewer than two, or too few rows of one."""
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"all rows have the label {classes[0]}; decoding wants two or more")
    if counts.min() < minimum:
        raise InputError(
            f"{counts.min()} training rows have the label {classes[counts.argmin()]}; wanted are "
            f"{minimum} or more of each (labels are classes, not measurements)"
        )
    return classes


def _confusion(truth: np.ndarray, answers: np.ndarray, classes: np.ndarray) -> np.ndarray:
    counts = confusion_matrix(truth, answers, labels=classes).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)
