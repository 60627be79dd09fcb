"""Several seeds of every model: means, spreads, and paired tests of the differences.

A seed chooses the patches that are cut as well as weights and noise, so models of one seed share
their data: what differs between seeds but not between models cancels in a paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pyro_vae.errors import InputError
from pyro_vae.evaluation.statistics import mean_and_error

LEVEL = 0.95  # of the intervals
# Differences that vary by less than this share of the numbers are equal up to rounding.
ROUNDING = 1e-12


def summary(
    table: pd.DataFrame,
    values: str | Sequence[str],
    by: str | Sequence[str] = "model",
    unit: str = "seed",
) -> pd.DataFrame:
    """Mean and spread over seeds of every model.

    Args:
        table: a row per model and seed.
        values: columns of numbers; a number that is NaN is left out and counted.
        by: column, or columns, that name the model.
        unit: column of the seeds; where there is none, rows are taken for different seeds.

    Returns:
        Table in the order in which models and values come: ``by``, ``quantity`` (the column that
        was summarised), ``mean``, ``sd`` over seeds (divisor n - 1), ``standard_error`` = sd /
        sqrt(n), ``n`` and ``missing`` (numbers that were NaN); all in the unit of the column. With
        n = 1 spread and error are NaN.

    Raises:
        InputError: an unknown column, infinite numbers, no rows, or two rows of one model and seed.
    """
    values = [values] if isinstance(values, str) else list(values)
    by = [by] if isinstance(by, str) else list(by)
    _check(table, values, by, unit if unit in table.columns else None)
    rows = []
    for keys, group in table.groupby(by, sort=False, dropna=False):
        for name in values:
            numbers = group[name].dropna().to_numpy(float)
            mean, sd, error = spread(numbers)
            rows.append(
                dict(zip(by, keys, strict=True))
                | {
                    "quantity": name,
                    "mean": mean,
                    "sd": sd,
                    "standard_error": error,
                    "n": len(numbers),
                    "missing": len(group) - len(numbers),
                }
            )
    return pd.DataFrame(rows)


def spread_or_error(table: pd.DataFrame, value: str, error: str) -> pd.DataFrame:
    """``summary`` whose ``sd`` is the mean of column ``error`` for a model of one seed.

    What stands behind a ± then: the spread over seeds, or the error over patches of the one seed.
    """
    found = summary(table, value)
    return found.assign(sd=found.sd.fillna(summary(table, error)["mean"]))


def paired(
    table: pd.DataFrame, value: str, baseline: str, by: str = "model", unit: str = "seed"
) -> pd.DataFrame:
    """Every model against one of them: the paired t-test over the seeds that both have.

    With d_s = value(model, s) - value(baseline, s), t = mean(d) / (sd(d) / sqrt(n)) has n - 1
    degrees of freedom where the d_s are normal with mean zero. With few seeds that is an
    assumption which nothing here can check.

    Args:
        table: a row per model and seed. value: its column of numbers.
        baseline: the model that others are compared with.

    Returns:
        Table with a row for every other model, in the order of the table: ``by``, ``baseline``,
        ``difference`` (mean d, in the unit of the column), ``sd`` and ``standard_error`` of d,
        ``low`` and ``high`` (95 % interval), ``t``, ``df``, ``p`` (two-sided), ``p_holm`` (adjusted
        over the models of this table), ``n`` seeds, ``dropped`` (numbers of either that are NaN or
        have no partner) and ``note``: why there is no test, or "". Where there is none its
        columns are NaN.

    Raises:
        InputError: an unknown column or baseline, no other model, infinite numbers, or two rows of
            one model and seed.
    """
    _check(table, [value], [by], unit)
    models = list(dict.fromkeys(table[by]))
    if baseline not in models:
        raise InputError(
            f"unknown baseline {baseline!r}; the table has {', '.join(map(str, models))}"
        )
    if len(models) == 1:
        raise InputError(f"the table has no model other than the baseline {baseline!r}")
    wide = table.pivot(index=unit, columns=by, values=value)
    rows = []
    for model in models:
        if model == baseline:
            continue
        pairs = wide[[model, baseline]].dropna().to_numpy(float)
        given = int(table[by].isin([model, baseline]).sum())
        rows.append(
            {by: model, "baseline": baseline}
            | _paired_test(pairs[:, 0], pairs[:, 1], baseline)
            | {"n": len(pairs), "dropped": given - 2 * len(pairs)}
        )
    found = pd.DataFrame(rows)
    found = found.assign(p_holm=holm(found.p))
    names = [
        by,
        "baseline",
        "difference",
        "sd",
        "standard_error",
        "low",
        "high",
        "t",
        "df",
        "p",
        "p_holm",
        "n",
        "dropped",
        "note",
    ]
    return found[names]


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p-values: max over j <= i of (m - j + 1) p_(j), at most 1; NaN stay NaN.

    Rejecting where they are below alpha keeps the chance of any false rejection below alpha,
    however the tests depend on each other. m counts the tests there are (Holm 1979).
    """
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, math.nan)
    (known,) = np.nonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def mean_and_spread(mean: float, sd: float, n: int | None = None, digits: int = 3) -> str:
    """``0.123 ± 0.004 (n = 3)``; without a spread the mean alone, and "none" without a mean."""
    if math.isnan(mean):
        text = "none"
    elif math.isnan(sd):
        text = f"{mean:.{digits}f}"
    else:
        text = f"{mean:.{digits}f} ± {sd:.{digits}f}"
    return text if n is None else f"{text} (n = {n})"


