"""The prior card and pictures of priors: closed forms of a guide that is blind, straight lines."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from analysis.measures.by_name import Named
from analysis.probes.prior import components, interpolate
from analysis.reporting import prior_pictures
from analysis.reporting.measurements import MEASUREMENTS
from analysis.reporting.sections.prior import entries
from analysis.reporting.store import Store
from analysis.reporting.study import Settings, load_study
from experiments.combining.of_images import PRESET, few_channels
from pyro_vae.errors import InputError
from pyro_vae.evaluation import elbo_surgery
from pyro_vae.programs import HierarchicalVAE, PairConfig
from pyro_vae.programs.likelihoods import FixedNoiseGaussian
from pyro_vae.programs.priors import MixturePrior, RealNVPPrior, StandardPrior
from pyro_vae.runs.prior_card import prior_card
from pyro_vae.weights.simulation import simulate
from tests.conftest import bare_runs, run_fit
from tests.self_supervised import level_rows, tiny_images

UNITS, PIXELS, SHIFT = 2, 6, 1.5


class Blind(nn.Module):
    """q(z | x) = Normal(SHIFT, 1), whatever x is."""

    def forward(self, x):
        loc = torch.full((len(x), UNITS), SHIFT)
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z1", dist.Normal(loc, 1.0).to_event(1))


@pytest.fixture
def rows():
    return torch.randn(300, PIXELS, generator=torch.Generator().manual_seed(0))


def model_of(prior):
    torch.manual_seed(0)
    return HierarchicalVAE(prior, [], FixedNoiseGaussian(UNITS, (), PIXELS))


def test_a_code_that_knows_nothing_costs_its_marginal_kl_which_a_refit_gains(rows):
    model = model_of(StandardPrior(UNITS))
    found = Named(prior_card(model, Blind(), rows, rows[:200], steps=300))
    rate = UNITS * SHIFT**2 / 2
    assert abs(found.rate - rate) < 4 * found.rate_error
    assert abs(found.mutual_information) < 1e-4
    assert found.marginal_kl == pytest.approx(float(found.rate), abs=1e-4)
    assert found.log_num_data == pytest.approx(np.log(200))
    assert abs(found.gain - rate) < 4 * found.gain_error + 0.2  # the mixture is fitted to draws
    assert found.components == 30  # one for ten rows
    assert np.isnan(found.effective)


def test_samples_are_told_from_rows_that_they_are_unlike(rows):
    """Two sets of samples are not told apart, whatever chance gives; moved ones always are."""
    model = model_of(StandardPrior(UNITS))
    judged = simulate(model, 200)[0]
    like, unlike = (
        Named(prior_card(model, Blind(), rows, some, steps=100)) for some in (judged, judged + 9)
    )
    assert abs(like.told_apart - 0.5) < 4 * 0.5 / 100**0.5
    assert unlike.told_apart == 1
    assert abs(unlike.null - 0.5) < 4 * 0.5 / 100**0.5
    few = Named(prior_card(model, Blind(), rows, rows[:20], steps=1))
    assert np.isnan([few.told_apart, few.told_apart_error, few.null, few.null_error]).all()


def test_the_report_of_a_self_supervised_run_has_its_card(tmp_path, monkeypatch):
    bare_runs(monkeypatch)
    images = np.random.default_rng(0).integers(0, 256, (420, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    flags = ("--dataset", tmp_path / "images.npy", "--run-dir", tmp_path / "run")
    with few_channels():
        pair = ("--model", "ssvae", "--preset", PRESET, "--recipe", "minutes-images")
        assert run_fit(*pair, *flags, "--test-size", 40, "--epochs", 1) == 0
        store = Store(tmp_path / "measured", MEASUREMENTS)
        settings = Settings(test_size=40, refit_steps=20)
        study = load_study([tmp_path / "run"], settings, store)
        card = {entry.name: entry.build for entry in entries(study)}["prior-card"]()
    assert card.table.columns[:2].tolist() == ["model", "seed"]
    assert np.isfinite(card.table[["rate", "marginal_kl", "gain", "told_apart"]].to_numpy()).all()
    assert "a mixture of" in card.sentence
    assert "samples are told from test rows with accuracy" in card.sentence


def test_components_in_use_are_counted(rows):
    prior = MixturePrior(UNITS, components=4)
    with torch.no_grad():
        prior.loc[:2] = SHIFT
        prior.loc[2:] = -40.0
    found = Named(prior_card(model_of(prior), Blind(), rows, rows[:50], steps=1))
    assert found.effective == pytest.approx(2.0, abs=0.1)
    assert found.of == 4


def test_the_card_of_a_self_supervised_pair_is_of_its_top_level():
    pair, x = tiny_images(), level_rows(24)
    found = Named(prior_card(*pair, x, x[:12], steps=2))
    torch.manual_seed(0)
    top = elbo_surgery(*pair, x[:12], level="z2")
    assert found.rate == pytest.approx(top.rate)
    assert found.rate == pytest.approx(found.mutual_information + found.marginal_kl, abs=1e-6)
    assert np.isfinite(found.gain)


def test_components_are_shown_by_their_use(rows):
    prior = MixturePrior(UNITS, components=3)
    with torch.no_grad():
        prior.loc.copy_(torch.tensor([[-40.0] * 2, [SHIFT] * 2, [SHIFT + 3] * 2]))
    model = model_of(prior)
    found = components(model, Blind(), rows, most=2, samples=5)
    assert found.shares[0] > found.shares[1] > 0
    decoded = model.decode(prior.loc[1:]).detach().numpy()
    np.testing.assert_allclose(found.images, decoded, atol=1e-6)
    assert found.samples.shape == (2, 5, PIXELS)
    assert not found.pseudo_inputs
    with pytest.raises(InputError, match="no mixture"):
        components(model_of(StandardPrior(UNITS)), Blind(), rows, most=2, samples=5)


def test_pseudo_inputs_are_the_images_of_a_vamp_prior(rows):
    config = PairConfig("planar", "bottomup", prior="vamp:components=5")
    model, guide = config.build(PIXELS, rows=rows.sigmoid())
    found = components(model, guide, (rows > 0).float(), most=3, samples=2)
    inputs = model.prior.pseudo_inputs.detach().numpy()
    assert found.pseudo_inputs
    assert all(np.abs(inputs - image).max(1).min() < 1e-6 for image in found.images)


def test_lines_are_straight_in_z_and_in_the_base(rows):
    _, guide = pyro_vae.build_pair("planar", "bottomup", num_pixels=PIXELS)
    prior = RealNVPPrior(2, transforms=2, hidden=(8,))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    flow = model_of(prior)
    linear = interpolate(model_of(StandardPrior(UNITS)), guide, rows[:4], 3)
    assert linear.in_base is None
    np.testing.assert_allclose(linear.in_z[:, 1], linear.in_z[:, ::2].mean(1), atol=1e-5)
    found = interpolate(flow, guide, rows[:4], 3)
    np.testing.assert_allclose(found.in_base[:, ::2], found.in_z[:, ::2], atol=1e-4)
    assert np.abs(found.in_base[:, 1] - found.in_z[:, 1]).max() > 1e-2
    weight, bias = (part.detach().double().numpy() for part in flow.likelihood.loc.parameters())
    z = torch.tensor((found.in_base - bias) @ np.linalg.pinv(weight).T, dtype=torch.float32)
    u = prior().dist.transform(z).detach().numpy()
    np.testing.assert_allclose(u[:, 1], u[:, ::2].mean(1), atol=1e-2)


@pytest.mark.parametrize("colours", [1, 3])
def test_pictures_of_image_models(colours):
    shape = (colours, 8, 8)
    levels = torch.randint(256, (90, 64 * colours), generator=torch.Generator().manual_seed(0))
    x = levels / 255
    held = shape if colours == 3 else shape[1:]
    data = pyro_vae.Dataset("toy", x, x, x, image_shape=held, pixels="levels")
    config = PairConfig("image", preset="conv", latent=(4,), prior="vamp:components=3")
    model, guide = config.build(x.shape[1], shape, rows=x)
    assert len(prior_pictures.draws_and_means(model, data).axes) == 2
    assert len(prior_pictures.interpolation(model, guide, data).axes) == 1
    assert len(prior_pictures.used_components(model, guide, x, data, 0).axes) == 1
