"""Errors and paired differences over patches, for reports whose models have one seed each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.measures.seeds import spread
from analysis.reporting.over_runs import tables

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject


def one_seed(study: Study) -> bool:
    """Whether no model has a second seed: spreads and tests are over patches then."""
    return len(study.subjects) == len(study.labels)


def over_patches(
    study: Study, values: Callable[[Subject], Mapping[str, np.ndarray]]
) -> pd.DataFrame:
    """Means over patches with their standard errors, and differences paired by patch.

    Of the smallest seed of each model. A difference to the first model is taken patch by patch
    where both runs have the same seed, and so the same patches; of fewer patches, which are the
    first of more, as many as both have.

    Args:
        values: quantity -> its value at every patch (P,); InputError where a run has none.

    Returns:
        model, quantity, mean, standard_error, patches; where there are two models difference and
        standard_error_of_difference, NaN where the patches differ; in the quantity's unit.

    Raises:
        InputError: no run has values; with the reasons.
    """
    first: dict[str, tuple[Subject, np.ndarray]] = {}

    def row(subject: Subject, quantity: str, own: np.ndarray) -> dict:
        baseline, base = first.setdefault(quantity, (subject, own))
        mean, _, error = spread(own)
        shared = min(len(own), len(base))
        same = subject is not baseline and subject.seed == baseline.seed
        apart = own[:shared] - base[:shared] if same else np.array([])
        difference, _, its_error = spread(apart)
        return {
            "quantity": quantity,
            "mean": mean,
            "standard_error": error,
            "patches": len(own),
            "difference": difference,
            "standard_error_of_difference": its_error,
        }

    def rows(subject: Subject) -> list[dict]:
        return [row(subject, name, np.asarray(one, float)) for name, one in values(subject).items()]

    found = tables(study.examples(), rows)[0].drop(columns="seed")
    alone = found.model.nunique() < 2
    return found.drop(columns=["difference", "standard_error_of_difference"]) if alone else found