def mean_and_sd(numbers: pd.Series, digits: int = 3) -> str:
    """:func:`mean_and_spread` of a column."""
    return mean_and_spread(numbers.mean(), numbers.std(), digits=digits)


def in_words(found: pd.DataFrame, digits: int = 3, separator: str = ", ") -> str:
    """Every model of a :func:`summary`: ``0.123 ± 0.004 (vanilla, n = 3)``, one seed 0.123."""
    return separator.join(
        f"{mean_and_spread(row.mean, row.sd, digits=digits)} ({row.model}"
        f"{f', n = {row.n}' if row.n > 1 else ''})"
        for row in found.itertuples(index=False)
    )


def words(table: pd.DataFrame, value: str, digits: int = 3, separator: str = ", ") -> str:
    """:func:`in_words` of a column of a table that has a row per model and seed."""
    return in_words(summary(table, value), digits, separator)


def spread(numbers: NDArray) -> tuple[float, float, float]:
    """Mean, standard deviation and standard error of the mean; NaN for what n does not give."""
    n = len(numbers)
    if n < 2:
        return (float(numbers[0]) if n else math.nan), math.nan, math.nan
    found = mean_and_error(numbers)
    return found.mean, float(numbers.std(ddof=1)), found.standard_error


def _paired_test(ours: NDArray, theirs: NDArray, baseline: str) -> dict[str, float | str]:
    mean, sd, error = spread(ours - theirs)
    row = {"difference": mean, "sd": sd, "standard_error": error}
    no_test = {"note": ""} | dict.fromkeys(("low", "high", "t", "df", "p"), math.nan)
    n = len(ours)
    if n == 0:
        return row | no_test | {"note": f"no seed in common with {baseline}"}
    if n == 1:
        return row | no_test | {"note": "one seed: no spread and no test"}
    if sd <= ROUNDING * max(np.abs(ours).max(), np.abs(theirs).max()):
        return row | no_test | {"note": "the differences do not vary: no test"}
    test = stats.ttest_rel(ours, theirs)
    low, high = test.confidence_interval(LEVEL)
    return row | {
        "note": "",
        "low": float(low),
        "high": float(high),
        "t": float(test.statistic),
        "df": float(test.df),
        "p": float(test.pvalue),
    }


def _check(table: pd.DataFrame, values: Sequence[str], by: Sequence[str], unit: str | None) -> None:
    keys = [*by, *([] if unit is None else [unit])]
    for name in (*keys, *values):
        if name not in table.columns:
            have = ", ".join(map(str, table.columns))
            raise InputError(f"the table has no column {name!r}; it has {have}")
    if table.empty:
        raise InputError("the table has no rows")
    for name in values:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise InputError(f"column {name!r} does not hold numbers")
        if np.isinf(table[name].to_numpy(float, na_value=math.nan)).any():
            raise InputError(f"column {name!r} holds infinite numbers")
    twice = table.duplicated(keys)
    if unit is not None and twice.any():
        row = table.loc[twice, keys].iloc[0]
        raise InputError(
            f"two rows of {', '.join(f'{name} {row[name]}' for name in keys)}; a comparison over "
            "seeds wants one each"
        )
