"""Means, spreads and paired tests over seeds, against figures worked out by hand and by scipy."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.measures.seeds import (
    holm,
    mean_and_spread,
    paired,
    spread_or_error,
    summary,
)
from pyro_vae.errors import InputError


def tidy(**models):
    """A row per model and seed; seeds count from 0."""
    return pd.DataFrame(
        [
            {"model": name, "seed": seed, "value": value}
            for name, values in models.items()
            for seed, value in enumerate(values)
        ]
    )


def test_summary_is_the_sum_done_by_hand():
    table = tidy(b=[1.0, 2.0, 6.0], a=[4.0]).assign(other=[0.0, 0.0, 3.0, math.nan])
    found = summary(table, ["value", "other"])
    assert list(found["model"]) == ["b", "b", "a", "a"]  # as the table has them, not sorted
    assert list(found["quantity"]) == ["value", "other"] * 2
    first = found.iloc[0]
    assert (first["mean"], first["n"], first["missing"]) == (3.0, 3, 0)
    assert first["sd"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert first["standard_error"] == pytest.approx(math.sqrt(7 / 3))
    assert found.iloc[1]["mean"] == 1.0
    one, none = found.iloc[2], found.iloc[3]
    assert (one["mean"], one["n"]) == (4.0, 1)
    assert math.isnan(one["sd"])
    assert math.isnan(one["standard_error"])
    assert (none["n"], none["missing"]) == (0, 1)
    assert math.isnan(none["mean"])


def test_one_seed_has_the_error_of_its_patches_for_a_spread():
    table = tidy(b=[1.0, 2.0, 6.0], a=[4.0]).assign(error=[0.1, 0.2, 0.3, 0.4])
    found = spread_or_error(table, "value", "error")
    assert found["sd"].tolist() == pytest.approx([math.sqrt(7), 0.4])
    assert summary(table, "value")["sd"].isna().tolist() == [False, True]


def test_summary_by_two_columns():
    table = pd.concat([tidy(a=[1, 3]).assign(level=level) for level in ("z1", "z2")])
    found = summary(table, "value", by=["model", "level"])
    assert found[["model", "level", "mean"]].values.tolist() == [["a", "z1", 2], ["a", "z2", 2]]
    with pytest.raises(InputError, match="two rows of model a, seed 0"):
        summary(table, "value")  # the levels are no seeds
    assert summary(table.drop(columns="seed"), "value")["n"].tolist() == [4]


def test_a_paired_test_done_by_hand():
    # d = (1, 2, 3): mean 2, sd 1, t = 2 sqrt(3), and with 2 degrees of freedom the tail of t is
    # p = 1 - t / sqrt(2 + t^2).
    table = tidy(vanilla=[10.0, -5.0, 0.5], ours=[11.0, -3.0, 3.5])
    (row,) = paired(table, "value", "vanilla").to_dict("records")
    assert row["difference"] == pytest.approx(2.0)
    assert row["sd"] == pytest.approx(1.0)
    assert row["standard_error"] == pytest.approx(1 / math.sqrt(3))
    t = 2 * math.sqrt(3)
    assert (row["t"], row["df"]) == (pytest.approx(t), 2)
    assert row["p"] == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert row["p_holm"] == pytest.approx(row["p"])
    # The quantile q of t with two degrees of freedom solves q / sqrt(2 + q^2) = 0.95.
    quantile = math.sqrt(2 * 0.95**2 / (1 - 0.95**2))
    assert (row["low"], row["high"]) == pytest.approx(
        (2 - quantile / math.sqrt(3), 2 + quantile / math.sqrt(3))
    )
    assert (row["n"], row["dropped"], row["note"]) == (3, 0, "")
    # What is common to a seed cancels; an unpaired test sees nothing.
    assert stats.ttest_ind([11.0, -3.0, 3.5], [10.0, -5.0, 0.5]).pvalue > 0.5 > row["p"]
    assert paired(table, "value", "ours")["difference"].item() == pytest.approx(-2.0)


def test_seeds_are_matched_by_name_and_partners_counted():
    table = tidy(vanilla=[1.0, 2.0, 3.0, 4.0], k10=[1.5, 2.7, math.nan, 4.1])
    table = table[~((table.model == "vanilla") & (table.seed == 0))]
    found = paired(table.sample(frac=1, random_state=0), "value", "vanilla").iloc[0]
    expected = stats.ttest_rel([2.7, 4.1], [2.0, 4.0])
    assert (found["n"], found["df"]) == (2, 1)
    assert found["dropped"] == 3  # k10 of seed 0, and both of seed 2, where one is NaN
    assert found["t"] == pytest.approx(expected.statistic)
    assert found["p"] == pytest.approx(expected.pvalue)
    # Matched by their order instead, it would be another figure.
    assert found["difference"] == pytest.approx(0.4)


def test_without_a_spread_there_is_no_test_and_a_note_says_so():
    table = pd.concat(
        [
            tidy(vanilla=[1.0, 2.0, 3.0], one=[1.5], equal=[1.1, 2.1, 3.1], more=[2.0, 2.5, 4.5]),
            pd.DataFrame([{"model": "apart", "seed": 7, "value": 0.0}]),
        ]
    )
    found = paired(table, "value", "vanilla").set_index("model")
    assert found.loc["one", "note"] == "one seed: no spread and no test"
    assert found.loc["one", "difference"] == 0.5
    assert found.loc["equal", "note"] == "the differences do not vary: no test"
    assert found.loc["equal", "difference"] == pytest.approx(0.1)
    assert found.loc["apart", "note"] == "no seed in common with vanilla"
    assert math.isnan(found.loc["apart", "difference"])
    assert found.loc[["one", "equal", "apart"], ["t", "p", "p_holm", "low"]].isna().all(axis=None)
    assert found.loc["more", "p_holm"] == found.loc["more", "p"]  # the only test there is


def test_holm_on_a_worked_example():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04 -> 0.06.
    np.testing.assert_allclose(
        holm([0.01, math.nan, 0.04, 0.03, 0.005]), [0.03, math.nan, 0.06, 0.06, 0.02]
    )
    np.testing.assert_allclose(holm([0.4, 0.6]), [0.8, 0.8])
    assert holm([0.9, 0.8])[1] == 1.0
    table = tidy(v=[1, 2, 4, 3], a=[2, 2.9, 5.1, 4.2], b=[1, 2.3, 3.9, 3.2])
    found = paired(table, "value", "v")
    np.testing.assert_array_equal(found["p_holm"], holm(found["p"]))
    assert (found["p_holm"] > found["p"]).any()


def test_rates_of_false_and_true_findings():
    """Under the null each p is uniform and Holm's are below 0.05 in 5 % of tables at most."""
    rng = np.random.default_rng(0)
    tables, seeds = 150, 3
    common = rng.normal(size=(tables, 1, seeds))  # of a seed: nine times the variance of the rest
    figures = 3 * common + rng.normal(size=(tables, 3, seeds))

    def rejected(shift, number=tables):
        found = [
            paired(tidy(vanilla=v, a=a + shift, b=b + shift), "value", "vanilla")
            for v, a, b in figures[:number]
        ]
        return (
            np.mean([(f["p"] < 0.05).iloc[0] for f in found]),
            np.mean([(f["p_holm"] < 0.05).any() for f in found]),
        )

    error = math.sqrt(0.05 * 0.95 / tables)
    single, family = rejected(0.0)
    assert abs(single - 0.05) < 4 * error
    assert family < 0.05 + 4 * error
    assert min(rejected(6.0, 30)) > 0.05 + 8 * error  # a real difference is found


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"baseline": "k = 3"}, "unknown baseline 'k = 3'; the table has vanilla, k10"),
        ({"value": "bound"}, "the table has no column 'bound'; it has model, seed, value"),
        ({"unit": "run"}, "the table has no column 'run'"),
        ({"by": "kind"}, "the table has no column 'kind'"),
    ],
)
def test_unknown_names_are_refused(change, match):
    table = tidy(vanilla=[1.0, 2.0], k10=[1.0, 3.0])
    with pytest.raises(InputError, match=match):
        paired(table, **{"value": "value", "baseline": "vanilla"} | change)


