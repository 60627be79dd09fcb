"""Every breach of what per-datum weights need is a ValueError that names the site."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyro_vae
from pyro_vae.programs import TopDownGuide
from pyro_vae.programs.networks import MLP

X = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
OBJECTIVES = [pyro_vae.IWAE(3), pyro_vae.DReG(3)]


def normal(loc=0.0, event=1):
    return dist.Normal(torch.as_tensor(loc).expand(2), 1.0).to_event(event)


def model(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", normal())
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def guide(x):
    loc = pyro.param("loc", torch.zeros(2))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x + loc, 1.0).to_event(1))


def refused(model, guide, match):
    """Refused by log_weights and by both objectives."""
    with pytest.raises(ValueError, match=match):
        pyro_vae.log_weights(model, guide, X, 3)
    for objective in OBJECTIVES:
        with pytest.raises(ValueError, match=match):
            objective.loss_and_grads(model, guide, X)


def test_the_sound_pair_is_accepted():
    assert pyro_vae.log_weights(model, guide, X, 3).log_w.shape == (3, 5)
    for objective in OBJECTIVES:
        assert isinstance(objective.loss_and_grads(model, guide, X), float)


def test_model_site_outside_the_plate():
    def stray(x):
        shift = pyro.sample("shift", normal())
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(shift, 1.0).to_event(1), obs=x)

    def its_guide(x):
        pyro.sample("shift", normal(0.5))

    refused(stray, its_guide, r"site 'shift' in the model .*one data plate.*none")


def test_guide_site_outside_the_plate():
    def its_guide(x):
        pyro.sample("z", dist.Normal(X, 1.0).to_event(1))

    refused(model, its_guide, r"site 'z' in the guide .*one data plate.*none")


def test_to_event_instead_of_the_plate():
    def joint(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(5, 2), 1.0).to_event(2))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(2), obs=x)

    def its_guide(x):
        pyro.sample("z", dist.Normal(x, 1.0).to_event(2))

    refused(joint, its_guide, r"site '[xz]' in the model .*one data plate")


def test_event_dimension_left_out():
    def loose(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal())
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x.sum(-1))

    def its_guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0))

    # Found by Pyro itself, which names the site too.
    refused(loose, its_guide, "at site z ")


def test_two_data_plates():
    def crossed(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal())
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    refused(crossed, guide, r"one data plate, but: '[xz]' in '\w+' of size 5, '[xz]' in '\w+'")


def test_nested_data_plates():
    def nested(x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("pixels", 1, dim=-3):
            z = pyro.sample("z", normal())
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    refused(
        nested, guide, r"site '[xz]' in the model .*exactly one data plate.*'pixels' \(dim -3\)"
    )


def test_plates_of_different_name_in_model_and_guide():
    def its_guide(x):
        with pyro.plate("other", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    refused(model, its_guide, r"'z' in '(data|other)'")


def test_data_plate_at_dim_minus_two():
    def high(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", normal())
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x[:, None])

    def its_guide(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(x[:, None], 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"'z'|data.*dim|dim.*data"):
        pyro_vae.log_weights(high, its_guide, X, 3)


def test_guide_lacks_a_latent():
    def two_latents(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal())
            w = pyro.sample("w", normal())
            pyro.sample("x", dist.Normal(z + w, 1.0).to_event(1), obs=x)

    refused(two_latents, guide, r"site 'w' of the model is neither observed nor drawn.*draws: z")


def test_guide_draws_too_much():
    def its_guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))
            pyro.sample("extra", normal())

    refused(model, its_guide, r"site 'extra' of the guide is no latent of the model.*latents: z")


def test_guide_without_rsample():
    def its_guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Poisson(torch.ones(len(x), 2)).to_event(1))

    for objective in OBJECTIVES:
        with pytest.raises(ValueError, match=r"site 'z' in the guide.*no rsample"):
            objective.loss_and_grads(model, its_guide, X)


def test_weights_without_gradients_need_no_rsample():
    def counts(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Poisson(torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def its_guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Poisson(torch.full((len(x), 2), 2.0)).to_event(1))

    assert pyro_vae.log_weights(counts, its_guide, X, 3).log_w.shape == (3, 5)


def scaled(program, site, factor):
    """The program with the scale of one site multiplied."""

    class Scale(poutine.messenger.Messenger):
        def _pyro_sample(self, msg):
            if msg["name"] == site:
                msg["scale"] = msg["scale"] * factor

    def wrapped(x):
        with Scale():
            return program(x)

    return wrapped


def test_scale_in_the_model_only():
    refused(scaled(model, "z", 0.25), guide, r"'z' is scaled by 0\.25 in the model and by 1\.0")


def test_scale_in_the_guide_only():
    refused(model, scaled(guide, "z", 0.25), r"'z' is scaled by 1\.0 in the model and by 0\.25")


def test_scale_in_both_is_annealing():
    terms = pyro_vae.log_weights(scaled(model, "z", 0.25), scaled(guide, "z", 0.25), X, 3)
    assert terms.betas == {"z": 0.25}
    expected = terms.log_likelihood - 0.25 * terms.log_ratios["z"]
    torch.testing.assert_close(terms.annealed_log_w, expected)
    torch.testing.assert_close(terms.log_w, terms.log_likelihood - terms.log_ratios["z"])


def test_two_observed_sites_with_different_scales():
    def two(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal())
            pyro.sample("left", dist.Normal(z[..., 0], 1.0), obs=x[:, 0])
            pyro.sample("right", dist.Normal(z[..., 1], 1.0), obs=x[:, 1])

    assert pyro_vae.log_weights(two, guide, X, 3).log_w.shape == (3, 5)
    refused(scaled(two, "right", 2.0), guide, r"observed sites 'left' and 'right' are scaled by")


def test_observed_site_scaled_by_zero():
    refused(scaled(model, "x", 0.0), scaled(guide, "x", 0.0), r"observed site 'x' is scaled by 0")


def test_model_without_observation():
    def blind(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", normal())

    refused(blind, guide, "the model observes no site; give the data")


def test_a_model_in_the_place_of_the_guide():
    refused(guide, model, "the guide does: model and guide stand in each other's place")


def test_layers_that_do_not_broadcast():
    class Concatenating(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            with pyro.plate("data", len(x), dim=-1):
                top = pyro.sample("top", dist.Normal(x, 1.0).to_event(1))
                loc = self.layer(torch.cat([x, top], -1))  # (B, 2) with (K, B, 2)
                pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    def two_levels(x):
        with pyro.plate("data", len(x), dim=-1):
            top = pyro.sample("top", normal())
            z = pyro.sample("z", dist.Normal(top, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    with pytest.raises(RuntimeError, match="same number of dimensions"):
        pyro_vae.log_weights(two_levels, Concatenating(), X, 3)


def test_wrong_number_of_log_probabilities_is_named():
    class Ragged(dist.Normal):
        def log_prob(self, value):
            return super().log_prob(value).sum(0)

    def ragged(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", normal())
            pyro.sample("x", Ragged(z.sum(-1), 1.0), obs=x.sum(-1))

    refused(ragged, guide, r"site 'x' in the model has log-probabilities of shape \(5,\)")


def test_library_pairs_with_different_numbers_of_levels():
    two, _ = pyro_vae.build_pair("td", num_pixels=2)
    _, one = pyro_vae.build_pair("sparse", num_pixels=2)
    with pytest.raises(ValueError, match="site 'z2' of the model is neither observed nor drawn"):
        pyro_vae.log_weights(two, one, X, 3)


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ((1, 2, 1), "TopDownGuide with 2 levels wants 2 encoders, got 1"),
        ((2, 2, 2), "TopDownGuide with 2 levels wants 1 feedback networks, got 2"),
    ],
)
def test_a_guide_of_too_few_or_too_many_parts(parts, match):
    encoders, conditionals, feedback = ([nn.Identity()] * number for number in parts)
    with pytest.raises(pyro_vae.InputError, match=match):
        TopDownGuide(encoders, conditionals, feedback)


@pytest.mark.parametrize("beta", [-0.1, float("inf"), float("nan")])
def test_annealing_by_what_is_no_weight(beta):
    match = f"beta of site 'z' must be finite and >= 0, got {beta}"
    with pytest.raises(pyro_vae.InputError, match=match):
        pyro_vae.anneal({"z": beta})


def test_annealing_an_observed_site():
    with (
        pytest.raises(ValueError, match="site 'x' is observed"),
        pyro_vae.anneal({"x": 0.5}),
    ):
        pyro_vae.log_weights(model, guide, X, 3)


def test_an_mlp_without_layers_passes_its_input_on():
    assert torch.equal(MLP(2, ())(X), X)
