"""Which units carry the label: units added one by one, forward selection (Vas 2024, 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from analysis.measures.decoding import (
    REPEATS,
    check_classes,
    check_labelled,
    decode,
    fit,
    largest_share,
)
from pyro_vae.errors import InputError, check_count, check_positive

MIN_GAIN = 0.01  # accuracy that a unit must add to be called selective
FOLDS = 3


@dataclass(frozen=True)
class Selection:
    """Result of :func:`forward_selection`.

    Attributes:
        units: those selected, in the order in which they were.
        steps: a row per step: ``step`` from 1, ``unit``, ``accuracy`` (cross-validated, with this
            unit), ``gain`` over the step before, ``accepted``; the last row may be the one refused.
        single: (U,), cross-validated accuracy of each unit alone; nan where it is no candidate.
        chance: share of the most frequent label, where the first gain starts.
    """

    units: tuple[int, ...]
    steps: pd.DataFrame
    single: np.ndarray
    chance: float


def forward_selection(
    train: np.ndarray,
    labels: np.ndarray,
    *,
    candidates: Sequence[int] | None = None,
    max_units: int | None = None,
    min_gain: float = MIN_GAIN,
    folds: int = FOLDS,
    seed: int = 0,
) -> Selection:
    """Greedy choice of the units a logistic regression needs: the texture-selective units.

    Each step adds the unit with which the regression is most accurate on held-out rows, and the
    search ends before a unit that gains less than ``min_gain``. The held-out part goes round
    ``folds`` stratified parts of the training rows, so that all of them count: the best of many
    useless units gains up to about two standard errors by luck, which must stay below ``min_gain``.
    Equal accuracies are told apart by the log-loss, never by the units' order. Test rows are not
    looked at. (Vas 2024, Table 5.2, does not say how it chose.)

    Args:
        train: (N, U). labels: (N,).
        candidates: units to choose from, all by default. max_units: at most so many are chosen.
        min_gain: accuracy, a share. folds: parts. seed: of the parts.

    Raises:
        InputError: as :func:`~analysis.measures.decoding.decode`; an unknown candidate; fewer rows
            of a class than folds; no candidate that varies.
    """
    train, labels = check_labelled("training", train, labels)
    check_count("number of folds", folds, 2)
    check_positive("min_gain", min_gain)
    check_classes(labels, max(folds, 2))
    remaining = _varying(train, candidates)
    limit = len(remaining) if max_units is None else check_count("max_units", max_units)
    parts = _standardised_parts(train, labels, folds, seed)
    single = np.full(train.shape[1], np.nan)
    chosen: list[int] = []
    rows = []
    chance = before = largest_share(labels)
    while remaining and len(chosen) < limit:
        scores = {unit: _score(parts, [*chosen, unit]) for unit in remaining}
        if not chosen:
            single[remaining] = [scores[unit][0] for unit in remaining]
        best = max(remaining, key=scores.__getitem__)
        accuracy = scores[best][0]
        accepted = accuracy - before >= min_gain
        rows.append((len(rows) + 1, best, accuracy, accuracy - before, accepted))
        if not accepted:
            break
        chosen.append(best)
        remaining.remove(best)
        before = accuracy
    steps = pd.DataFrame(rows, columns=["step", "unit", "accuracy", "gain", "accepted"])
    return Selection(tuple(chosen), steps, single, chance)


def accuracy_as_units_are_added(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    order: Sequence[int],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> pd.DataFrame:
    """Test accuracy of the first 1, 2, ... units of ``order`` (Vas 2024, section 5.3).

    An order that was itself found on labels must come from the training rows only.

    Returns:
        a row per number of units: ``units`` (how many), ``unit`` (the one added), ``accuracy`` and
        ``sd`` over the repeats.

    Raises:
        InputError: as :func:`~analysis.measures.decoding.decode`; an empty order, or one that names
            an unknown unit or one twice.
    """
    order = _known(order, np.shape(train)[1])
    rows = []
    for count, unit in enumerate(order, start=1):
        kept = order[:count]
        found = decode(
            np.asarray(train)[:, kept],
            train_labels,
            np.asarray(test)[:, kept],
            test_labels,
            repeats=repeats,
            seed=seed,
            null=False,
        )
        rows.append((count, unit, found.mean, found.sd))
    return pd.DataFrame(rows, columns=["units", "unit", "accuracy", "sd"])


def selective_accuracy(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    selected: Sequence[int],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> pd.DataFrame:
    """Test accuracy from the selected units, from the others, and from as many at random.

    Vas 2024, Table 5.3. The random units, drawn from all and anew for every repeat, are what a
    choice that knows nothing of the labels reaches with the same number.

    Returns:
        a row per group and repeat: ``group`` (selective, other, random), ``repeat``, ``units`` (how
        many), ``accuracy``. Where every unit is selected there is no group ``other``.

    Raises:
        InputError: as :func:`~analysis.measures.decoding.decode`; no selected unit, or an unknown
            one.
    """
    selected = _known(selected, np.shape(train)[1])
    others = [unit for unit in range(np.shape(train)[1]) if unit not in set(selected)]
    parts = []
    for group, units in (("selective", selected), ("other", others)):
        if not units:
            continue
        found = decode(
            np.asarray(train)[:, units],
            train_labels,
            np.asarray(test)[:, units],
            test_labels,
            repeats=repeats,
            seed=seed,
            null=False,
        )
        parts.append(_group(group, len(units), found.accuracy))
    drawn = random_units_accuracy(
        train, train_labels, test, test_labels, len(selected), repeats=repeats, seed=seed
    )
    parts.append(_group("random", len(selected), drawn))
    return pd.concat(parts, ignore_index=True)


def random_units_accuracy(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    count: int,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> np.ndarray:
    """Test accuracy (repeats,) from ``count`` columns drawn at random, anew for every repeat."""
    units = np.shape(train)[1]
    if not 1 <= count <= units:
        raise InputError(f"{count} of {units} units cannot be drawn; allowed: 1 to {units}")
    generator = np.random.default_rng(seed)
    found = []
    for repeat in range(repeats):
        kept = generator.choice(units, count, replace=False)
        # The subsample changes with the units, as it does between the repeats of one decoder.
        decoding = decode(
            np.asarray(train)[:, kept],
            train_labels,
            np.asarray(test)[:, kept],
            test_labels,
            repeats=1,
            seed=seed + repeat,
            null=False,
        )
        found.append(decoding.mean)
    return np.array(found)


def most_certain_units(
    sd: np.ndarray, count: int = 2, candidates: Sequence[int] | None = None
) -> list[int]:
    """The units with the lowest posterior variance, averaged over the data; lowest first.

    Vas 2024 draws its scatters on two of them (Figures 5.12, 5.21).

    Args:
        sd: (N, U), posterior standard deviations. candidates: units to choose from, all by default.

    Raises:
        InputError: fewer than ``count`` candidates.
    """
    variance = np.square(np.asarray(sd, dtype=np.float64)).mean(axis=0)
    units = np.arange(len(variance)) if candidates is None else np.asarray(candidates, dtype=int)
    if len(units) < count:
        raise InputError(f"{len(units)} units to choose from, {count} are wanted")
    return units[np.argsort(variance[units], kind="stable")[:count]].tolist()


def _varying(train: np.ndarray, candidates: Sequence[int] | None) -> list[int]:
    units = range(train.shape[1]) if candidates is None else _known(candidates, train.shape[1])
    varying = [unit for unit in units if np.ptp(train[:, unit]) > 0]
    if not varying:
        raise InputError(f"none of the {len(units)} units varies over the training rows")
    return varying


def _known(units: Sequence[int], count: int) -> list[int]:
    units = [int(unit) for unit in units]
    if not units or len(set(units)) < len(units) or not set(units) <= set(range(count)):
        raise InputError(f"units must be different ones of 0 to {count - 1}, got {units}")
    return units


def _standardised_parts(train: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> list:
    """Per fold: rows and labels to fit, rows and labels held out, scaled by the former."""
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    parts = []
    for rows, held_out in splitter.split(train, labels):
        scaler = StandardScaler().fit(train[rows])
        fitted, unseen = scaler.transform(train[rows]), scaler.transform(train[held_out])
        parts.append((fitted, labels[rows], unseen, labels[held_out]))
    return parts


def _score(parts: list, units: list[int]) -> tuple[float, float]:
    """Accuracy on the held-out rows of all folds, and minus their log-loss in nats."""
    right, log_likelihood, total = 0, 0.0, 0
    for fitted, labels, unseen, truth in parts:
        classifier, _ = fit(fitted[:, units], labels)
        log_probability = classifier.predict_log_proba(unseen[:, units])
        codes = np.searchsorted(classifier.classes_, truth)
        right += int((log_probability.argmax(axis=1) == codes).sum())
        log_likelihood += float(log_probability[np.arange(len(codes)), codes].sum())
        total += len(truth)
    return right / total, log_likelihood / total


def _group(name: str, units: int, accuracy: np.ndarray) -> pd.DataFrame:
    repeats = np.arange(len(accuracy))
    return pd.DataFrame({"group": name, "repeat": repeats, "units": units, "accuracy": accuracy})
