"""The score of Higgins et al. 2017 on codes whose accuracy is known in closed form."""

import numpy as np
import pytest

from pyro_vae import InputError
from pyro_vae.evaluation import pair_score
from tests.statistics import z_score

SIZES = (3, 6, 16, 8)  # values of four factors
FEW = {"num_train": 1_000, "num_test": 1_000, "repeats": 1}


def factors(num=1_500, sizes=SIZES, seed=0):
    return np.random.default_rng(seed).integers(0, sizes, (num, len(sizes)))


def code_of(values):
    """The factors themselves, each with mean 0 and sd 1."""
    return (values - values.mean(0)) / values.std(0)


def rotation(degrees):
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def hits_around(accuracy, num=FEW["num_test"]):
    """Standard error of an accuracy."""
    return max(np.sqrt(accuracy * (1 - accuracy) / num), 1e-12)


@pytest.mark.parametrize("told", range(len(SIZES) + 1))
def test_a_code_that_tells_m_of_f_factors_scores_one_more(told):
    """(m + 1) / F: those that no unit tells are one class by exclusion, of which one is guessed.

    So a code without one of the factors scores 1, as if nothing were missing: the blind spot.
    """
    known = factors()
    code = code_of(known)
    code[:, told:] = 0.0
    expected = min(1.0, (told + 1) / len(SIZES))
    found = pair_score(code, known, **FEW)
    assert found.score.mean == pytest.approx(expected, abs=5 * hits_around(expected) + 0.003)
    assert found.chance == 1 / len(SIZES)
    if told == len(SIZES) - 1:
        assert found.score.mean == 1.0


def test_axes_mixed_alike_are_at_chance_and_others_hardly_seen():
    """Under y = 1 units vary by |sin| and |cos| of the angle, under y = 2 by |cos| and |sin|.

    At 45 degrees these are equal, and nothing is told. At 20 they differ by a factor of 2.7, and
    all is told, though no unit is of one factor.
    """
    known = factors(sizes=(8, 8))
    mixed = {
        degrees: pair_score(code_of(known) @ rotation(degrees), known, **FEW).score.mean
        for degrees in (20, 45)
    }
    assert mixed[45] == pytest.approx(0.5, abs=5 * hits_around(0.5))
    assert mixed[20] > 0.995


def test_a_batch_of_one_pair_cannot_tell_more_than_the_pair_does():
    """Two factors of two values: the other one agrees by chance in half of the pairs; 3 / 4."""
    known = factors(sizes=(2, 2))
    found = pair_score(code_of(known), known, batch=1, **FEW).score.mean
    assert found == pytest.approx(0.75, abs=5 * hits_around(0.75))
    assert pair_score(code_of(known), known, **FEW).score.mean == 1.0


def test_noise_is_at_chance_with_the_error_that_is_said():
    known = factors(num=600)
    noise = np.random.default_rng(1).normal(size=(600, 5))
    found = pair_score(noise, known, batch=8, num_train=400, num_test=400, repeats=12)
    assert abs(found.score.mean - 0.25) < 5 * found.score.standard_error
    # Errors of repeats that share images: no smaller than those of their test points alone.
    assert found.score.standard_error > 0.5 * hits_around(0.25, 400 * 12)
    told = pair_score(code_of(known), known, batch=8, num_train=400, num_test=400, repeats=3)
    assert z_score(told.values, 0.25) > 8


def test_units_that_hardly_move_hardly_count():
    """In units of the prior: a factor told with sd 1e-6 is a missing one."""
    known = factors(sizes=(6, 6, 6))
    code = code_of(known)
    code[:, 1:] *= 1e-6
    assert pair_score(code, known, **FEW).score.mean == pytest.approx(2 / 3, abs=0.08)


def test_a_seed_gives_the_same_score_and_pairs_are_of_one_half():
    known = factors(num=200, sizes=(3, 4))
    noisy = code_of(known) + np.random.default_rng(2).normal(size=known.shape)
    settings = {"num_train": 100, "num_test": 100, "batch": 4}
    first = pair_score(noisy, known, **settings)
    assert (first.values == pair_score(noisy, known, **settings).values).all()
    assert (first.values != pair_score(noisy, known, seed=1, **settings).values).any()
    assert len(set(first.values)) > 1  # repeats differ


def test_pairs_agree_in_their_factor_and_are_of_two_images():
    from pyro_vae.evaluation.disentanglement.pair_accuracy import _Agreeing

    values = np.array([2, 0, 1, 0, 2, 2, 1])
    first, second = _Agreeing(values).draw((20_000,), np.random.default_rng(0))
    assert (values[first] == values[second]).all()
    assert (first != second).all()
    # The first is any image, the second any other one of its value.
    assert np.bincount(first) / 20_000 == pytest.approx(np.full(7, 1 / 7), abs=0.015)
    others = second[first == 0]
    assert np.mean(others == 4) == pytest.approx(0.5, abs=0.05)
    assert set(others) == {4, 5}


@pytest.mark.parametrize(
    ("code", "known", "settings", "match"),
    [
        (np.zeros((20, 2)), np.zeros((19, 2), int), {}, r"factors must have shape \(20, F\)"),
        (np.zeros(20), np.zeros((20, 2), int), {}, r"codes must have shape \(N, U\)"),
        (np.zeros((4, 2)), np.zeros((4, 2), int), {}, "at least 8 images"),
        (np.full((20, 2), np.nan), np.zeros((20, 2), int), {}, "NaN or infinite"),
        (np.zeros((20, 2)), np.full((20, 2), 0.5), {}, "whole numbers from 0, got float64"),
        (np.zeros((20, 2)), np.full((20, 2), -1), {}, "whole numbers from 0, got int64 from -1"),
        (np.zeros((20, 2)), np.zeros((20, 2), int), {}, "factor 0 is 0 in all images"),
        (np.zeros((20, 2)), np.arange(20)[:, None] % 2, {}, "wants at least two; got one"),
        (np.zeros((20, 2)), np.stack([np.arange(20)] * 2, 1), {}, "one is the only one"),
        (np.zeros((20, 2)), factors(20, (2, 2)), {"batch": 0}, "batch must be a whole number"),
        (np.zeros((20, 2)), factors(20, (2, 2)), {"repeats": 0}, "repeats must be a whole number"),
    ],
)
def test_bad_input_is_one_line(code, known, settings, match):
    with pytest.raises(InputError, match=match) as error:
        pair_score(code, known, **settings)
    assert "\n" not in str(error.value)
