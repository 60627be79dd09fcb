"""Likelihoods on networks of images: planes in, rows out; levels of 8-bit images behind them."""

import math

import numpy as np
import pyro
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import pyro_vae
from pyro_vae.distributions import DiscretisedLogisticMixture
from pyro_vae.errors import InputError
from pyro_vae.options import read_part
from pyro_vae.programs.likelihoods import LIKELIHOODS, FixedNoiseNormal, Levels
from pyro_vae.programs.networks import MergedLinear
from pyro_vae.weights.densities import reads_late
from tests.conftest import bare_runs, objective_named, run_fit

SHAPE = (3, 2, 4)
PIXELS = math.prod(SHAPE)
PLACES = math.prod(SHAPE[1:])
# Planes that each asks of its decoder, for three channels and for one.
PLANES = {
    "gaussian": (3, 1),
    "gaussian:scale=shared": (3, 1),
    "gaussian:scale=pixel": (6, 2),
    "bernoulli": (3, 1),
    "logistic": (6, 2),
    "logistic-mixture:components=4": (40, 12),
    "categorical": (768, 256),
}
LEVELS = [name for name in PLANES if name.startswith(("logistic", "categorical"))]


def made(text, *, decoder=None, image_shape=SHAPE, features=PIXELS):
    """A likelihood of z of 5 units."""
    torch.manual_seed(0)
    kind, settings = read_part("likelihood", text, LIKELIHOODS)
    sizes = {"decoder": decoder, "image_shape": image_shape}
    return kind(5, (), features, **sizes, **settings)


def test_every_likelihood_is_asked_for_its_planes():
    assert {name.split(":")[0] for name in PLANES} <= set(LIKELIHOODS)


@pytest.mark.parametrize("text", PLANES)
@pytest.mark.parametrize("shape", [SHAPE, (1, 2, 4)])
def test_a_decoder_is_asked_for_planes_and_read_as_the_linear_head_is(text, shape):
    """The head of an MLP without layers, in the place of the decoder, gives the same density."""
    features, planes = math.prod(shape), PLANES[text][shape[0] == 1]
    plain = made(text, image_shape=shape, features=features)
    asked = []

    def decoder(outputs):
        asked.append(outputs)
        return MergedLinear(5, outputs * PLACES)

    other = made(text, decoder=decoder, image_shape=shape, features=features)
    assert asked == [planes]
    heads = [part for part in plain.modules() if isinstance(part, MergedLinear)]
    (head,) = (part for part in other.modules() if isinstance(part, MergedLinear))
    with torch.no_grad():  # several heads one below the other, as planes lie
        for name in ("weight", "bias"):
            rows = torch.cat([getattr(part.parts[0], name) for part in heads])
            getattr(head.parts[0], name).copy_(rows)
    z = torch.randn(7, 3, 5)
    first, second = plain(z), other(z)
    values = first.sample()
    assert values.shape == (7, 3, features)
    torch.testing.assert_close(second.log_prob(values), first.log_prob(values))
    torch.testing.assert_close(second.mean, first.mean)
    assert not reads_late(second)


@pytest.mark.parametrize("text", LEVELS)
def test_rows_are_levels_of_images_channel_first(text):
    likelihood = made(text)
    row = likelihood(torch.randn(6, 5))
    levels = torch.randint(0, 256, (6, *SHAPE)).float()
    expected = row.base_dist.log_prob(levels)
    torch.testing.assert_close(row.log_prob(levels.flatten(1) / 255), expected)
    turned = levels.movedim(1, -1).flatten(1)
    assert (row.log_prob(turned / 255) - expected).abs().min() > 1e-3
    draws = row.sample((100,))
    assert (draws * 255 - (draws * 255).round()).abs().max() < 1e-4
    assert (draws.min() >= 0, draws.max() <= 1) == (True, True)
    assert row.mean.shape == (6, PIXELS)


def test_planes_of_the_mixture_are_logits_locations_scales_coefficients():
    components, planes = 4, torch.randn(2, 40, *SHAPE[1:])
    likelihood = made("logistic-mixture:components=4")
    found = likelihood.of_planes(planes)
    expected = DiscretisedLogisticMixture(
        planes[:, :components],
        planes[:, components : 4 * components].reshape(2, components, *SHAPE),
        planes[:, 4 * components : 7 * components].reshape(2, components, *SHAPE),
        planes[:, 7 * components :].reshape(2, components, *SHAPE).tanh(),
    )
    values = torch.randint(0, 256, (2, *SHAPE)).float()
    assert torch.equal(found.log_prob(values), expected.log_prob(values))
    grey = made("logistic-mixture", image_shape=None)
    assert grey(torch.randn(5)).base_dist.coefficients is None


