"""Units of constructed levels: activity (truth 13), gaps, densities; courses; their pictures."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

from analysis.measures import training, units
from analysis.pictures import style
from analysis.pictures import training as courses_drawn
from analysis.pictures import units as drawn
from analysis.reporting.sections import units as units_section
from pyro_vae import PairConfig
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity_gap import FLOOR, activity_gap
from pyro_vae.evaluation.posterior_moments import posterior_moments
from tests.units import METRICS, SLOPES, planted, scaled


def axes():
    return Figure().subplots()


def test_activity_is_the_squared_slope():
    table = units.unit_moments(planted(), "z1")
    np.testing.assert_allclose(table["activity"], SLOPES**2, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(table["active"], [True, True, True, False, False])
    np.testing.assert_allclose(table["sd_of_means"], SLOPES, atol=1e-9)
    np.testing.assert_allclose(table["mean_of_sds"], 0.4, rtol=1e-12)
    np.testing.assert_allclose(table["scale"], 0.4, rtol=1e-12)
    np.testing.assert_allclose(table[["mean_of_means", "sd_of_sds", "sd_of_scales"]], 0, atol=1e-10)
    # x is normal: the variance of its sample variance is 2 sigma^4 / N.
    np.testing.assert_allclose(
        table["activity_error"], SLOPES**2 * np.sqrt(2 / 3000), rtol=0.1, atol=1e-12
    )


@pytest.mark.parametrize(("posterior", "column"), [("locscale", "scale"), ("iaf", "mean_of_sds")])
def test_units_without_a_scale_of_their_own_show_their_sd(posterior, column):
    pair = PairConfig("sparse", "meanfield", latent=(3,), posterior=posterior).build(4)
    table = units.unit_moments(posterior_moments(*pair, torch.randn(20, 4)), "z1")
    assert units_section._width(table)[0] == column
    drawn.plot_by_activity(axes(), table, column, "a model", "width")


def test_monte_carlo_noise_is_taken_off_the_activity():
    found = planted(parents=1.0)
    table = units.unit_moments(found, "z1")
    # The mean of 8 draws of a standard normal parent adds 1 / 8 to the variance over the data.
    errors = (SLOPES**2 + 1 / 8) * np.sqrt(2 / 3000) + 2 * SLOPES * np.sqrt(1 / 8 / 3000)
    assert (np.abs(table["activity"] - SLOPES**2) < 5 * errors).all()
    plain = units.unit_moments(found | {"z1_noise": np.zeros(5)}, "z1")
    assert (np.abs(plain["activity"] - SLOPES**2)[2:] > 10 * errors[2:]).all()
    # A root is low by an eighth of its argument's relative variance, here 2 / 7 over 1.16^2.
    sd = np.sqrt(0.16 + 1) * (1 - 2 / 7 / 1.16**2 / 8)
    np.testing.assert_allclose(table["mean_of_sds"], sd, rtol=0.02)


def test_aggregates_by_hand():
    moments = {
        "z1_mean": [[1.0, 0.0], [3.0, 0.0]],
        "z1_sd": [[0.2, 1.0], [0.4, 1.0]],
        "z1_noise": [0.5, 0.0],
    }
    table = units.unit_moments(moments, "z1")
    assert "scale" not in table
    first = table.iloc[0]
    assert first["activity"] == 1.5
    assert first["mean_of_means"] == 2.0
    assert first["sd_of_means"] == pytest.approx(np.sqrt(2))
    assert first["mean_of_sds"] == pytest.approx(0.3)
    assert first["sd_of_sds"] == pytest.approx(np.sqrt(0.02))
    assert list(units.unit_moments(moments, "z1", threshold=1.6)["active"]) == [False, False]


def test_active_units_come_most_active_first_and_a_dead_level_is_refused():
    found = units.activity(planted())
    assert sorted(found) == ["z1_active", "z1_activity", "z2_active", "z2_activity"]
    np.testing.assert_array_equal(units.active_units(found, "z1"), [0, 1, 2])
    shuffled = {name: values[[2, 0, 4, 1, 3]] for name, values in found.items()}
    np.testing.assert_array_equal(units.active_units(shuffled, "z1"), [1, 3, 0])
    with pytest.raises(InputError, match="0 of 5 units of z2 are active"):
        units.active_units(found, "z2")
    with pytest.raises(InputError, match=r"3 of 5 .* 4 or more are wanted"):
        units.active_units(found, "z1", at_least=4)
    with pytest.raises(InputError, match="unknown level 'z3'"):
        units.active_units(found, "z3")


def test_the_gap_is_found_where_it_was_put():
    low, high = np.full(30, 1e-3), np.full(20, 0.5)
    gap = activity_gap(np.concatenate([low * 1.1, low, high, high * 1.2]))
    assert gap.units == 100
    assert gap.active == gap.above_gap == 40
    assert gap.gap_low == pytest.approx(1.1e-3)
    assert gap.gap_high == 0.5
    assert gap.gap_ratio == pytest.approx(0.5 / 1.1e-3)
    assert gap.second_ratio == pytest.approx(1.2)
    assert gap.threshold_in_gap
    assert gap.near_threshold == 0


def test_a_list_without_a_gap_says_so():
    gap = activity_gap(np.geomspace(1e-3, 1.0, 61))  # neighbours differ by 1.122
    assert gap.gap_ratio == pytest.approx(gap.second_ratio)
    assert gap.near_threshold == 19  # log 9 / log 1.122 = 19.08
    assert gap.active == 41 - 1  # the threshold itself is in the list, and is not above itself


def test_noise_below_the_floor_makes_no_gap():
    gap = activity_gap(np.array([-1e-5, 1e-15, 1e-9, 0.2, 0.3]))
    assert (gap.gap_low, gap.gap_high) == (FLOOR, 0.2)
    dead = activity_gap(np.array([-1e-5, 1e-15, 1e-9]))
    assert dead.active == dead.above_gap == 0
    assert np.isnan([dead.gap_low, dead.gap_high, dead.gap_ratio]).all()
    assert not dead.threshold_in_gap
    misplaced = activity_gap(np.array([0.02, 0.5]))
    assert not misplaced.threshold_in_gap


def test_fields_of_active_units_are_counted_by_norm():
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(10, 50)) * np.r_[np.full(4, 1.0), np.full(6, 0.01)][:, None]
    active = np.arange(10) < 5
    found = units.field_gap(fields, active)
    assert found["above_norm_gap"] == 4
    assert found["agreement"] == 0.9
    assert found["chance_agreement"] == pytest.approx(0.4 * 0.5 + 0.6 * 0.5)
    assert found["norm_ratio"] > 30 > 3 > found["norm_second_ratio"]
    nothing = units.field_gap(np.zeros((3, 5)), np.zeros(3, bool))
    assert nothing["above_norm_gap"] == 0
    assert nothing["agreement"] == 1.0
    with pytest.raises(InputError, match="do not fit"):
        units.field_gap(fields, active[:4])


def test_densities_are_densities():
    draws = np.random.default_rng(0).normal([0.0, 2.0], [1.0, 0.3], size=(4000, 2))
    table = units.densities(draws, stats.norm())
    for unit, mean, sd in ((0, 0.0, 1.0), (1, 2.0, 0.3)):
        rows = table[table["unit"] == unit]
        step = np.diff(rows["value"]).mean()
        assert rows["density"].sum() * step == pytest.approx(1.0, abs=0.01)
        truth = stats.norm(mean, sd).pdf(rows["value"])
        assert np.abs(rows["density"] - truth).max() < 0.08 / sd
    np.testing.assert_allclose(table["prior"], stats.norm.pdf(table["value"]))


def test_distance_to_the_prior():
    rng = np.random.default_rng(0)
    table = units.prior_distance(rng.normal(size=(900, 200)), stats.norm())
    error = table["distance"].std() / np.sqrt(200)
    assert table["chance"].iloc[0] == pytest.approx(0.8687 / 30, rel=1e-3)
    # The asymptotic mean; at N = 900 it is about 1 % high.
    assert abs(table["distance"].mean() - table["chance"].iloc[0]) < 4 * error + 0.02 / 30
    moved = units.prior_distance(rng.normal(0.5, size=(900, 1)), stats.norm()).iloc[0]
    # max |Phi(x) - Phi(x - 1/2)| = 2 Phi(1/4) - 1
    assert moved["distance"] == pytest.approx(2 * stats.norm.cdf(0.25) - 1, abs=0.06)
    assert moved["mean"] == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: units.unit_moments(m, "z7"), "unknown level 'z7'; allowed: z1, z2"),
        (lambda m: units.unit_moments(m | {"z1_mean": np.zeros((1, 5))}, "z1"), r"\(1, 5\)"),
        (lambda m: units.unit_moments(m | {"z1_sd": np.full((50, 5), np.nan)}, "z1"), "not finite"),
        (lambda m: units.unit_moments(m | {"z1_sd": np.ones((50, 4))}, "z1"), r"\(50, 4\)"),
        (lambda m: units.unit_moments(m | {"z1_noise": np.ones(2)}, "z1"), r"\(2,\)"),
        (lambda m: units.unit_moments(m, "z1", threshold=0.0), "threshold"),
        (lambda m: activity_gap(np.ones(1)), r"\(1,\)"),
        (lambda m: activity_gap(np.array([1.0, np.nan])), "finite"),
        (lambda m: units.densities(np.ones((5, 2)), stats.norm()), r"\(5, 2\)"),
        (lambda m: units.densities(np.ones((50, 2)), stats.norm()), "unit 0 has the same value"),
        (lambda m: units.prior_distance(np.full((50, 2), np.inf), stats.norm()), "finite"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(planted(number=50, samples=2))


@pytest.mark.parametrize("number", [20, 450])
def test_moments_are_drawn_for_few_and_for_many_units(number):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(100, number)) * np.linspace(0, 1, number)
    moments = {"z1_mean": mean, "z1_sd": np.full(mean.shape, 0.4), "z1_noise": np.zeros(number)}
    table = units.unit_moments(moments, "z1")
    ax = drawn.plot_unit_moments(axes(), table, "vanilla")
    assert ax.get_title() == "vanilla"
    assert ("sorted" in ax.get_xlabel()) == (number == 450)
    assert "sd of the prior" in ax.get_legend_handles_labels()[1]
    shown = ax.get_lines()[0].get_ydata()
    order = np.argsort(-table["sd_of_means"]) if number == 450 else np.arange(number)
    np.testing.assert_allclose(shown, table["mean_of_means"].to_numpy()[order])
    bare = drawn.plot_unit_moments(axes(), table, "", prior_sd=None)
    assert "sd of the prior" not in bare.get_legend_handles_labels()[1]


def test_activity_is_drawn_with_its_gap():
    activities = np.array([0.3, 1e-9, 0.2, -1e-4, 0.004])
    ax = drawn.plot_activity_gap(axes(), activities, activity_gap(activities), "k = 10")
    names = ax.get_legend_handles_labels()[1]
    assert names[:2] == ["active: 2", "inactive: 3"]
    assert "largest gap, × 50" in names
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [0.3, 0.2])
    assert ax.get_ylim()[0] < ax.get_lines()[1].get_ydata().min()
    dead = np.array([1e-9, 1e-8])
    ax = drawn.plot_activity_gap(axes(), dead, activity_gap(dead), "dead")
    assert "active: 0" in ax.get_legend_handles_labels()[1]


def test_scale_is_coloured_by_activity():
    table = units.unit_moments(planted(number=50), "z1")
    ax = drawn.plot_by_activity(axes(), table, "scale", "", "scale")
    active, inactive = ax.get_lines()
    assert active.get_color() == drawn.ACTIVE
    np.testing.assert_array_equal(active.get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(inactive.get_xdata(), [3, 4])


def test_densities_are_drawn_with_the_prior():
    draws = np.random.default_rng(0).normal(size=(100, 3))
    ax = drawn.plot_densities(axes(), units.densities(draws, stats.norm()), "")
    assert len(ax.get_lines()) == 4
    assert ax.get_legend_handles_labels()[1] == ["3 units", "prior"]


def test_courses_keep_runs_apart_and_find_their_peaks():
    table = training.courses([("a", 0, METRICS), ("a", 1, scaled(3)), ("b", 0, METRICS)], ["kl_z2"])
    assert len(table) == 9
    found = training.ends(table, "kl_z2")
    assert list(found["model"]) == ["a", "a", "b"]
    np.testing.assert_allclose(found["peak"], [8, 24, 8])
    np.testing.assert_allclose(found["peak_step"], 10)
    np.testing.assert_allclose(found["end"], [3, 9, 3])
    np.testing.assert_allclose(found["start"], [0.1, 0.3, 0.1])
    nan = training.courses([("a", 0, METRICS | {"kl_z2": [np.nan] * 3})], ["kl_z2"])
    assert np.isnan(training.ends(nan, "kl_z2")["peak"][0])
    with pytest.raises(InputError, match="a, seed 4, have no column kl_z9"):
        training.courses([("a", 4, METRICS)], ["kl_z9"])
    with pytest.raises(InputError, match="a curve wants 2"):
        training.courses([("a", 0, {"step": [0], "kl_z2": [1.0]})], ["kl_z2"])
    with pytest.raises(InputError, match="no run"):
        training.courses([], ["kl_z2"])


def test_curves_show_mean_and_range_over_seeds():
    table = training.courses([("a", 0, METRICS), ("a", 1, scaled(3)), ("b", 0, METRICS)], ["kl_z2"])
    ax = courses_drawn.plot_kl_curves(axes(), table, "kl_z2", "title")
    of_a, of_b = ax.get_lines()
    np.testing.assert_allclose(of_a.get_ydata(), [0.2, 16, 6])
    np.testing.assert_allclose(of_b.get_ydata(), METRICS["kl_z2"])
    assert ax.get_legend_handles_labels()[1] == ["a (2 seeds)", "b"]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == 24
    # Seeds that share no steps are lines of their own.
    other = METRICS | {"step": [1, 11, 21]}
    apart = training.courses([("a", 0, METRICS), ("a", 1, other)], ["kl_z2"])
    assert len(courses_drawn.plot_kl_curves(axes(), apart).get_lines()) == 2
    ax = courses_drawn.plot_bound_curves(axes(), table.assign(elbo=-1.0), "elbo", "ELBO")
    assert ax.get_title() == "ELBO"


def test_figures_by_model_show_seeds_mean_and_spread():
    table = pd.DataFrame({"model": ["a", "a", "b"], "seed": [0, 1, 0], "elbo": [1.0, 3.0, 5.0]})
    ax = courses_drawn.plot_by_model(axes(), table, "elbo", "ELBO", "nats")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "b"]
    (bar,) = ax.containers
    assert bar[0].get_ydata()[0] == 2.0
    low, high = bar[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(np.sqrt(2))
    # A model keeps its colour where another one is missing.
    labels = ["c", "a", "b"]
    for call in (courses_drawn.plot_by_model, courses_drawn.plot_bound_curves):
        words = ["elbo", "ELBO", "nats"][: 3 if call is courses_drawn.plot_by_model else 2]
        given = table.assign(step=table.index)
        ax = call(axes(), given, *words, labels=labels)
        assert ax.get_lines()[0].get_color() == style.colours(labels)["a"]
