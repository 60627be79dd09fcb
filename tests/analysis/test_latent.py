"""Pictures of latent spaces: what they show equals what was planted, and bad cases are named."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from analysis.measures.examples import spread_rows
from analysis.pictures import style
from analysis.pictures.decoding import plot_plane
from analysis.pictures.image_grids import plot_manifold, plot_rows
from analysis.probes import decoder
from analysis.probes.plane import most_active_plane
from pyro_vae.errors import InputError
from pyro_vae.programs import build_pair
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.guides import BottomUpGuide
from pyro_vae.programs.likelihoods import FixedNoiseGaussian
from pyro_vae.programs.likelihoods.bernoulli import Bernoulli
from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.programs.priors import StandardPrior
from pyro_vae.training.recipes import recipe
from tests.conftest import tiny_pair
from tests.latent import cell, tick_names
from tests.statistics import assert_mean_close, z_score


@torch.no_grad()
def set_(layer, weight, bias=0.0):
    """Give a MergedLinear of one input its weight (out, in) and bias."""
    (part,) = layer.parts
    part.weight.copy_(torch.as_tensor(weight))
    part.bias.copy_(torch.as_tensor(bias).expand_as(part.bias))
    return layer


def linear_conditional(weight, scale, bias=0.0):
    """Normal(weight h + bias, scale)."""
    part = LocScale(weight.shape[1], (), len(weight), gain=1.0)
    set_(part.loc, weight, bias)
    set_(part.log_scale, torch.zeros_like(weight), torch.as_tensor(scale).log())
    return part


def linear_model(weight, bias=0.0, noise=0.5, units=None, family="normal"):
    """p(x | z) = Normal(weight z + bias, noise^2), one standard level."""
    likelihood = FixedNoiseGaussian(weight.shape[1], (), len(weight), noise=noise)
    set_(likelihood.loc, weight, bias)
    return HierarchicalVAE(StandardPrior(weight.shape[1], family), [], likelihood)


def planted_guide(num_pixels=5, units=6, planted=(), scale=0.5):
    """q(z1 | x) whose unit u of ``planted`` (u, pixel, weight) follows that pixel, others none."""
    weight = torch.zeros(units, num_pixels)
    for unit, pixel, value in planted:
        weight[unit, pixel] = value
    return BottomUpGuide([linear_conditional(weight, scale)])


@pytest.mark.parametrize("first", [(1, 4), (5, 0)])
def test_the_plane_is_that_of_the_planted_units(float64, first):
    strong, weak = first
    # A third unit is active too, but less than the two.
    planted = [(strong, 3, 2.0), (weak, 0, -0.7), (2, 1, 0.3)]
    scale = torch.linspace(0.2, 1.2, 6)
    guide, x = planted_guide(planted=planted, scale=scale), torch.randn(400, 5)
    plane = most_active_plane(guide, x, num_samples=50)
    expected = {strong: 2.0 * x[:, 3], weak: -0.7 * x[:, 0]}
    assert plane.units == tuple(sorted(first))
    assert (plane.num_active, plane.num_units) == (3, 6)
    for place, unit in enumerate(plane.units):
        np.testing.assert_allclose(plane.points[:, place], expected[unit], atol=1e-12)
        assert plane.activity[place] == pytest.approx(expected[unit].var().item(), abs=1e-9)
    # The standard error of a standard deviation from 400 sets of 50 draws about their own mean.
    truth = scale[list(plane.units)].numpy()
    error = truth / math.sqrt(2 * 400 * 49)
    assert (abs(plane.width - truth) / error).max() < 5
    assert (abs(plane.width - truth[::-1]) / error).min() > 8


def test_a_level_of_two_units_keeps_its_axes(float64):
    x = torch.randn(100, 5)
    for first, second in ((1.0, 3.0), (3.0, 1.0)):
        plane = most_active_plane(
            planted_guide(units=2, planted=[(0, 0, first), (1, 1, second)]), x
        )
        assert plane.units == (0, 1)
        np.testing.assert_allclose(plane.points, x[:, :2] * torch.tensor([first, second]))


def test_any_level_can_be_looked_at(float64):
    _, guide = tiny_pair(levels=2)
    x = 3 * torch.randn(200, 6)
    assert most_active_plane(guide, x, "z1").num_units == 4
    assert most_active_plane(guide, x, "z2").num_units == 3
    with pytest.raises(InputError, match=r"unknown level 'z3'; allowed: z1, z2"):
        most_active_plane(guide, x, "z3")


@pytest.mark.parametrize("planted", [[], [(3, 0, 1.0)], [(3, 0, 1.0), (1, 0, 0.05)]])
def test_fewer_than_two_active_units_are_refused(float64, planted):
    active = min(len(planted), 1)
    with pytest.raises(InputError, match=f"{active} of 6 units of z1 .* a scatter wants 2"):
        most_active_plane(planted_guide(planted=planted), torch.randn(200, 5))


def autoencoder(scale):
    """A guide and the model that undoes it: z = A x + scale noise, E[x | z] = A^-1 z."""
    A = torch.eye(4) + 0.3 * torch.randn(4, 4)
    guide = BottomUpGuide([linear_conditional(A, scale)])
    return linear_model(A.inverse()), guide, A.inverse()


def test_an_exact_autoencoder_gives_back_its_images(float64):
    model, guide, _ = autoencoder(scale=1e-12)
    x = torch.randn(7, 4)
    decoded = decoder.encode_decode(model, guide, x, 3)
    assert decoded.shape == (3, 7, 4)
    np.testing.assert_allclose(decoded, x.expand(3, 7, 4), atol=1e-9)
    np.testing.assert_allclose(decoder.decode_mean(model, guide, x), x, atol=1e-9)
    other, _, _ = autoencoder(scale=1e-12)
    assert abs(decoder.encode_decode(other, guide, x) - x.numpy()).max() > 0.1
    assert abs(decoder.decode_mean(other, guide, x) - x.numpy()).max() > 0.1


def test_draws_are_drawn_and_means_are_not(float64):
    model, guide, inverse = autoencoder(scale=0.4)
    x = torch.randn(3, 4)
    drawn = torch.as_tensor(decoder.encode_decode(model, guide, x, 4_000))
    assert_mean_close(drawn, x)
    variance = 0.4**2 * inverse.square().sum(1)
    assert_mean_close((drawn - x).square(), variance.expand(3, 4))
    assert z_score((drawn - x).square(), (variance + model.likelihood.noise**2).expand(3, 4)) > 8
    np.testing.assert_allclose(decoder.decode_mean(model, guide, x), x, atol=1e-9)


def test_the_mean_of_a_level_with_parents_is_decoded(float64):
    """q(z2 | x) = N(x, 1), q(z1 | x, z2) = N(z2, 1): E[z1 | x] = x, as S grows."""

    class Guide(torch.nn.Module):
        def forward(self, x):
            import pyro
            import pyro.distributions as dist

            with pyro.plate("data", len(x), dim=-1):
                z2 = pyro.sample("z2", dist.Normal(x, 1.0).to_event(1))
                pyro.sample("z1", dist.Normal(z2, 1.0).to_event(1))

    x = torch.randn(5, 4)
    model = linear_model(torch.eye(4))
    means = [decoder.decode_mean(model, Guide(), x, num_samples=20) for _ in range(100)]
    assert_mean_close(torch.as_tensor(np.stack(means)), x)
    # The conditional means have the spread of z2 alone.
    spread = (torch.as_tensor(np.stack(means)) - x).square()
    assert_mean_close(spread, torch.full((5, 4), 1 / 20))
    assert z_score(spread, torch.full((5, 4), 2 / 20)) > 8


def test_samples_follow_the_model(float64):
    weight, bias = torch.randn(3, 2), torch.tensor([1.0, -1.0, 0.5])
    model = linear_model(weight, bias, noise=0.8)
    mean, drawn = map(torch.as_tensor, decoder.simulate(model, 20_000))
    assert mean.shape == drawn.shape == (20_000, 3)
    products = ((mean - bias)[:, :, None] * (mean - bias)[:, None, :]).flatten(1)
    assert_mean_close(products, (weight @ weight.T).flatten())
    assert z_score(products, (weight @ weight.T + 0.8**2 * torch.eye(3)).flatten()) > 8
    assert_mean_close(drawn - mean, torch.zeros(3))
    assert_mean_close((drawn - mean).square(), torch.full((3,), 0.8**2))


def test_samples_come_from_the_top_of_a_hierarchy(float64):
    lower = linear_conditional(torch.tensor([[2.0], [0.0]]), 0.1, torch.tensor([0.0, 5.0]))
    likelihood = FixedNoiseGaussian(2, (), 2, noise=0.1)
    set_(likelihood.loc, torch.eye(2))
    mean, _ = decoder.simulate(HierarchicalVAE(StandardPrior(1), [lower], likelihood), 5_000)
    assert_mean_close(torch.as_tensor(mean), torch.tensor([0.0, 5.0]))
    squares = torch.as_tensor(mean - [0.0, 5.0]) ** 2
    assert_mean_close(squares, torch.tensor([4.01, 0.01]))
    assert z_score(squares, torch.ones(2)) > 8


def test_binary_samples_are_drawn_from_their_means(float64):
    likelihood = Bernoulli(2, (), 3)
    set_(likelihood.logits, torch.randn(3, 2))
    mean, drawn = decoder.simulate(HierarchicalVAE(StandardPrior(2), [], likelihood), 10_000)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert_mean_close(torch.as_tensor(drawn - mean), torch.zeros(3))
    gap = torch.as_tensor((drawn - mean) ** 2 - mean * (1 - mean))  # drawn at its own mean
    assert_mean_close(gap, torch.zeros(3))
    shuffled = torch.as_tensor((drawn - mean[::-1]) ** 2 - mean[::-1] * (1 - mean[::-1]))
    assert z_score(shuffled, torch.zeros(3)) > 8
    with pytest.raises(InputError, match="number of samples must be"):
        decoder.simulate(tiny_pair()[0], 0)


def test_the_manifold_of_a_linear_decoder_is_its_map(float64):
    weight, bias = torch.randn(4, 2), torch.randn(4)
    values, images = decoder.manifold(linear_model(weight, bias), 5)
    # Every value stands in the middle of a fifth of the prior.
    shares = 0.5 * (1 + torch.erf(torch.as_tensor(values) / math.sqrt(2)))
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.5, 0.7, 0.9], atol=1e-12)
    assert images.shape == (25, 4)
    for row in range(5):
        for column in range(5):
            z = torch.tensor([values[column], values[4 - row]])  # unit 1 rises upward
            np.testing.assert_allclose(images[5 * row + column], weight @ z + bias, atol=1e-12)
    swapped = images.reshape(5, 5, 4).swapaxes(0, 1).reshape(25, 4)
    assert abs(swapped - images).max() > 0.1


def test_the_planar_model_has_a_manifold():
    model, guide = build_pair("planar", "bottomup", num_pixels=6)
    assert model.latent_sizes == (2,)
    values, images = decoder.manifold(model, 4)
    assert (values.shape, images.shape) == ((4,), (16, 6))
    assert ((images > 0) & (images < 1)).all()
    burda, burda_guide = build_pair("burda1", "bottomup", num_pixels=6)
    for pair in ((model, burda), (guide, burda_guide)):
        shapes = [[p.shape for p in program.parameters()] for program in pair]
        differing = [(a, b) for a, b in zip(*shapes, strict=True) if a != b]
        assert differing
        assert all(2 in a and 50 in b for a, b in differing)  # nothing but the units
    for preset in ("small", "paper"):
        assert recipe("planar", preset) == recipe("burda1", preset)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: linear_model(torch.ones(4, 3)), "have 3 units; a manifold wants one level of 2"),
        (lambda: tiny_pair(levels=2)[0], "have 4, 3 units"),
        (lambda: linear_model(torch.ones(4, 2), family="laplace"), "not standard normal"),
    ],
)
def test_no_manifold_without_two_standard_normal_units(model, reason):
    with pytest.raises(InputError, match=reason):
        decoder.manifold(model(), 3)
    with pytest.raises(InputError, match="side of the grid"):
        decoder.manifold(linear_model(torch.ones(4, 2)), 0)


def test_rows_to_show_are_spread_over_the_classes():
    labels = np.array([2, 2, 2, 0, 0, 1, 2, 1, 0])
    assert spread_rows(labels, 9, 3).tolist() == [3, 5, 0]  # the first of each class
    assert spread_rows(labels, 9, 5).tolist() == [3, 4, 5, 7, 0]
    assert spread_rows(labels, 9, 2).tolist() == [3, 0]  # of three classes, the outer two
    assert sorted(spread_rows(labels, 9, 20)) == list(range(9))
    assert spread_rows(None, 9, 3).tolist() == [0, 4, 8]
    assert spread_rows(None, 2, 10).tolist() == [0, 1]


def test_a_plane_is_drawn_in_the_colours_of_its_classes(ax):
    points = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [3.0, 5.0]])
    classes = np.array([1, 0, 1, 1])
    assert plot_plane(ax, points, classes, ["a", "b"], np.array([0.5, 0.25])) is ax
    scatter = ax.collections[0]
    np.testing.assert_array_equal(scatter.get_offsets(), points)
    colours = style.class_colours(2)
    np.testing.assert_allclose(scatter.get_facecolors()[:, :3], colours[classes, :3])
    assert {t.get_text(): t.get_position() for t in ax.texts} == {"a": (1.0, 1.0), "b": (2.0, 0.0)}
    (across,), (up,) = (bars.get_segments() for bars in ax.collections[1:3])
    np.testing.assert_allclose(np.ptp(across, axis=0), [1.0, 0.0])
    np.testing.assert_allclose(np.ptp(up, axis=0), [0.0, 0.5])
    assert across.max(axis=0)[0] < points.min()  # it hides none of the points
    handles = style.class_handles(["a", "b"])
    assert [h.get_label() for h in handles] == ["a", "b"]
    np.testing.assert_array_equal([h.get_color() for h in handles], colours)
    with pytest.raises(InputError, match="11 classes cannot be told apart by colour; allowed: 10"):
        style.class_colours(11)


def test_shared_limits_hold_all_contents():
    axes = Figure().subplots(1, 2)
    axes[0].set(xlim=(-1, 2), ylim=(0, 1))
    axes[1].set(xlim=(0, 3), ylim=(-5, 0.5))
    style.share_limits(axes)
    for ax in axes:
        assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 3), (-5, 1))


@pytest.mark.parametrize("limit", [None, 2.0])
def test_rows_have_their_names(ax, limit):
    images = np.random.default_rng(0).random((2, 3, 4, 6)) / 2
    assert plot_rows(ax, images, ["one", "two"], ["a", "", "c"], limit=limit) is ax
    for row in range(2):
        for column in range(3):
            np.testing.assert_array_equal(cell(ax, row, column, (4, 6)), images[row, column])
    assert tick_names(ax.yaxis) == {1.5: "one", 6.5: "two"}  # at the rows' middles
    assert tick_names(ax.xaxis) == {2.5: "a", 16.5: "c"}
    # Probabilities share one scale whatever the largest of them is.
    assert ax.get_images()[0].get_clim() == ((-2.0, 2.0) if limit else (0.0, 1.0))


def test_a_manifold_has_the_axes_of_its_units(ax):
    values, images = decoder.manifold(linear_model(torch.randn(6, 2)), 3)
    assert plot_manifold(ax, images.reshape(9, 2, 3), values, limit=1.0) is ax
    np.testing.assert_array_equal(cell(ax, 2, 0, (2, 3)).ravel(), images[6])
    assert tick_names(ax.xaxis) == {1.0: "-0.97", 5.0: "0.00", 9.0: "0.97"}
    assert tick_names(ax.yaxis) == {0.5: "0.97", 3.5: "0.00", 6.5: "-0.97"}
    assert ax.get_xlabel() == "unit 0 of z1"