def test_a_fixed_gaussian_is_what_it_was_to_the_bit():
    likelihood = made("gaussian:noise=0.3")
    assert list(likelihood.state_dict()) == ["loc.parts.0.weight", "loc.parts.0.bias"]
    torch.manual_seed(0)
    assert torch.equal(likelihood.loc.parts[0].weight, MergedLinear(5, PIXELS).parts[0].weight)
    z, x = torch.randn(4, 5), torch.randn(4, PIXELS)
    expected = FixedNoiseNormal(likelihood.loc(z), 0.3).log_prob(x)
    assert torch.equal(likelihood(z).log_prob(x), expected)


def test_learned_noise_is_found_and_stays_above_its_least():
    """The best shared scale is the root of the mean square; of constant pixels it is the least."""
    for spread, found in ((0.2, 0.2), (0.0, 0.01)):
        likelihood = made("gaussian:noise=0.4,scale=shared")
        x = spread * torch.randn(500, PIXELS)
        nn.init.zeros_(likelihood.loc.parts[0].weight)
        nn.init.zeros_(likelihood.loc.parts[0].bias)
        adam = torch.optim.Adam([likelihood.log_scale], lr=0.1)
        for _ in range(150):
            adam.zero_grad()
            (-likelihood(torch.zeros(1, 5)).log_prob(x).mean()).backward()
            adam.step()
        scale = likelihood(torch.zeros(1, 5)).base_dist.scale
        assert scale.unique().item() == pytest.approx(found, rel=0.03)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        (
            "logistic-mixture:components=0",
            SHAPE,
            "components of the likelihood 'logistic-mixture' must be a whole number of at least 1",
        ),
        ("logistic", (3, 2, 5), r"rows of 24 numbers are no images \(C, H, W\) = \(3, 2, 5\)"),
        ("categorical", (6, 4), "rows of 24 numbers are no images"),
        ("gaussian:noise=0", SHAPE, "noise must be positive and finite, got 0.0"),
        ("gaussian:noise=-1,scale=pixel", SHAPE, "noise must be positive"),
        ("gaussian:scale=full", SHAPE, "unknown scale .* 'full'; allowed: fixed, shared, pixel"),
    ],
)
def test_what_cannot_be_is_named_in_one_line(text, shape, message):
    with pytest.raises(InputError, match=message) as caught:
        made(text, image_shape=shape)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", LEVELS)
def test_rows_that_are_no_levels_are_named_in_one_line(text):
    with pyro.validation_enabled(True):
        row = made(text)(torch.randn(5))
        for bad in (0.5, -1 / 255, 256 / 255, math.nan):
            x = torch.zeros(2, PIXELS)
            x[1, 3] = bad
            with pytest.raises(
                InputError, match="Levels; allowed: whole levels from 0 to 255, div"
            ):
                row.log_prob(x)
        with pytest.raises(InputError, match=r"has no event of shape \(24,\)"):
            row.log_prob(torch.zeros(25))


@pytest.mark.parametrize("text", PLANES)
@pytest.mark.parametrize("name", ["iwae", "dreg", "piwae"])
def test_a_pair_takes_a_step_with_it(text, name):
    config = pyro_vae.PairConfig("burda1", latent=(3,), hidden=("5",), likelihood=text)
    model, guide = config.build(6)
    x = torch.randint(0, 2, (8, 6)).float()
    objective_named(name, 4)(model, guide)(x).backward()
    for parameter in model.parameters():
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("text", LEVELS)
def test_its_row_of_levels_is_one_record(text):
    """The gradient as ``fit`` records it, on rows other than those that it was recorded on."""
    likelihood = made(text, image_shape=None)
    z = torch.randn(4, 3, 5)

    def log_p(x):
        return likelihood(z).log_prob(x)

    with pyro.validation_enabled(False):
        record = make_fx(log_p)(torch.zeros(3, PIXELS))
        x = torch.randint(0, 256, (3, PIXELS)) / 255
        assert torch.equal(record(x), log_p(x))


def test_a_command_trains_on_levels(tmp_path, monkeypatch):
    bare_runs(monkeypatch)
    pictures = np.random.default_rng(0).integers(0, 256, (60, 3, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pictures, x_test=pictures[:20])
    flags = ("--model", "burda1", "--likelihood", "logistic-mixture:components=2", "--latent", 3)
    flags += ("--dataset", tmp_path / "a.npz", "--run-dir", tmp_path / "run", "--hidden", 6)
    assert run_fit(*flags) == 0
    run = pyro_vae.load_run(tmp_path / "run")
    assert isinstance(run.model.likelihood(torch.zeros(3)), Levels)
    assert run.model.likelihood.components == 2
    drawn = run.sample(5)
    assert drawn.shape == (5, 3, 4)
