"""Projective fields by traversal and receptive fields by white noise, against known answers."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from analysis.probes.fields import noise_basis, projective_fields, receptive_fields
from pyro_vae import Dataset, load_dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.classes import classify
from pyro_vae.evaluation.filters.gabor import PARAMETERS, fit_gabors, gabor_images
from tests.conftest import tiny_pair

PIXELS = 30

pytestmark = pytest.mark.usefixtures("float64")


def linear_guide(weights, scale=0.5, transform=lambda loc: loc):
    """q(z2 | x) = N(0, I) and q(z1 | x, z2) with location transform(W x) + z2."""
    weights = torch.as_tensor(weights)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(len(x), 1), 0.3).to_event(1))
            loc = transform(x @ weights.T) + z2
            pyro.sample("z1", dist.Laplace(loc, scale).to_event(1))

    return guide


def columns(model):
    (layer,) = model.likelihood.loc.parts
    return layer.weight.detach().T.numpy()


@pytest.mark.parametrize("step", [1.0, 0.2, 7.0])
def test_traversal_of_a_linear_decoder_gives_its_columns(step):
    model, _ = tiny_pair()
    model = model.double()
    for base in (None, np.arange(4.0)):
        found = projective_fields(model, step, base)["projective"]
        assert found.shape == (4, 6)
        np.testing.assert_allclose(found, columns(model), rtol=0, atol=1e-13)
    assert np.abs(found - columns(model)[::-1]).max() > 0.1


def test_traversal_of_any_other_decoder_is_a_central_difference():
    model, _ = tiny_pair(levels=1, pixels="binary")
    model = model.double()
    with torch.no_grad():
        for parameter in model.likelihood.parameters():
            parameter.mul_(3)  # well into the bend of the sigmoid
        base = torch.tensor([0.5, -1.0, 2.0, 0.0])
        ends = [model.likelihood(base + step * torch.eye(4)[2]).mean for step in (1.5, -1.5)]
    expected = ((ends[0] - ends[1]) / 3).numpy()
    found = projective_fields(model, 1.5, base)["projective"]
    np.testing.assert_allclose(found[2], expected, atol=1e-13)
    for other in (projective_fields(model, 0.5, base), projective_fields(model, 1.5)):
        assert np.abs(other["projective"][2] - expected).max() > 1e-3


def test_a_decoder_of_gabors_gives_back_parameters_and_classes():
    shape, model = (12, 12), tiny_pair(num_pixels=144)[0].double()
    planted = pd.DataFrame(
        {
            "amplitude": 1.5,
            "x": [4.0, 6.5, 7.0],
            "y": [5.0, 7.0, 4.5],
            "size": [1.2, 1.6, 1.5],
            "length": [1.8, 2.0, 1.5],
            "orientation": [0.4, 1.3, 2.5],
            "wavelength": [3.5, 4.5, 5.0],
            "phase": [0.2, 1.4, -0.9],
        }
    )
    x = np.indices(shape)[1]
    grating = np.cos(2 * np.pi * x / 3.7)[None]
    filters = np.concatenate([gabor_images(planted, shape), grating])
    with torch.no_grad():
        model.likelihood.loc.parts[0].weight.copy_(torch.as_tensor(filters.reshape(4, -1).T))
    fits = fit_gabors(projective_fields(model)["projective"].reshape(4, *shape))
    for name in PARAMETERS:
        np.testing.assert_allclose(fits[name][:3], planted[name], atol=1e-4, err_msg=name)
    assert fits["wavelength"][3] == pytest.approx(3.7, abs=0.05)
    assert classify(fits)["class"].tolist() == ["localised"] * 3 + ["non-localised"]
    # The untrained decoder that it was has none.
    untrained = fit_gabors(columns(tiny_pair(num_pixels=144)[0].double()).reshape(4, *shape))
    assert "localised" not in set(classify(untrained)["class"])


def z_scores(found, weights):
    return (found["receptive"] - weights) / found["receptive_se"]


def test_receptive_fields_of_a_linear_guide_are_its_weights():
    weights = np.random.default_rng(0).normal(size=(5, PIXELS))
    found = receptive_fields(linear_guide(weights), PIXELS, num_images=4000)
    assert found["receptive"].shape == found["receptive_se"].shape == (5, PIXELS)
    scores = z_scores(found, weights)
    assert np.abs(scores).max() < 5
    # The standard errors are neither too large nor too small: 150 scores of variance 1.
    assert np.square(scores).mean() == pytest.approx(1, abs=0.4)
    # An average over N images has a variance of about (|w|^2 + 0.3^2 / 8) / N at scale 1.
    expected = np.sqrt((weights**2).sum(axis=1) / 4000)
    np.testing.assert_allclose(found["receptive_se"].mean(axis=1), expected, rtol=0.1)
    for wrong in (-weights, weights[::-1], 2 * weights):
        assert np.abs(z_scores(found, wrong)).max() > 8


def test_the_scale_of_the_noise_leaves_a_linear_field():
    weights = np.random.default_rng(1).normal(size=(3, PIXELS))
    for scale in (0.1, 5.0):
        found = receptive_fields(linear_guide(weights), PIXELS, scale=scale, num_images=2000)
        assert np.abs(z_scores(found, weights)).max() < 5


def test_a_curved_response_has_its_mean_slope():
    weight = np.zeros((1, PIXELS))
    weight[0, :2] = 1.5, -1.0
    guide = linear_guide(weight, transform=torch.tanh)
    found = receptive_fields(guide, PIXELS, num_images=4000)
    # E[ tanh'(s e) ] for e ~ N(0, 1), s = |w|, by Gauss-Hermite quadrature.
    nodes, shares = np.polynomial.hermite_e.hermegauss(80)
    slope = (shares / np.cosh(np.linalg.norm(weight) * nodes) ** 2).sum() / shares.sum()
    assert np.abs(z_scores(found, slope * weight)).max() < 5
    assert np.abs(z_scores(found, weight)).max() > 8


def orthonormal(count, seed=0):
    noise = np.random.default_rng(seed).normal(size=(PIXELS, PIXELS))
    return np.linalg.qr(noise)[0][:count]


def test_noise_in_a_subspace_gives_the_weights_within_it():
    basis = orthonormal(10)
    weights = np.random.default_rng(2).normal(size=(4, PIXELS))
    found = receptive_fields(linear_guide(weights), PIXELS, basis=basis, num_images=4000)
    inside = basis.T @ basis
    np.testing.assert_allclose(found["receptive"] @ inside, found["receptive"], atol=1e-12)
    assert np.abs(z_scores(found, weights @ inside)).max() < 5
    assert np.abs(z_scores(found, weights)).max() > 8


def test_noise_in_a_subspace_has_the_covariance_of_whitened_rows():
    seen, basis = [], orthonormal(10)

    def guide(x):
        seen.append(x)
        linear_guide(np.ones((1, PIXELS)))(x)

    receptive_fields(guide, PIXELS, basis=basis, num_images=4000)
    covariance = np.cov(torch.cat(seen).numpy().T)
    expected = PIXELS / 10 * basis.T @ basis
    assert covariance.trace() / PIXELS == pytest.approx(1, abs=0.05)
    assert np.abs(covariance - expected).max() < 0.1
    assert np.abs(covariance - np.eye(PIXELS)).max() > 0.3


def test_the_basis_of_data():
    settings = {"patch_size": 6, "num_train": 60, "num_valid": 10, "num_test": 10}
    for whiten in ("zca", "radial"):
        cut = load_dataset("natural", whiten=whiten, components=9, **settings)
        basis = noise_basis(cut)
        assert basis.shape == (9, 36)
        rows = cut.train.double().numpy()
        np.testing.assert_allclose(rows @ basis.T @ basis, rows, atol=1e-5)
    for whiten in ("pca", "none"):
        assert noise_basis(load_dataset("natural", whiten=whiten, components=9, **settings)) is None
    x = torch.zeros(2, 9)
    plain = Dataset("toy", x, x, x, image_shape=(3, 3), pixels="standardised")
    assert noise_basis(plain) is None


def test_receptive_fields_of_a_pair_repeat_and_leave_the_generators():
    _, guide = tiny_pair()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = receptive_fields(guide.float(), 6, num_images=50)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = receptive_fields(guide, 6, num_images=50)
    other = receptive_fields(guide, 6, num_images=50, seed=1)
    np.testing.assert_array_equal(first["receptive"], again["receptive"])
    assert np.abs(first["receptive"] - other["receptive"]).max() > 1e-4
    assert first["receptive"].shape == (4, 6)


def test_bad_input_is_refused():
    model, guide = tiny_pair()
    with pytest.raises(InputError, match="step must be positive"):
        projective_fields(model, 0.0)
    with pytest.raises(InputError, match="base has shape"):
        projective_fields(model, base=np.zeros(3))
    with pytest.raises(InputError, match="num_images"):
        receptive_fields(guide, 6, num_images=1)
    with pytest.raises(InputError, match="scale must be positive"):
        receptive_fields(guide, 6, scale=-1.0)
    with pytest.raises(InputError, match="basis must have shape"):
        receptive_fields(guide, 6, basis=np.eye(5))
    with pytest.raises(InputError, match="orthonormal"):
        receptive_fields(guide, 6, basis=2 * np.eye(6))
    broken = linear_guide(np.full((1, 6), np.nan), transform=torch.nan_to_num)
    assert np.isfinite(receptive_fields(broken, 6, num_images=5)["receptive"]).all()
    with pyro.validation_enabled(False), pytest.raises(InputError, match="not finite"):
        receptive_fields(linear_guide(np.full((1, 6), np.nan)), 6, num_images=5)
