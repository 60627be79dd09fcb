"""Levels under a logistic density, and categorical ones: sums, precision, draws and moments."""

import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.distributions import (
    CategoricalLevels,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
)
from pyro_vae.errors import InputError
from tests.statistics import assert_mean_close, chi_square_score, double_precision

TYPES = [torch.float32, torch.float64]
ROUNDING = {torch.float32: 2e-5, torch.float64: 1e-12}
LOCS = (-30.0, -1.3, -1.0, -0.2, 0.0, 0.9, 1.0, 1.02, 50.0)
LOG_SCALES = (-100.0, -7.0, -5.0, -3.0, -1.0, 0.0, 3.0, 100.0)


def parameters(dtype):
    """Every location with every log-scale, as 72 independent pixels of one row each."""
    grid = torch.cartesian_prod(torch.tensor(LOCS), torch.tensor(LOG_SCALES))
    return grid.to(dtype)[:, None].unbind(-1)


def masses(distribution, dtype):
    """P(v) of all 256 levels, along the first axis."""
    levels = torch.arange(256, dtype=dtype).reshape(-1, *[1] * len(distribution.shape()))
    return distribution.log_prob(levels.expand(256, *distribution.shape())).exp()


def areas(loc, log_scale, *, tails=True):
    """P(v) of 256 levels as differences of sigmoids in float64, by the definition."""
    loc, scale = 127.5 * (1 + loc), 127.5 * torch.exp(log_scale.clamp(-7, 7))
    edges = torch.arange(257, dtype=torch.float64)[:, None] - 0.5
    below = torch.sigmoid((edges - loc) / scale)
    if tails:
        below[0], below[-1] = 0, 1
    return below.diff(dim=0)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_levels_sum_to_one_for_any_parameters(dtype):
    found = masses(DiscretisedLogistic(*parameters(dtype)), dtype)
    assert torch.isfinite(found).all()
    assert (found.sum(0) - 1).abs().max() < ROUNDING[dtype]


def test_without_the_tails_they_would_not():
    loc, log_scale = (values.squeeze(-1) for values in parameters(torch.float64))
    assert (areas(loc, log_scale, tails=False).sum(0) - 1).abs().max() > 0.4


def test_probabilities_are_areas_under_the_logistic_density():
    loc, log_scale = parameters(torch.float64)
    expected = areas(loc.squeeze(-1), log_scale.squeeze(-1))
    found = masses(DiscretisedLogistic(loc, log_scale), torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_mixture_sums_to_one(dtype):
    torch.manual_seed(0)
    loc, log_scale = 2 * torch.randn(2, 7, 5, 6, dtype=dtype)
    logits = 3 * torch.randn(7, 5, 6, dtype=dtype)
    found = masses(
        DiscretisedLogisticMixture(*(p[..., :1] for p in (logits, loc, log_scale))), dtype
    )
    assert (found.sum(0) - 1).abs().max() < ROUNDING[dtype]


def test_categorical_levels_sum_to_one():
    torch.manual_seed(0)
    logits = 5 * torch.randn(7, 256, 1, 1, 1, dtype=torch.float64)
    assert (masses(CategoricalLevels(logits), torch.float64).sum(0) - 1).abs().max() < 1e-12


def test_single_precision_is_exact_down_to_hopeless_values():
    """log P to -2500 nats, where a difference of sigmoids has nothing left from -104 on."""
    loc, log_scale = parameters(torch.float32)
    near = loc.squeeze(-1).abs() < 2
    loc, log_scale = loc[near], log_scale[near]
    levels = torch.arange(256.0)[:, None, None].expand(256, *loc.shape)
    single = DiscretisedLogistic(loc, log_scale).log_prob(levels)
    double = DiscretisedLogistic(loc.double(), log_scale.double()).log_prob(levels.double())
    assert double.min() < -2500
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-4)
    difference = areas(loc.squeeze(-1), log_scale.squeeze(-1)).float().log()
    assert torch.isinf(difference).any()


def test_the_clamp_is_at_a_scale_of_an_eighth_of_a_level():
    """Below it a location in the middle of a level gives that level 0.97 of the mass."""
    assert 127.5 * math.exp(-7) == pytest.approx(0.116, abs=1e-3)
    at, below = (
        masses(DiscretisedLogistic(torch.tensor([1 / 255]), torch.tensor([s])), torch.float32)
        for s in (-7.0, -20.0)
    )
    assert torch.equal(at, below)
    assert at[128].item() == pytest.approx(1 - 2 / (1 + math.exp(0.5 / 0.116)), abs=1e-2)


