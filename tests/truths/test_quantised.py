"""The quantised self-supervised VAE: no mass beside the buckets, and bounds of x itself."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.evaluation import bidirectional, consistency, evaluate
from pyro_vae.programs import LocScale, SelfSupervisedGuide, SelfSupervisedVAE
from pyro_vae.programs.likelihoods import Categorical, Logistic, LogisticMixture, Quantised
from pyro_vae.programs.networks import MLP
from pyro_vae.programs.priors import StandardPrior
from pyro_vae.programs.representations import chain
from tests.self_supervised import level_rows, tiny_images
from tests.statistics import double_precision, z_score

SHAPE = (1, 2, 1)
TOP = 255


class Mixed(nn.Module):
    """A likelihood of rows of two pixels that reads y and z."""

    pixels = "levels"

    def __init__(self, made, **settings):
        super().__init__()
        self.inner = made((2, 3), (4,), 2, image_shape=SHAPE, **settings)

    def forward(self, y, z):
        return self.inner(y, z)


def quantised(bits=3, own_bits=8, seed=0):
    torch.manual_seed(seed)
    return Quantised(uncoupled(), bits, own_bits)


def uncoupled():
    return Mixed(LogisticMixture, components=2, coupled=False)


def every_image(levels=range(256)):
    return torch.tensor([*itertools.product(levels, repeat=2)]).double() / TOP


@pytest.mark.parametrize(("bits", "own_bits"), [(3, 8), (1, 8), (2, 5)])
def test_all_mass_lies_where_the_representation_agrees(bits, own_bits):
    """Over the images of two pixels: one inside the buckets of y, exactly zero elsewhere."""
    with double_precision():
        part = quantised(bits, own_bits)
        (outer,) = chain([f"quantise:{bits}"], SHAPE)
        images = every_image()
        own = images
        if own_bits < 8:
            (finer,) = chain([f"quantise:{own_bits}"], SHAPE)
            own = finer(images).unique(dim=0)
        z = torch.randn(3)
        for y in outer(images).unique(dim=0)[::7]:
            log_p = part(y, z).log_prob(own)
            agrees = (outer(own) == y).all(-1)
            assert log_p[agrees].exp().sum().item() == pytest.approx(1, abs=1e-9)
            assert torch.isneginf(log_p[~agrees]).all()
            if own_bits < 8:  # levels that no image of so few bits has
                others = images[(finer(images) != images).any(-1)]
                assert torch.isneginf(part(y, z).log_prob(others)).all()


def test_levels_keep_their_odds():
    """Renormalising is all that is done: within a bucket log-ratios are those of the likelihood."""
    with double_precision():
        part, z = quantised(), torch.randn(3)
        (transform,) = chain(["quantise:3"], SHAPE)
        y = transform(torch.tensor([[40.0, 200.0]]) / TOP)[0]
        images = every_image()
        inside = images[(transform(images) == y).all(-1)]
        found = part(y, z).log_prob(inside)
        whole = part.inner(y, z).log_prob(inside)
        torch.testing.assert_close(found - found[0], whole - whole[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("texts", [("quantise:3",), ("quantise:5", "quantise:2")])
def test_no_pixel_of_a_thousand_draws_disagrees(texts):
    model, _ = tiny_images(texts, likelihood="logistic-mixture:components=2")
    assert model.bound_of == "x"
    for name, share in consistency(model, 1_000).items():
        assert (share.mean, share.standard_error) == (1.0, 0.0), name


def test_other_transforms_are_bounds_of_the_pair_and_their_draws_disagree():
    model, _ = tiny_images(("downscale:2",))
    assert model.bound_of == "the pair (x, d(x))"
    share = consistency(model, 100)["y1"]
    assert 0 < share.mean < 0.5
    assert share.standard_error > 0
    mixed, _ = tiny_images(("quantise:3", "downscale:2"))
    assert mixed.bound_of == "the pair (x, d(x))"  # y1 may disagree with y2
    assert consistency(mixed, 50)["y1"].mean == 1.0


def test_probability_of_an_image_is_that_of_the_pair():
    """p(x | z's, y) is zero for all other y, so summing over y changes nothing."""
    with double_precision():
        part, z = quantised(bits=2), torch.randn(3)
        (transform,) = chain(["quantise:2"], SHAPE)
        x = torch.tensor([70.0, 201.0]) / TOP
        every_y = transform(every_image()).unique(dim=0)
        log_p = part(every_y, z.expand(len(every_y), 3)).log_prob(x)
        assert torch.isfinite(log_p).sum() == 1
        assert torch.equal(every_y[torch.isfinite(log_p)][0], transform(x[None])[0])


def one_pixel(renormalised):
    """x one pixel, y its two high bits, latents of one unit each; every network a small MLP."""
    torch.manual_seed(1)
    made = {"image_shape": (1, 1, 1), "activation": "tanh"}
    top = Logistic(1, (4,), 1, **made)
    below = Logistic((1, 1), (4,), 1, **made)
    model = SelfSupervisedVAE(
        StandardPrior(1),
        Quantised(top, None, 2) if renormalised else top,
        [LocScale((1, 1), (3,), 1)],
        [Quantised(below, 2) if renormalised else below],
        chain(["quantise:2"], (1, 1, 1)),
    )
    heads = [LocScale(3, (), 1), LocScale(3, (), 1)]
    return model, SelfSupervisedGuide([MLP(1, (3,)), MLP(1, (3,))], heads, model.transforms)


def evidence(pair, k=1_000):
    """L_k of every image of one pixel, with its Monte Carlo error."""
    x = torch.arange(256.0)[:, None] / TOP
    found = evaluate(*pair, x, num_particles=k, bound_particles=1, khat=False)
    return found.log_likelihood, found.monte_carlo_error


def test_bounds_of_all_images_sum_to_one():
    """sum_x p(x, d(x)) is one where no mass lies beside d(x) = y, and less without."""
    torch.manual_seed(0)
    log_p, error = evidence(one_pixel(True))
    p = np.exp(log_p)
    spread = np.sqrt(np.square(p * error).sum())
    assert spread < 0.02
    assert abs(p.sum() - 1) < 4 * spread
    assert np.exp(evidence(one_pixel(False))[0]).sum() < 0.9


def test_the_weighted_bound_reaches_the_bracket():
    """L_k of simulated images lies at both ends of the annealed bracket, and these are near."""
    pair = one_pixel(True)
    torch.manual_seed(0)
    bracket = bidirectional(*pair, num_data=8, num_particles=20, num_temperatures=12)
    x, y = bracket.x
    assert torch.equal(y, pair[0].represent(x)[0])  # so the pair's probability is that of x
    found = evaluate(*pair, x, num_particles=2_000, bound_particles=1)
    spread = np.hypot(bracket.lower_error, found.monte_carlo_error)
    assert (np.abs(found.log_likelihood - bracket.lower) < 5 * spread + 0.02).all()
    # Backward chains of a datum begin at one draw, so their spread is that over data.
    assert z_score(found.log_likelihood - bracket.upper, 0.0) < 4
    assert z_score(found.log_likelihood + 1 - bracket.upper, 0.0) > 8
    assert abs(bracket.gap.mean()) < 0.3


def test_terms_of_every_site_add_up():
    pair, x = tiny_images(("downscale:2",)), level_rows(6)
    found = evaluate(*pair, x, num_particles=30, bound_particles=1)
    assert [*found.reconstructions] == ["y1", "x"]
    np.testing.assert_allclose(sum(found.reconstructions.values()), found.reconstruction)
    np.testing.assert_allclose(found.reconstruction - found.rate, found.elbo, rtol=1e-6)
    assert {"reconstruction_x", "reconstruction_y1"} <= found.summary().keys()
    assert found.first(2).reconstructions["x"].shape == (2,)
    torch.manual_seed(0)
    terms = pyro_vae.log_weights(*pair, x, 4_000)
    for site, values in found.reconstructions.items():
        many = terms.log_likelihoods[site].detach().double().numpy()
        assert (np.abs(many.mean(0) - values) < 5 * many.std(0) / 30**0.5).all()


@pytest.mark.parametrize(
    ("made", "bits", "own_bits", "message"),
    [
        (lambda: uncoupled(), 9, 8, "cannot have 9 high bits"),
        (lambda: uncoupled(), 5, 3, "cannot have 5 high bits"),
        (lambda: Mixed(Categorical), 3, 8, "got Categorical"),
        (lambda: Mixed(Logistic), 0, 8, "bits must be"),
    ],
)
def test_what_it_cannot_renormalise_is_refused(made, bits, own_bits, message):
    with pytest.raises(InputError, match=message):
        Quantised(made(), bits, own_bits)


def test_a_mixture_of_coupled_colours_is_refused():
    with pytest.raises(InputError, match="coupled=False, got LogisticMixture"):
        Quantised(LogisticMixture(3, (), 12, image_shape=(3, 2, 2)), 3)