def test_bad_tables_are_refused():
    table = tidy(vanilla=[1.0, 2.0], k10=[1.0, 3.0])
    with pytest.raises(InputError, match="two rows of model k10, seed 1"):
        paired(pd.concat([table, table.iloc[-1:]]), "value", "vanilla")
    with pytest.raises(InputError, match="no model other than the baseline 'vanilla'"):
        paired(table[:2], "value", "vanilla")
    with pytest.raises(InputError, match="the table has no rows"):
        summary(table[:0], "value")
    with pytest.raises(InputError, match="column 'value' holds infinite numbers"):
        summary(table.replace(3.0, math.inf), "value")
    with pytest.raises(InputError, match="column 'model' does not hold numbers"):
        summary(table, "model", by="seed", unit="none")
    with pytest.raises(InputError, match="no column 'bound'"):
        summary(table, "bound")


def test_figures_are_printed_with_their_spread():
    assert mean_and_spread(0.1234, 0.0042, 3) == "0.123 ± 0.004 (n = 3)"
    assert mean_and_spread(-12.3456, 0.5, digits=2) == "-12.35 ± 0.50"
    assert mean_and_spread(0.5, math.nan, 1) == "0.500 (n = 1)"
    assert mean_and_spread(math.nan, math.nan, 0) == "none (n = 0)"
