"""The mutual information gap of Chen et al. 2018 on codes whose gap is known in closed form."""

import numpy as np
import pytest

from pyro_vae import InputError
from pyro_vae.evaluation import information_gap
from tests.statistics import assert_mean_close, z_score

SIZES = (3, 6, 16, 8)


def factors(num=2_000, sizes=SIZES, seed=0):
    return np.random.default_rng(seed).integers(0, sizes, (num, len(sizes)))


def gap(code, known, **settings):
    return information_gap(code[None], known, **({"shuffles": 2} | settings))


def binary_entropy(p):
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


def test_the_factors_themselves_have_a_gap_of_one():
    """In any order of units and any scale; what is missing of one is what another unit repeats."""
    known = factors()
    code = known[:, [2, 0, 3, 1]] * [1e-3, -5.0, 2.0, 1.0] + 7.0
    found = gap(code, known)
    assert found.mig.mean == pytest.approx(1, abs=5 * found.nulls.max() + 0.005)
    assert found.units[:, 0].tolist() == [1, 3, 0, 2]
    best = found.shares[found.units[:, 0], range(4)]
    assert best == pytest.approx(np.ones(4), abs=1e-12)  # H by the estimator of I


def test_a_missing_factor_costs_its_share_and_one_known_twice_too():
    """The pair score is 1 without one factor; MIG is (F - 1) / F."""
    known = factors()
    whole = gap(known.astype(float), known).mig.mean
    missing = known.astype(float)
    missing[:, 1] = 0.0
    found = gap(missing, known)
    assert found.mig.mean == pytest.approx(0.75, abs=0.01)
    assert found.gaps[1] < 0.01
    twice = np.concatenate([known, known[:, :1] ** 2], axis=1).astype(float)
    assert gap(twice, known).gaps[0] == pytest.approx(0, abs=1e-12)
    assert gap(twice, known).mig.mean == pytest.approx(0.75, abs=0.01)
    assert whole > 0.98


def test_axes_turned_by_45_degrees_have_no_gap():
    """v1 + v2 and v1 - v2 tell as much of v1, by symmetry, and the pair score need not see it."""
    known = factors(4_000, (4, 4))
    turned = np.stack([known[:, 0] + known[:, 1], known[:, 0] - known[:, 1]], 1).astype(float)
    found = gap(turned, known)
    # A uniform v1, plus another: H(v1 + v2) - H(v2) of the triangular law, over log 4. Each of its
    # seven values is in 1 / 16 of the images or more, and so in a bin of 1 / 20 alone.
    triangle = np.convolve(np.full(4, 1 / 4), np.full(4, 1 / 4))
    share = (-(triangle * np.log(triangle)).sum() - np.log(4)) / np.log(4)
    assert found.shares == pytest.approx(np.full((2, 2), share), abs=0.015)
    assert found.mig.mean < 0.02
    assert share > 0.1  # there is something to be told


def test_flipped_bits_have_the_gap_of_two_channels():
    """Units are a bit flipped with probability e: I / H = 1 - h(e) / log 2. With its error."""
    first, second = 0.05, 0.3
    found, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        bit = rng.integers(0, 2, (500, 1))
        flips = rng.random((500, 2)) < (first, second)
        one = gap((bit ^ flips).astype(float), bit, shuffles=1)
        found.append(one.mig.mean)
        errors.append(one.mig.standard_error)
    truth = (binary_entropy(second) - binary_entropy(first)) / np.log(2)
    assert_mean_close(found, truth)
    assert z_score(found, 1 - binary_entropy(first) / np.log(2)) > 8
    # sd of 60 values is known to about 9 %.
    assert np.mean(errors) == pytest.approx(np.std(found, ddof=1), rel=0.4)


def test_noise_is_where_its_null_says():
    """Above 0, as the best of several units is, but within what shuffled rows give."""
    rng = np.random.default_rng(0)
    differences, gaps = [], []
    for seed in range(30):
        known = factors(400, (3, 8), seed)
        found = gap(rng.normal(size=(400, 6)), known, shuffles=10, seed=seed)
        differences.append(found.mig.mean - found.nulls.mean())
        gaps.append(found.mig.mean)
    assert_mean_close(differences, 0.0)
    assert z_score(gaps, 0.0) > 8  # so the null is needed


def test_bins_of_unrelated_units_have_no_information_on_average():
    """What is taken off is (bins - 1) (values - 1) / (2 N): as much as the shares would be."""
    shares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        known = np.stack([np.arange(2_560) % 8, np.arange(2_560) // 1_280], 1)
        found = gap(rng.normal(size=(2_560, 2)), known, shuffles=1)
        shares.append(found.shares[:, 0] * np.log(8))
    assert_mean_close(np.mean(shares, axis=1), 0.0)
    assert found.largest_bias == 19 * 7 / 5120
    assert abs(np.mean(shares)) < found.largest_bias / 10


def test_draws_say_what_collapsed_means_hide():
    """Means of a collapsed unit differ in their last digits, and cut at quantiles they tell all."""
    known = factors(1_000, (4, 4))
    rng = np.random.default_rng(0)
    means = np.stack([known[:, 0] * 1.0, known[:, 1] * 1e-6], 1)
    draws = means + rng.normal(size=(3, 1_000, 2)) * [0.01, 1.0]
    assert gap(means, known).mig.mean > 0.98
    found = information_gap(draws, known, shuffles=3)
    assert found.mig.mean == pytest.approx(0.5, abs=0.03)
    assert found.gaps[1] < 0.03


@pytest.mark.parametrize(
    ("draws", "known", "settings", "match"),
    [
        (np.zeros((20, 2)), factors(20, (2, 2)), {}, r"codes must have shape \(S, N, U\)"),
        (np.zeros((1, 20, 1)), factors(20, (2, 2)), {}, "between two units, and the code has one"),
        (np.zeros((1, 20, 2)), factors(19, (2, 2)), {}, r"factors must have shape \(20, F\)"),
        (np.zeros((1, 20, 2)), factors(20, (2, 2)), {"bins": 1}, "bins must be a whole number"),
        (np.zeros((1, 20, 2)), factors(20, (2, 2)), {"shuffles": 0}, "shuffles must be"),
    ],
)
def test_bad_input_is_one_line(draws, known, settings, match):
    with pytest.raises(InputError, match=match) as error:
        information_gap(draws, known, **settings)
    assert "\n" not in str(error.value)
