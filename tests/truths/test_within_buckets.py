"""Levels given their buckets: they sum to one, agree with the mixture, and never leave a bucket."""

import itertools

import pytest
import torch

from pyro_vae.distributions import DiscretisedLogistic, DiscretisedLogisticMixture, WithinBuckets
from pyro_vae.distributions.discretised_logistic import log_prob_of_bucket, log_prob_of_levels
from pyro_vae.errors import InputError
from pyro_vae.programs.representations import Quantise
from tests.statistics import chi_square_score

COMPONENTS = 3


def parameters(event, places, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return draw(COMPONENTS, *places), 0.7 * draw(COMPONENTS, *event), draw(COMPONENTS, *event) - 2.5


@pytest.mark.parametrize("size", [1, 2, 16, 128, 256])
def test_a_bucket_is_the_sum_of_its_levels(size):
    _, loc, log_scale = parameters((6,), (6,))
    for start in range(0, 256, size):
        levels = torch.arange(start, start + size, dtype=torch.float64)[:, None, None]
        total = log_prob_of_levels(levels, loc, log_scale).logsumexp(0)
        found = log_prob_of_bucket(torch.full((6,), float(start)).double(), size, loc, log_scale)
        torch.testing.assert_close(found, total, rtol=0, atol=1e-9)


@pytest.mark.parametrize("bits", [1, 4, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_bucket_sums_to_one(bits, dtype):
    logits, loc, log_scale = parameters((1,), (1,), dtype=dtype)
    quantise = Quantise((1, 1, 1), bits)
    levels = torch.arange(256, dtype=dtype)[:, None]
    first = quantise.first_level(levels)
    log_p = WithinBuckets(logits, loc, log_scale, first, quantise.size).log_prob(levels)
    sums = torch.zeros(256, dtype=dtype).index_add_(0, first[:, 0].long(), log_p.exp())
    torch.testing.assert_close(
        sums[:: quantise.size], torch.ones(2**bits, dtype=dtype), rtol=0, atol=1e-5
    )


def test_colours_of_a_place_share_their_component():
    """All 4^3 colours of three buckets of 4 levels sum to one, and are the mixture's in share."""
    logits, loc, log_scale = parameters((3, 1, 1), (1, 1))
    first = torch.tensor([100.0, 148, 84], dtype=torch.float64).reshape(3, 1, 1)
    found = WithinBuckets(logits, loc, log_scale, first, 4)
    colours = torch.tensor([*itertools.product(range(4), repeat=3)]).double()
    values = colours.reshape(64, 3, 1, 1) + first
    log_p = found.log_prob(values)
    assert abs(log_p.exp().sum() - 1) < 1e-12
    of_all = DiscretisedLogisticMixture(logits, loc, log_scale).log_prob(values)
    torch.testing.assert_close(log_p, of_all.log_softmax(0))
    # Channels that had each a component of their own would give other shares.
    apart = sum(
        DiscretisedLogisticMixture(logits[..., 0], loc[:, c, 0], log_scale[:, c, 0]).log_prob(
            values[:, c, 0]
        )
        for c in range(3)
    )
    assert (apart.log_softmax(0) - log_p).abs().max() > 1e-2


def test_draws_have_the_density_and_stay_in_their_buckets():
    logits, loc, log_scale = parameters((1,), (1,), seed=4)
    first = torch.tensor([96.0], dtype=torch.float64)
    found = WithinBuckets(logits, loc, log_scale, first, 32)
    torch.manual_seed(0)
    drawn = found.sample((40_000,))
    assert drawn.min() >= 96
    assert drawn.max() <= 127
    levels = torch.arange(96.0, 128, dtype=torch.float64)[:, None]
    expected = found.log_prob(levels).exp()
    counts = torch.bincount(drawn[:, 0].long() - 96, minlength=32)
    assert abs(chi_square_score(counts, expected)) < 4
    assert abs(chi_square_score(counts, torch.full((32,), 1 / 32).double())) > 8
    error = drawn.std() / 200
    assert abs(drawn.mean() - found.mean) < 4 * error
    assert (found.log_prob(torch.tensor([95.0]).double())) == -torch.inf


def test_images_of_colour_are_drawn_within_buckets():
    logits, loc, log_scale = parameters((3, 4, 5), (4, 5), dtype=torch.float32)
    quantise = Quantise((3, 4, 5), 3)
    image = torch.randint(0, 256, (2, 3, 4, 5)).float()
    first = quantise.first_level(image)
    drawn = WithinBuckets(logits, loc, log_scale, first, quantise.size).sample((50,))
    assert drawn.shape == (50, 2, 3, 4, 5)
    assert torch.equal(quantise.first_level(drawn), first.expand_as(drawn))
    assert (drawn != drawn[:1]).any()


def test_hopeless_buckets_keep_their_digits():
    """Far from the location a difference of cumulatives would be 0 - 0."""
    loc, log_scale = torch.tensor([[-1.0]]), torch.tensor([[-6.0]])
    found = WithinBuckets(torch.zeros(1, 1), loc, log_scale, torch.tensor([240.0]), 8)
    exact = DiscretisedLogistic(loc[0].double(), log_scale[0].double())
    levels = torch.arange(240.0, 248)[:, None]
    expected = exact.log_prob(levels.double()).log_softmax(0)
    torch.testing.assert_close(found.log_prob(levels).double(), expected, rtol=1e-4, atol=1e-3)


def test_buckets_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="do not fit 256"):
        WithinBuckets(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1), 3)
