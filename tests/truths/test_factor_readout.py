"""Factors read from codes: R^2 and accuracies against closed forms."""

import numpy as np
import pytest
from scipy import stats

from pyro_vae import InputError
from pyro_vae.datasets.factors import Factor
from pyro_vae.evaluation import code_disentanglement, factor_readout

ORDERED = (Factor("a", 8), Factor("b", 8))


def rng(seed=0):
    return np.random.default_rng(seed)


def pair_of_factors(num=600, sizes=(8, 8), seed=0):
    return rng(seed).integers(0, sizes, (num, len(sizes)))


def test_noise_leaves_the_share_of_the_variance():
    """z = v + noise of sd s has R^2 = var / (var + s^2), whatever is taken for a and for b."""
    known = pair_of_factors(4_000)
    variance = 63 / 12
    code = known + rng(1).normal(size=known.shape) * [1.0, 3.0]
    for one, noise in zip(factor_readout(code, known, ORDERED), (1.0, 9.0), strict=True):
        truth = variance / (variance + noise)
        assert abs(one.linear.mean - truth) < 5 * one.linear.standard_error
        assert one.forest.mean < truth + 5 * one.forest.standard_error  # nothing reads more
        assert abs(one.linear.mean - truth) < 0.1  # and the error is no excuse
        assert (one.chance, one.measure) == (0.0, "R2")


def test_turned_axes_are_read_in_full_and_a_missing_factor_is_not():
    known = pair_of_factors()
    turned = known @ np.array([[0.6, -0.8], [0.8, 0.6]])
    for one in factor_readout(turned, known, ORDERED):
        assert one.linear.mean == pytest.approx(1, abs=1e-9)
    missing = np.stack([known[:, 0], rng(1).normal(size=600)], 1)
    told, gone = factor_readout(missing, known, ORDERED)
    assert told.linear.mean == pytest.approx(1, abs=1e-9)
    for found in (gone.linear, gone.forest):
        assert found.mean < 5 * found.standard_error
        assert found.mean < 0.05


def test_classes_of_two_gaussians_are_read_as_well_as_they_can_be():
    """At -1 and 1 with noise of sd s: Phi(1 / s), and chance is the larger class."""
    known = (rng().random((2_000, 1)) < 0.3).astype(int)
    code = 2.0 * known - 1 + rng(1).normal(size=known.shape) * 0.8
    even = (rng(2).random((2_000, 1)) < 0.5).astype(int)
    of_even = 2.0 * even - 1 + rng(3).normal(size=even.shape) * 0.8
    (one,) = factor_readout(of_even, even, (Factor("shape", 2, "class"),))
    truth = stats.norm.cdf(1 / 0.8)
    assert abs(one.linear.mean - truth) < 5 * one.linear.standard_error
    assert one.measure == "accuracy"
    (skewed,) = factor_readout(code, known, (Factor("shape", 2, "class"),))
    assert skewed.chance == pytest.approx(np.bincount(known[:, 0]).max() / 2_000)
    assert skewed.linear.mean > skewed.chance + 5 * skewed.linear.standard_error


def test_a_circle_is_read_from_two_units_by_a_line_and_from_one_by_a_forest():
    known = pair_of_factors(600, (16, 2))
    angle = 2 * np.pi * known[:, 0] / 16
    described = (Factor("rotation", 16, "circular"), Factor("b", 2))
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert factor_readout(circle, known, described)[0].linear.mean == pytest.approx(1, abs=1e-9)
    one_unit = known[:, :1].astype(float)
    found = factor_readout(one_unit, known, described)[0]
    # The best line through sixteen points of the circle, by least squares.
    values = np.arange(16.0)
    points = described[0].coordinates(values)
    line = np.polynomial.Polynomial.fit
    left = sum(np.square(column - line(values, column, 1)(values)).sum() for column in points.T)
    assert found.linear.mean == pytest.approx(1 - left / 16, abs=0.05)
    assert found.forest.mean > 0.95


def test_one_line_of_each_factor_is_printed_with_what_the_scores_hide():
    """A code without b: the pair score says 1, the table says that b is not there."""
    known = pair_of_factors(800)
    code = np.stack([known[:, 0] - 3.5, 1e-3 * rng(1).normal(size=800)], 1)
    found = code_disentanglement(
        code, code[None], known, ORDERED, num_train=200, num_test=200, repeats=2
    )
    assert found.pairs.score.mean == 1.0
    assert found.gap.mig.mean == pytest.approx(0.5, abs=0.02)
    lines = list(found.lines())
    for text in ("chance 0.500", "null", "does not see a missing factor", "800 images, 2 factors"):
        assert any(text in line for line in lines), text
    entries = found.entries()
    assert entries["pair_score"]["mean"] == 1.0
    assert entries["factors"]["b"]["linear"]["mean"] < 0.05
    assert entries["factors"]["a"]["best_units"][0] == 0


@pytest.mark.parametrize(
    ("code", "known", "match"),
    [
        (np.zeros((20, 2)), pair_of_factors(20, (2, 2, 2)), "3 factors, but 2 are described"),
        (np.zeros((20, 2)), pair_of_factors(10), r"factors must have shape \(20, F\)"),
        (np.full((20, 2), np.inf), pair_of_factors(20), "NaN or infinite"),
    ],
)
def test_bad_input_is_one_line(code, known, match):
    with pytest.raises(InputError, match=match) as error:
        factor_readout(code, known, ORDERED)
    assert "\n" not in str(error.value)
