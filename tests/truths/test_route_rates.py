"""Rates of routes: exact where the receiver has all parents, and by hand where it draws them."""

import math

import pytest
import torch

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.evaluation import elbo_surgery, route_rate, route_rates
from tests.conftest import tiny_pair
from tests.self_supervised import level_rows, tiny_images
from tests.statistics import z_score

X = level_rows(8)


def terms_of(pair, seed=3):
    torch.manual_seed(seed)
    return pyro_vae.log_weights(*pair, X, 1)


def rate_of(pair, keep, given=(), seed=3, x=X):
    torch.manual_seed(seed)
    return route_rate(*pair, x, keep, given)


@pytest.fixture(scope="module")
def pair():
    return tiny_images(("downscale:2", "quantise:3"), likelihood="logistic")


def test_the_top_latent_costs_its_divergence_and_everything_the_elbo(pair):
    terms = terms_of(pair)
    top = rate_of(pair, ("z3",))
    nats = terms.log_ratios["z3"].mean().item()
    assert top.bits.mean * math.log(2) == pytest.approx(nats, rel=1e-5)
    whole = rate_of(pair, ("z1",), ("y1",))
    nats = -terms.log_w.mean().item()
    assert whole.lossless_bits * math.log(2) == pytest.approx(nats, rel=1e-5)
    # Of y1 alone it is the cost of y1 and y2: all but the terms of z1 and x.
    of_y1 = rate_of(pair, (), ("y1",))
    rest = terms.log_ratios["z1"].mean() - terms.log_likelihoods["x"].mean()
    assert of_y1.bits.mean * math.log(2) == pytest.approx(nats - rest.item(), rel=1e-5)


@torch.no_grad()
def test_a_latent_under_a_drawn_representation_is_coded_by_what_the_receiver_has():
    """RS2: log q(z1 | x) - log p(z1 | y1, z2) at y1 drawn from p(y1 | z2), not at d(x)."""
    model, guide = pair = tiny_images(seed=2)
    x = X[:1].expand(12_000, -1)
    found = rate_of(pair, ("z2", "z1"), x=x)
    torch.manual_seed(5)
    q1 = guide.conditionals[0](guide.encoders[0](x))
    z1, q2 = q1.sample(), guide.top(x)
    z2 = q2.sample()
    top = q2.log_prob(z2) - model.prior().log_prob(z2)

    def lower(y):
        return q1.log_prob(z1) - model.conditionals[0](y, z2).log_prob(z1)

    by_hand = top + lower(model.top(z2).sample())
    spread = math.hypot(1, 1) * by_hand.std().item() / len(x) ** 0.5
    assert abs(found.bits.mean * math.log(2) - by_hand.mean().item()) < 5 * spread
    of_elbo = top + lower(model.represent(x)[0])
    assert z_score(by_hand - of_elbo, 0.0) > 8


def test_numbers_are_those_of_the_paper():
    """Section 7.2: of a third, two thirds, a quarter and 7/12 of the numbers of a CIFAR image."""
    pair = pyro_vae.PairConfig("ssvae", "meanfield", latent=(1024, 1024)).build(3072, (3, 32, 32))
    x = level_rows(2, (3, 32, 32))
    shares = {rate.name: rate.share for rate in route_rates(*pair, x)}
    assert shares == pytest.approx({"RS1": 1 / 3, "RS2": 2 / 3, "from y1": 1 / 4, "CR": 7 / 12})


def test_distortion_falls_as_more_is_sent(pair):
    """Lossless coding by way of y1 costs what it costs; a given y1 tells x better than z3 does."""
    rates = {rate.name: rate for rate in route_rates(*pair, X)}
    assert [*rates] == ["RS1", "RS2", "RS3", "from y2", "from y1", "CR"]
    assert rates["RS1"].bits.mean < rates["from y2"].bits.mean < rates["from y1"].bits.mean
    assert rates["from y1"].bits.mean < rates["CR"].bits.mean
    for rate in rates.values():
        assert rate.psnr.mean > 0
        assert rate.nats.mean > 0


