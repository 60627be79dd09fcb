"""Three coupled channels: the sum over all colours, the order of the coupling, draws and means."""

import pytest
import torch

from pyro_vae.distributions import DiscretisedLogistic, DiscretisedLogisticMixture
from tests.statistics import chi_square_score, double_precision, z_scores


def mixture(components=2, height=1, width=1, *, coupled=True, batch=(), log_scale=-2.5):
    event = (height, width)
    logits = torch.randn(*batch, components, *event)
    loc = 0.5 * torch.randn(*batch, components, 3, *event)
    log_scales = log_scale + 0.3 * torch.randn(*batch, components, 3, *event)
    coefficients = torch.randn(*batch, components, 3, *event).tanh() if coupled else None
    return DiscretisedLogisticMixture(logits, loc, log_scales, coefficients)


def test_the_colours_of_a_pixel_sum_to_one():
    """All 256^3 of them, one red at a time; two components, of which one lies at the edge.

    In float32, in half the time of float64, whose sum is one to 2e-16.
    """
    distribution = DiscretisedLogisticMixture(
        torch.tensor([0.3, -0.5]).reshape(2, 1, 1),
        torch.tensor([[0.1, -0.3, 0.5], [1.1, -0.9, 0.7]]).reshape(2, 3, 1, 1),
        torch.tensor([[-3.0, -1.0, -2.0], [-1.0, 0.5, -4.0]]).reshape(2, 3, 1, 1),
        torch.tensor([[0.4, -0.8, 0.6], [-0.9, 0.9, 0.2]]).reshape(2, 3, 1, 1),
        validate_args=False,
    )
    levels = torch.arange(256.0)
    colours = torch.cartesian_prod(torch.zeros(1), levels, levels).reshape(-1, 3, 1, 1)
    total = 0.0
    for red in levels:
        colours[:, 0] = red
        total += distribution.log_prob(colours).exp().sum(dtype=torch.float64).item()
    assert total == pytest.approx(1, abs=1e-6)


def test_channel_by_channel_the_levels_sum_to_one():
    """A component alone: P(r), P(g | r) and P(b | r, g), each over 256 levels."""
    with double_precision():
        one = mixture(components=1, log_scale=-1.0)
        levels = torch.arange(256.0)

        def log_mass(colours):
            return one.log_prob(colours).exp()

        def sums(red, green):
            blue = torch.cartesian_prod(red, green, levels).reshape(-1, 3, 1, 1)
            return log_mass(blue).reshape(len(red), len(green), 256).sum(-1)

        three = torch.tensor([0.0, 100.0, 255.0])
        joint = sums(three, levels)  # P(r, g), blue summed out
        single = DiscretisedLogistic(one.loc[0, 0, 0], one.log_scale[0, 0, 0])
        expected = single.log_prob(three[:, None]).exp()
        torch.testing.assert_close(joint.sum(-1), expected, rtol=1e-9, atol=1e-15)
        after = one.loc[0, 1, 0] + one.coefficients[0, 0, 0] * (three[:, None] / 127.5 - 1)
        green = DiscretisedLogistic(after[:, None], one.log_scale[0, 1, 0])
        expected = green.log_prob(levels[:, None]).exp() * expected[:, None]
        torch.testing.assert_close(joint, expected, rtol=1e-9, atol=1e-15)


def test_without_coupling_channels_share_their_component_alone():
    with double_precision():
        free = mixture(coupled=False, components=3, height=2, width=4, batch=(5,))
        coupled = DiscretisedLogisticMixture(
            free.logits, free.loc, free.log_scale, torch.zeros_like(free.loc)
        )
        values = free.sample((6,))
        torch.testing.assert_close(coupled.log_prob(values), free.log_prob(values))
        torch.testing.assert_close(coupled.mean, free.mean)
        # Of one component the channels are independent of each other ...
        one = mixture(coupled=False, components=1, height=2, width=4)
        apart = DiscretisedLogistic(one.loc[0], one.log_scale[0], event_dim=3)
        torch.testing.assert_close(one.log_prob(values), apart.log_prob(values))
        torch.testing.assert_close(one.mean, apart.mean)
        torch.testing.assert_close(one.variance, apart.variance)
        # ... and of an image of one channel it is the mixture over rows.
        grey = DiscretisedLogisticMixture(
            free.logits, free.loc[..., :1, :, :], free.log_scale[..., :1, :, :]
        )
        flat = (free.logits, free.loc[..., 0, :, :], free.log_scale[..., 0, :, :])
        rows = DiscretisedLogisticMixture(*(values.flatten(-2) for values in flat))
        torch.testing.assert_close(
            grey.log_prob(values[..., :1, :, :]), rows.log_prob(values[..., 0, :, :].flatten(-2))
        )


