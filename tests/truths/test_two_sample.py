"""The classifier two-sample test: chance under its null, the best there is where laws differ."""

import math

import pytest
import torch

from pyro_vae import InputError
from pyro_vae.evaluation import two_sample_test

PIXELS = 8


def rows(count, seed, shift=0.0):
    noise = torch.randn(count, PIXELS, generator=torch.Generator().manual_seed(seed))
    return noise + shift


def test_one_law_is_told_apart_by_chance_and_its_error_is_that_of_chance():
    """Over seeds accuracy and null are 1/2, and spread as the binomial says."""
    found = [
        two_sample_test(rows(400, seed), rows(200, 100 + seed), steps=30, seed=seed)
        for seed in range(40)
    ]
    for name in ("accuracy", "null"):
        values = torch.tensor([getattr(one, name).mean for one in found])
        error = 0.5 / math.sqrt(200)
        assert abs(values.mean() - 0.5) < 4 * error / math.sqrt(40)
        assert 0.7 < values.std() / error < 1.4  # 40 seeds: 11 % of an error
        told = torch.tensor([getattr(one, name).standard_error for one in found])
        torch.testing.assert_close(told, torch.full((40,), error), rtol=0.02, atol=0)
    p = torch.tensor([one.p_value for one in found])
    assert 0.25 < p.mean() < 0.75
    assert p.std() > 0.15


def test_two_gaussians_are_told_apart_as_well_as_their_best_rule():
    """Means d apart along the diagonal: Phi(d / 2) of the hits; not less by much, never more."""
    shift = 1.0 / math.sqrt(PIXELS)
    best = 0.5 * math.erfc(-0.5 / math.sqrt(2))  # d = 1
    found = two_sample_test(rows(8_000, 0), rows(4_000, 1, shift), steps=300)
    assert found.accuracy.mean < best + 4 * found.accuracy.standard_error
    assert found.accuracy.mean > best - 0.04
    assert found.null.mean < best - 0.1
    assert found.p_value < 1e-6
    far = two_sample_test(rows(400, 0), rows(200, 1, 5.0), steps=100)
    assert far.accuracy.mean > 0.99
    assert "accuracy 1.000" in str(far) or "accuracy 0.99" in str(far)


def test_images_are_read_by_convolutions():
    """A line that may lie in any row or any column: pixels alone differ in nothing."""
    number, side = 800, 8
    generator = torch.Generator().manual_seed(0)

    def lines(count, across):
        images = 0.3 * torch.randn(count, side, side, generator=generator)
        place = torch.randint(side, (count,), generator=generator)
        images[torch.arange(count), place] += 2.0
        return (images if across else images.mT).reshape(count, -1)

    found = two_sample_test(lines(2 * number, True), lines(number, False), (1, side, side))
    assert found.accuracy.mean > 0.95
    assert found.null.mean < 0.6


def test_a_seed_gives_the_same_numbers_and_leaves_the_generator():
    real, other = rows(100, 0), rows(50, 1, 0.5)
    state = torch.get_rng_state()
    first, second = (two_sample_test(real, other, steps=20, seed=3) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert two_sample_test(real, other, steps=20, seed=4) != first
    assert first.num_images == 50


@pytest.mark.parametrize(
    ("real", "generated", "settings", "match"),
    [
        (rows(40, 0), rows(19, 1), {}, "at least 20 generated images .* got 19 and 40"),
        (rows(39, 0), rows(20, 1), {}, "half of them for its null; got 20 and 39"),
        (rows(40, 0), rows(20, 1)[:, 1:], {}, r"shape \(8,\) cannot be compared .* \(7,\)"),
        (torch.zeros(40, 3), torch.zeros(20, 3), {}, "the rows are constant"),
        (rows(40, 0), rows(20, 1), {"steps": 0}, "steps must be a whole number of at least 1"),
        (rows(40, 0), rows(20, 1), {"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(real, generated, settings, match):
    with pytest.raises(InputError, match=match):
        two_sample_test(real, generated, **settings)