def test_a_perfect_mean_has_a_large_ratio():
    """By hand: 10 log10 of 255 squared over the mean square, per image."""
    pair = tiny_images()
    torch.manual_seed(4)
    found = route_rate(*pair, X, ("z2", "z1"), ())
    torch.manual_seed(4)
    made = pyro_vae.evaluation.reconstruct(*pair, X)["x:mean"]
    assert found.psnr.mean != 0
    by_hand = 10 * torch.log10(255**2 / (255 * (made - X)).square().mean(-1))
    assert found.psnr.mean == pytest.approx(by_hand.mean().item(), abs=1.0)


def test_bad_routes_are_named(pair):
    with pytest.raises(InputError, match="'y1' cannot be kept"):
        route_rate(*pair, X, ("y1",))
    with pytest.raises(InputError, match="'z1' cannot be given"):
        route_rate(*pair, X, (), ("z1",))
    with pytest.raises(InputError, match="models with representations"):
        route_rate(*tiny_pair(), torch.zeros(2, 6), ("z1",))


@pytest.mark.parametrize("guide", ["topdown", "bottomup"])
def test_a_model_without_representations_has_the_route_of_its_elbo(guide):
    """All latents kept: the bits and the nats that are left add up to -ELBO."""
    pair, x = tiny_pair(guide), torch.randn(5, 6)
    torch.manual_seed(3)
    (found,) = route_rates(*pair, x, seed=3)
    torch.manual_seed(3)
    terms = pyro_vae.log_weights(*pair, x, 1)
    assert (found.name, found.numbers, found.num_pixels) == ("RS", 7, 6)
    nats = sum(ratio.mean().item() for ratio in terms.log_ratios.values())
    assert found.bits.mean * math.log(2) == pytest.approx(nats, rel=1e-5)
    assert found.nats.mean == pytest.approx(-terms.log_w.mean().item() - nats, rel=1e-5)


def test_the_surgery_is_of_the_top_level_alone(pair):
    with pytest.raises(InputError, match=r"that of z1 does, through .* allowed: level='z3'"):
        elbo_surgery(*pair, X)
    with pytest.raises(InputError, match="that of z2 does"):
        elbo_surgery(*pair, X, level="z2")
    with pytest.raises(InputError, match="allowed: None, 'z2'"):
        elbo_surgery(*tiny_pair(), torch.zeros(2, 6), level="z1")
    torch.manual_seed(3)
    found = elbo_surgery(*pair, X, level="z3", chunk_size=100_000)
    terms = terms_of(pair)
    distortion = -(terms.log_w + terms.log_ratios["z3"]).mean().item()
    assert found.distortion == pytest.approx(distortion, rel=1e-5)
    split = found.mutual_information + found.marginal_kl
    assert found.rate == pytest.approx(split, abs=1e-6)
    assert -1e-9 <= found.mutual_information <= found.log_num_data
    # By hand: all draws under all posteriors.
    with torch.no_grad():
        z = terms.latents["z3"][0]
        log_q = pair[1].top(X).log_prob(z[:, None]).double()
        aggregate = log_q.logsumexp(1) - math.log(len(X))
        marginal = (aggregate - pair[0].prior().log_prob(z)).mean().item()
    assert found.marginal_kl == pytest.approx(marginal, abs=1e-4)


def test_the_surgery_of_one_level_is_that_of_all():
    one = tiny_pair(levels=1)
    x = torch.randn(7, 6)
    found = []
    for level in (None, "z1"):
        torch.manual_seed(0)
        found.append(elbo_surgery(*one, x, 3, level=level))
    for name in ("rate", "mutual_information", "marginal_kl", "distortion"):
        assert getattr(found[0], name) == pytest.approx(getattr(found[1], name), rel=1e-6)