def test_draws_have_the_density():
    """Chi-square over colours in cubes of 4 levels, all within 20 levels of the middle."""
    with double_precision():
        event = torch.Size((2, 3, 1, 1))
        one = DiscretisedLogisticMixture(
            torch.tensor([0.2, -0.2]).reshape(2, 1, 1),
            torch.tensor([[-0.03, 0.02, 0.04], [0.03, -0.02, 0.02]]).reshape(event),
            torch.full(event, -4.5),
            torch.tensor([[0.9, -0.7, 0.5], [-0.8, 0.6, 0.9]]).reshape(event),
        )
        near = torch.arange(108.0, 148.0)
        colours = torch.cartesian_prod(near, near, near)
        mass = one.log_prob(colours[..., None, None]).exp()
        assert mass.sum().item() == pytest.approx(1, abs=1e-3)

        def cell(colours):
            place = ((colours - 108) // 4).clamp(0, 9).long()
            return place[:, 0] * 100 + place[:, 1] * 10 + place[:, 2]

        expected = torch.zeros(1000).index_add(0, cell(colours), mass)
        kept = expected > 1e-3
        draws = one.sample((40_000,))[..., 0, 0]

        def score(draws):
            counts = cell(draws).bincount(minlength=1000)[kept]
            rest = len(draws) - counts.sum(0, keepdim=True)
            masses = torch.cat((expected[kept], 1 - expected[kept].sum(0, keepdim=True)))
            return chi_square_score(torch.cat((counts, rest)), masses)

        assert score(draws) < 5
        assert score(draws[:, [1, 0, 2]]) > 8
        assert score(draws[:, [0, 2, 1]]) > 8
        assert score(draws + torch.tensor([0, 0, 1])) > 8


def test_means_of_coupled_channels_are_near_where_no_tail_is_cut():
    with double_precision():
        inner = mixture(components=3, height=2, width=2, log_scale=-4.0)
        inner = DiscretisedLogisticMixture(
            inner.logits, 0.2 * inner.loc, inner.log_scale, 0.3 * inner.coefficients
        )
        draws = inner.sample((20_000,))
        # Rounding to levels is all that the mean through the means leaves out.
        assert z_scores(draws, inner.mean).max() < 5
        wrong = DiscretisedLogisticMixture(inner.logits, inner.loc, inner.log_scale)
        assert z_scores(draws, wrong.mean).max() > 8
        with pytest.raises(NotImplementedError, match="coupled"):
            _ = inner.variance


def test_each_image_of_particles_and_data_is_scored_by_itself():
    many = mixture(batch=(4, 5), height=2, width=3)
    values = many.sample((7,))
    assert values.shape == (7, 4, 5, 3, 2, 3)
    log_p = many.log_prob(values)
    assert log_p.shape == (7, 4, 5)
    alone = DiscretisedLogisticMixture(
        *(p[1, 2] for p in (many.logits, many.loc, many.log_scale, many.coefficients))
    )
    torch.testing.assert_close(alone.log_prob(values[:, 1, 2]), log_p[:, 1, 2])
    # Data without particles broadcast; an expanded copy draws anew for each.
    assert many.log_prob(values[0, 0]).shape == (4, 5)
    copies = alone.expand((6, 5))
    assert copies.log_prob(values[0, 0]).shape == (6, 5)
    assert copies.mean.shape == copies.sample().shape == (6, 5, 3, 2, 3)
    assert len(copies.sample().flatten(2).flatten(0, 1).unique(dim=0)) == 30
