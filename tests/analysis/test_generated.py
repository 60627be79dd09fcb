"""Samples beside data, textures along z2, families: from numbers that mean what they show."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import pyro_vae
from analysis.pictures.textures import plot_families, plot_textures
from analysis.probes.textures import family, traverse_z2
from analysis.reporting import decoder_pictures, generated
from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.decoder_filters import decoder_filters
from pyro_vae.programs import HierarchicalVAE
from pyro_vae.programs.likelihoods import FixedNoiseGaussian
from pyro_vae.programs.priors import StandardPrior
from tests.conftest import small_patches, tiny_pair

SLOPES = torch.tensor([[0.5, 0.0], [-0.25, 0.0], [0.0, 0.1], [0.0, 0.0]])  # of log scale, by unit


class Scales(nn.Module):
    """p(z1 | z2): Normal, location z2[1] everywhere, log scale linear in z2."""

    features = 4

    def forward(self, z2):
        loc = z2[..., 1:].expand(*z2.shape[:-1], 4)
        return dist.Normal(loc, (z2 @ SLOPES.T).exp()).to_event(1)


@pytest.fixture
def model():
    torch.manual_seed(1)
    return HierarchicalVAE(StandardPrior(2), [Scales()], FixedNoiseGaussian(4, (), 36))


def sheet(ax):
    return np.asarray(ax.get_images()[0].get_array())


def test_what_moves_along_a_unit_is_the_scale(model):
    found = traverse_z2(model, [0, 1], values=(-2.0, 0.0, 2.0), num_samples=6)
    assert found.images.shape == (2, 3, 6, 36)
    np.testing.assert_allclose(found.log_ratio, 4 * SLOPES.T, atol=1e-6)
    weight = model.likelihood.loc.parts[0].weight.detach().double().numpy()
    bias = model.likelihood.loc.parts[0].bias.detach().double().numpy()
    z1 = (found.images - bias) @ np.linalg.pinv(weight).T
    noise = z1[0, 1]  # at z2 = 0 location is 0 and scale 1
    for place, value in enumerate((-2.0, 0.0, 2.0)):
        scales = np.exp(value * SLOPES.numpy())
        np.testing.assert_allclose(z1[0, place], noise * scales[:, 0], atol=1e-4)
        np.testing.assert_allclose(z1[1, place], value + noise * scales[:, 1], atol=1e-4)
    again = traverse_z2(model, [0, 1], values=(-2.0, 0.0, 2.0), num_samples=6)
    np.testing.assert_array_equal(found.images, again.images)
    other = traverse_z2(model, [0], num_samples=6, seed=1)
    assert not np.allclose(other.images[0, 2], found.images[0, 1])


def test_a_third_level_gives_the_spread_of_z2():
    deep, _ = tiny_pair(levels=3)
    found = traverse_z2(deep, [2], num_samples=2)
    assert found.images.shape == (1, 5, 2, 6)
    assert np.isfinite(found.images).all()


def test_models_without_an_active_z2_are_told_of(model):
    flat, _ = tiny_pair(levels=1)
    with pytest.raises(InputError, match="one level"):
        traverse_z2(flat, [0])
    with pytest.raises(InputError, match="one level"):
        generated.textures(flat, small_patches(), None)
    with pytest.raises(InputError, match="no unit of z2 is active"):
        generated.textures(model, small_patches(), np.array([0.001, 0.0]))


def test_families():
    grows, shrinks = family(np.array([0.1, -2.0, 3.0, 0.0, 1.0, -0.5]), 2)
    assert (grows.tolist(), shrinks.tolist()) == ([2, 4], [1, 5])
    grows, shrinks = family(np.array([0.1, 0.2, 0.3]), 2)
    assert (grows.tolist(), shrinks.tolist()) == ([2, 1], [])


@pytest.mark.parametrize("colours", [(), (3,)])
def test_textures_are_blocks_in_named_rows_and_columns(colours):
    images = np.random.default_rng(0).random((2, 3, 4, 5, 6, *colours))
    ax = plot_textures(Figure().subplots(), images, ["z2[4]", "z2[1]"], np.array([-2.0, 0, 1.5]))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["-2 sd", "0", "+1.5 sd"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["z2[4]", "z2[1]"]
    block = 2 * 5 + 1 + 3, 2 * 6 + 1 + 3  # two by two patches, a line between them, the edge
    assert sheet(ax).shape[:2] == (2 * (block[0] + 1) - 1, 3 * (block[1] + 1) - 1)
    top, left = block[0] + 1, 2 * (block[1] + 1)
    np.testing.assert_array_equal(sheet(ax)[top + 6 :, left : left + 6][:5], images[1, 2, 2])


def test_families_stand_in_groups_with_their_factors():
    filters = np.random.default_rng(0).normal(size=(3, 5, 5))
    groups = [(filters[:2], np.array([3.0, 1.5])), (filters[2:], np.array([0.5]))]
    ax = plot_families(Figure().subplots(), [groups], ["z2[0]"], ("grows", "shrinks"))
    assert [text.get_text() for text in ax.texts] == ["× 3", "× 1.5", "÷ 2"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["grows", "shrinks"]
    first = sheet(ax)[5:10, :5, 0]
    np.testing.assert_allclose(first, 0.5 + 0.5 * filters[0] / np.abs(filters[0]).max())


@pytest.mark.parametrize("whiten", ["zca", "radial"])
def test_samples_and_data_share_one_scale_in_both_units(model, whiten):
    data = small_patches(whiten)
    figure = generated.samples(model, data)
    names = [ax.get_title() for ax in figure.axes]
    assert [name.splitlines()[0] for name in names] == [
        "40 test patches",
        "40 samples, E[x | z] at z ~ p(z)",
    ] * 2
    scales = [name.splitlines()[1] for name in names]
    assert scales[0] == scales[1] != scales[2] == scales[3]
    assert scales[0].startswith("whitened units, black ")
    assert scales[2].startswith("photograph units (grey levels), black ")
    for ax in figure.axes:
        assert ax.get_images()[0].get_clim() == (0.0, 1.0)
    whitened = data.test[:40].reshape(40, 6, 6).numpy()
    photograph = data.preprocessing.images(data.test[:40])
    for ax, images in ((figure.axes[0], whitened), (figure.axes[2], photograph)):
        low, high = np.quantile(images, [0.005, 0.995])
        np.testing.assert_allclose(sheet(ax)[:6, 7:13], (images[1] - low) / (high - low), atol=1e-6)


def test_samples_of_rows_that_have_one_unit_only(model):
    x = torch.randn(50, 36)
    plain = pyro_vae.Dataset("toy", x, x, x, image_shape=(6, 6), pixels="standardised")
    figure = generated.samples(model, plain)
    assert len(figure.axes) == 2
    assert figure.axes[0].get_title().splitlines()[1].startswith("standardised units")


def test_the_figures_of_z2(model):
    activity = np.array([0.02, 0.9])
    figure = generated.textures(model, small_patches(), activity)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [name.split("\n")[0] for name in names] == ["z2[1]", "z2[0]"]  # most active first
    assert "whitened units" in figure.axes[0].get_title()
    figure = generated.families(
        model, small_patches(), activity, np.array([True, True, False, True])
    )
    # Unit 1 of z2 changes unit 2 of z1 alone, which is not above the gap; unit 0 changes 0 and 1.
    factors = [text.get_text() for text in figure.axes[0].texts]
    assert factors == [f"× {np.exp(3):.2g}", f"÷ {np.exp(1.5):.2g}"]


def test_titles_of_filters_are_the_counts(monkeypatch):
    wide = HierarchicalVAE(StandardPrior(2), [Scales()], FixedNoiseGaussian(4, (), 144))
    x = torch.zeros(3, 144)
    data = pyro_vae.Dataset("toy", x, x, x, image_shape=(12, 12), pixels="standardised")
    found = decoder_filters(wide, data, np.array([0.5, 0.4, 0.6, 0.0]), num_noise=7)
    counts = found.counts()
    left, right = decoder_pictures.by_class(found).axes
    assert left.get_title() == (
        f"{counts.localised_above_gap} of the 3 filters drawn are localised (units above the gap)\n"
        f"of all 4 units: {counts.localised} localised, {counts.non_localised} non-localised, "
        f"{counts.unresolved} unresolved"
    )
    assert right.get_title().endswith(f"{counts.noise_localised} of 7 localised")
    alone = decoder_filters(wide, data, np.full(4, 0.5), num_noise=0)
    (left,) = decoder_pictures.by_class(alone).axes
    assert (
        "of the 4 filters drawn are localised (all units: no clear gap of activity)"
        in left.get_title()
    )
