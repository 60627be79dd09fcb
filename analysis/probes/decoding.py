"""What is decoded of the labels from one run: all that the decoding section draws, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.measures.by_name import Named
from analysis.measures.decoding import decode
from analysis.measures.information import unit_information
from analysis.measures.selection import (
    accuracy_as_units_are_added,
    forward_selection,
    most_certain_units,
    random_units_accuracy,
    selective_accuracy,
)
from analysis.probes.image_rows import first_rows
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity_gap import above_gap
from pyro_vae.evaluation.filters.classes import CLASS, classify

if TYPE_CHECKING:
    from analysis.reporting.study import Subject

NULL_SELECTIONS = 3  # forward selections under shuffled labels
# Greedy search tries every remaining unit at every step; beyond this many it would take minutes.
MAX_CANDIDATES = 40

SPLITS = ("train", "test")
Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def decode_subject(subject: Subject) -> Named:
    """Decoders of the labels from every representation of one run (Vas 2024, sections 5.3 and 5.4).

    Representations R are posterior means, fitted on the labelled training rows and tested on the
    labelled test rows:

    ====================  ======================================================================
    z2, z1                all units of z2; the active units of z1
    z1_all, z1_above_gap  all units of z1; those on the upper side of the largest gap of activity
    z1_localised          active units of z1 whose projective field is localised
    z1_non_localised      those whose field is not
    z1_matched            as many localised units, at random, as there are of the other class
                          (where these are fewer): the same number of features
    z2_pair, z1_pair      the two (active) units with the lowest posterior variance: the scatters
    pixels                the rows of data themselves
    z2_ew, z1_ew          means of q_EW instead of q, where the two differ
    z2_draw, z1_draw      one posterior draw per row instead of the mean
    z2_inactive           the inactive units of z2; z2_inactive_draw: draws of them
    ====================  ======================================================================

    Returns:
        ``classes`` (C,), ``class_names`` (C,), ``chance``, ``chance_error``, ``num_train`` (rows
        of each repeat) and ``num_test``; then, for every part that can be had,

        ==============================  ========================================================
        ``R_accuracy``                  (repeats,), on the test rows
        ``R_train_accuracy``            (repeats,), on the rows fitted on (not z1_matched)
        ``R_null``                      (repeats,), after a fit to shuffled labels (not z1_matched)
        ``R_confusion``                 (C, C), rows true (not z1_matched)
        ``R_units``                     (), number of units
        ``R_unconverged``               (), repeats that did not converge (not z1_matched)
        ``selection_steps``             (S, 5): step, unit, accuracy, gain, accepted
        ``selection_units``             (n,), the selected units of z2
        ``selection_null``              (3,), how many units are selected under shuffled labels
        ``selection_single``            (U,), cross-validated accuracy of single units of z2
        ``groups_selective``            (repeats,), test accuracy from the selected units of z2
        ``groups_other``                (repeats,), from the others, where there are any
        ``groups_random``               (repeats,), from as many units as selected, at random
        ``added_unit``                  (U,), the units of z2 from the best single one down
        ``added_accuracy``              (U,), test accuracy of the first 1, 2, ... of them
        ``added_sd``                    (U,), its standard deviation over the repeats
        ``L_information_nats``          (U,), of every unit with the label, L = z2 and z1
        ``L_information_null``          (U,), mean under shuffled labels, nats
        ``L_information_null_high``     (U,), 0.95 quantile under shuffled labels, nats
        ``L_information_label_entropy``  (), nats
        ``scatter_units``               (2,), the units of z1_pair
        ``scatter_draws``               (N, 2), one posterior draw of them per test row, of q_EW
                                        where it differs from q
        ``P_missing``                   in the place of a part P: why it cannot be had
        ==============================  ========================================================

    Raises:
        InputError: no labelled data, or labels that cannot be decoded.
    """
    data, seed = subject.labelled, subject.settings.seed
    train, test = (subject.measured(f"moments_labelled_{part}") for part in SPLITS)
    rows = len(train.z1_mean), len(test.z1_mean)
    labels = [data.labels[part][:n].numpy() for part, n in zip(SPLITS, rows, strict=True)]
    pixels = [first_rows(data, part, n).numpy() for part, n in zip(SPLITS, rows, strict=True)]

    def split(
        moments: tuple[Mapping, Mapping], level: str, units: Any = slice(None), of: str = "mean"
    ) -> Split:
        fitted, unseen = (_values(part, level, of)[:, units] for part in moments)
        return fitted, labels[0], unseen, labels[1]

    def active() -> np.ndarray:
        return _units_of(np.flatnonzero(subject.measured("activity").z1_active), "active")

    def clear() -> np.ndarray:
        mask = above_gap(subject.measured("activity").z1_activity)
        return _units_of(np.flatnonzero(mask), "above the gap")

    def inactive() -> np.ndarray:
        _values(test, "z2")
        return _units_of(np.flatnonzero(~subject.measured("activity").z2_active), "inactive", "z2")

    def resampled() -> tuple[Mapping, Mapping]:
        if not subject.weighted:
            raise InputError("its q_EW is q itself")
        return tuple(subject.measured(f"moments_labelled_{part}_ew") for part in SPLITS)

    q = (train, test)
    on_pixels = (pixels[0], labels[0], pixels[1], labels[1])
    first = decode(*on_pixels, seed=seed)
    found = Named(_shared(first, data.label_names) | _entries("pixels", _decoder(first)))

    def part(name: str, compute: Callable[[], dict[str, Any]]) -> None:
        try:
            found.update(_entries(name, compute()))
        except InputError as error:
            found[f"{name}_missing"] = np.array(str(error))

    fitted: list[tuple[Split, dict[str, Any]]] = []

    def decoder(name: str, inputs: Callable[[], Split]) -> None:
        part(name, lambda: _once(fitted, inputs(), seed))

    decoder("z2", lambda: split(q, "z2"))
    decoder("z1", lambda: split(q, "z1", active()))
    decoder("z1_all", lambda: split(q, "z1"))
    decoder("z1_above_gap", lambda: split(q, "z1", clear()))
    for name in ("localised", "non_localised"):
        decoder(f"z1_{name}", lambda name=name: split(q, "z1", _of_class(subject, active(), name)))
    decoder("z2_pair", lambda: split(q, "z2", _certain(test, "z2")))
    decoder("z1_pair", lambda: split(q, "z1", _certain(test, "z1", active())))
    part("z1_matched", lambda: _matched(subject, split, q, active(), seed))
    decoder("z2_ew", lambda: split(resampled(), "z2"))
    decoder("z1_ew", lambda: split(resampled(), "z1", active()))
    decoder("z2_draw", lambda: split(q, "z2", of="draw"))
    decoder("z1_draw", lambda: split(q, "z1", active(), of="draw"))
    decoder("z2_inactive", lambda: split(q, "z2", inactive()))
    decoder("z2_inactive_draw", lambda: split(q, "z2", inactive(), of="draw"))
    part("selection", lambda: _selection(*split(q, "z2")[:2], seed))
    part("groups", lambda: _groups(split(q, "z2"), found, seed))
    part("added", lambda: _added(split(q, "z2"), found, seed))
    for level in ("z2", "z1"):
        part(f"{level}_information", lambda level=level: _information(split(q, level), seed))
    drawn = resampled()[1] if subject.weighted else test
    part("scatter", lambda: _scatter(drawn, _certain(test, "z1", active())))
    return found


def _entries(name: str, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {f"{name}_{key}": np.asarray(value) for key, value in values.items()}


def _shared(found: Any, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """What all decoders have in common, since they have the same labels."""
    named = [names[label] if label < len(names) else str(label) for label in found.classes]
    values = {
        "classes": found.classes,
        "class_names": named,
        "chance": found.chance,
        "chance_error": found.chance_error,
        "num_train": found.num_train,
        "num_test": found.num_test,
    }
    return {key: np.asarray(value) for key, value in values.items()}


def _once(fitted: list[tuple[Split, dict[str, Any]]], inputs: Split, seed: int) -> dict[str, Any]:
    """The decoder of these rows, fitted once: two groups of units may be the same."""
    for others, found in fitted:
        if all(np.array_equal(own, other) for own, other in zip(inputs, others, strict=True)):
            return found
    found = _decoder(decode(*inputs, seed=seed))
    fitted.append((inputs, found))
    return found


def _decoder(found: Any) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy,
        "train_accuracy": found.train_accuracy,
        "null": found.null,
        "confusion": found.confusion,
        "units": found.num_units,
        "unconverged": found.unconverged,
    }


def _values(moments: Mapping[str, np.ndarray], level: str, of: str = "mean") -> np.ndarray:
    if f"{level}_{of}" not in moments:
        raise InputError(f"the model has no level {level}")
    return moments[f"{level}_{of}"]


def _units_of(units: np.ndarray, kind: str, level: str = "z1") -> np.ndarray:
    if not len(units):
        raise InputError(f"none of its units of {level} is {kind}")
    return units


def _of_class(subject: Subject, active: np.ndarray, name: str) -> np.ndarray:
    """The active units of z1 of one class of projective fields."""
    classes = classify(pd.DataFrame(dict(subject.measured("gabor"))))[CLASS]
    wanted = name.replace("_", "-")
    return _units_of(active[(classes == wanted).to_numpy()[active]], wanted)


def _matched(
    subject: Subject, split: Callable[..., Split], q: tuple, active: np.ndarray, seed: int
) -> dict[str, Any]:
    localised = _of_class(subject, active, "localised")
    count = len(_of_class(subject, active, "non_localised"))
    if count > len(localised):
        raise InputError(f"{len(localised)} units are localised, more ({count}) are not")
    accuracy = random_units_accuracy(*split(q, "z1", localised), count, seed=seed)
    return {"accuracy": accuracy, "units": count}


def _selection(train: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, Any]:
    if train.shape[1] > MAX_CANDIDATES:
        raise InputError(
            f"{train.shape[1]} units are too many for forward selection; allowed: {MAX_CANDIDATES}"
        )
    chosen = forward_selection(train, labels, seed=seed)
    generator = np.random.default_rng(seed)
    null = [
        len(forward_selection(train, generator.permutation(labels), seed=seed).units)
        for _ in range(NULL_SELECTIONS)
    ]
    return {
        "steps": chosen.steps.to_numpy(dtype=np.float64),
        "null": null,
        "units": np.array(chosen.units, dtype=int),
        "single": chosen.single,
    }


def _groups(inputs: Split, found: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    units = _made(found, "selection", "units")
    if not len(units):
        raise InputError("no unit of z2 is selective")
    table = selective_accuracy(*inputs, units, seed=seed)
    return {group: part.accuracy.to_numpy() for group, part in table.groupby("group")}


def _added(inputs: Split, found: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    single = _made(found, "selection", "single")
    # Units that do not vary (nan) add nothing; they come last.
    order = np.argsort(-np.nan_to_num(single), kind="stable")
    table = accuracy_as_units_are_added(*inputs, order, seed=seed)
    return {name: table[name].to_numpy() for name in ("unit", "accuracy", "sd")}


def _made(found: Mapping[str, np.ndarray], part: str, key: str) -> np.ndarray:
    if f"{part}_{key}" not in found:
        raise InputError(str(found[f"{part}_missing"]))
    return found[f"{part}_{key}"]


def _information(inputs: Split, seed: int) -> dict[str, Any]:
    """On training and test rows together: nothing is fitted, and more data have less noise."""
    train, train_labels, test, test_labels = inputs
    table = unit_information(
        np.concatenate([train, test]), np.concatenate([train_labels, test_labels]), seed=seed
    )
    return {
        "nats": table.information.to_numpy(),
        "null": table.null.to_numpy(),
        "null_high": table.null_high.to_numpy(),
        "label_entropy": table.label_entropy[0],
    }


def _certain(
    moments: Mapping[str, np.ndarray], level: str, candidates: np.ndarray | None = None
) -> list[int]:
    """The two units that Vas 2024 would draw; ``_values`` says whether there is the level."""
    _values(moments, level)
    return most_certain_units(moments[f"{level}_sd"], 2, candidates)


def _scatter(moments: Mapping[str, np.ndarray], units: list[int]) -> dict[str, Any]:
    return {"units": units, "draws": moments.z1_draw[:, units]}