@pytest.mark.parametrize(
    "make",
    [
        lambda loc, raw: DiscretisedLogistic(loc[0], raw[0] - 1),
        lambda loc, raw: DiscretisedLogisticMixture(raw, loc, raw - 2),
        lambda loc, raw: CategoricalLevels(3 * torch.randn(256, loc.shape[-1]), event_dim=1),
    ],
    ids=["logistic", "mixture", "categorical"],
)
def test_draws_have_the_density_and_the_moments(make):
    with double_precision():
        distribution = make(*0.5 * torch.randn(2, 3, 2))
        draws = distribution.sample((40_000,))
        assert draws.dtype == torch.float64
        for pixel in range(2):
            one = draws[:, pixel].long()
            p = torch.zeros(256).index_add(0, one, torch.ones(len(one)))
            levels = torch.arange(256.0)[:, None]
            rows = torch.zeros(256, 2) + levels
            rows[:, 1 - pixel] = 0
            other = distribution.log_prob(rows)
            mass = (other - other.logsumexp(0)).exp()
            # Cells of at least 1 % of the mass, so that chi-square has its own spread.
            cell = (mass.cumsum(0) * 60).long().clamp(max=59)
            expected = torch.zeros(60).index_add(0, cell, mass)
            counts = torch.zeros(60).index_add(0, cell, p)
            kept = expected > 0
            assert chi_square_score(counts[kept], expected[kept]) < 5
            shifted = torch.zeros(60).index_add(0, cell, p.roll(3))
            assert chi_square_score(shifted[kept], expected[kept]) > 8
        assert_mean_close(draws, distribution.mean)
        assert_mean_close((draws - distribution.mean).square(), distribution.variance)


@pytest.mark.parametrize("dtype", TYPES)
def test_density_and_gradient_are_one_record(dtype):
    """No Python looks at the data: what make_fx records on one row holds for another."""
    torch.manual_seed(0)

    def loss_and_gradient(value, logits, loc, log_scale, coefficients):
        given = loc, log_scale, coefficients
        log_p = DiscretisedLogisticMixture(logits, *given, validate_args=False).log_prob(value)
        single = DiscretisedLogistic(loc[:, 0], log_scale[:, 0], event_dim=3, validate_args=False)
        total = log_p.sum() + single.log_prob(value).sum()
        return total, *torch.autograd.grad(total, given)

    def inputs(low, high):
        value = torch.randint(low, high, (2, 3, 4, 4)).to(dtype)
        parts = [torch.randn(2, 5, *event, dtype=dtype) for event in [(4, 4), *[(3, 4, 4)] * 3]]
        return value, *[part.requires_grad_() for part in parts]

    record = make_fx(loss_and_gradient)(*inputs(5, 250))
    other = inputs(0, 2)  # at the edge, where other terms count
    for found, expected in zip(record(*other), loss_and_gradient(*other), strict=True):
        assert torch.equal(found, expected)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            torch.tensor([3.5, 0.0]),
            "the value 3.5 is outside .*allowed: whole levels from 0 to 255",
        ),
        (torch.tensor([0.0, 256.0]), "the value 256 is outside"),
        (torch.tensor([-1.0, 0.0]), "the value -1 is outside"),
        (torch.tensor([torch.nan, 0.0]), "the value nan is outside"),
        (torch.zeros(3), r"a value of shape \(3,\) has no event of shape \(2,\)"),
        (torch.zeros(4, 2), r"shape \(4, 2\) does not broadcast with the batch shape \(5,\)"),
    ],
)
def test_bad_values_are_named_in_one_line(value, message):
    for distribution in (
        DiscretisedLogistic(torch.zeros(5, 2), torch.zeros(5, 2), validate_args=True),
        DiscretisedLogisticMixture(*torch.zeros(3, 5, 4, 2), validate_args=True),
        CategoricalLevels(torch.zeros(5, 256, 2), event_dim=1, validate_args=True),
    ):
        with pytest.raises(InputError, match=message) as caught:
            distribution.log_prob(value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: DiscretisedLogistic(*torch.full((2, 1), torch.nan), validate_args=True),
            "loc of DiscretisedLogistic holds nan",
        ),
        (
            lambda: DiscretisedLogisticMixture(*torch.zeros(3, 0, 2)),
            "number of components must be a whole number of at least 1, got 0",
        ),
        (
            lambda: DiscretisedLogisticMixture(torch.zeros(4, 3), *torch.zeros(2, 4, 2)),
            r"logits have shape \(4, 3\) beside a loc of shape \(4, 2\)",
        ),
        (
            lambda: DiscretisedLogisticMixture(torch.zeros(4, 2), *torch.zeros(3, 4, 1, 2, 2)),
            "logits have shape",
        ),
        (
            lambda: DiscretisedLogisticMixture(torch.zeros(4, 2, 2), *torch.zeros(3, 4, 1, 2, 2)),
            "couple three channels",
        ),
        (lambda: CategoricalLevels(torch.zeros(255, 1, 2, 2)), "want 256 levels"),
    ],
)
def test_bad_parameters_are_named_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
