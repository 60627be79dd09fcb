"""Autoregressive pixels: what a place may see, masses, draws, and gradients that use them."""

import copy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from pyro import poutine

import pyro_vae
from pyro_vae import InputError, PairConfig
from pyro_vae.programs.likelihoods import LIKELIHOODS, PixelByPixel
from pyro_vae.programs.likelihoods import pixelcnn as drawing
from pyro_vae.programs.networks import Maps, MaskedConv, PixelNetwork, place_by_place
from pyro_vae.weights.densities import reads_late
from tests.conftest import tiny_pair
from tests.statistics import chi_square_score, double_precision

SIDES = (7, 9)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(image=(1, *SIDES), outputs=1, **sizes):
    torch.manual_seed(3)
    return PixelNetwork(Maps(image), outputs, width=3, **sizes)


def seen(net, row, column, height, width):
    """Places (row, column) that the numbers of one place depend on, by autograd."""
    x = rows(height * width).requires_grad_()
    planes = net(x, rows(net.maps * height * width, seed=1)).reshape(-1, height, width)
    (gradient,) = torch.autograd.grad(planes[:, row, column].sum(), x)
    places = gradient.reshape(height, width).nonzero().tolist()
    return {tuple(place) for place in places}


def before(row, column, height, width):
    return {(i, j) for i, j in product(range(height), range(width)) if (i, j) < (row, column)}


def test_a_masked_convolution_reads_the_places_before_it():
    """The reading order, row by row; kind B reads the place itself as well."""
    with double_precision():
        x = rows(2, 3, 5, 5)
        for kind, last in (("A", 4), ("B", 5), ("above", 3), ("not below", 6)):
            layer = MaskedConv(3, 2, kind=kind)
            kernel = layer.weight.detach().clone().reshape(2, 3, 9)
            assert layer.mask.flatten().tolist() == [1.0] * last + [0.0] * (9 - last)
            kernel[..., last:] = 0
            wanted = F.conv2d(x, kernel.reshape(2, 3, 3, 3), layer.bias, padding=1)
            torch.testing.assert_close(layer(x), wanted)
            assert "mask" not in layer.state_dict()
    assert MaskedConv(3, 2, (1, 5)).mask.tolist() == [[1, 1, 1, 0, 0]]
    with pytest.raises(InputError, match="kind of a masked convolution 'C'; allowed: A, B, above"):
        MaskedConv(1, 1, kind="C")


@pytest.mark.parametrize("sizes", [{"window": 1}, {"window": 2, "layers": 1}, {"layers": 5}])
def test_no_place_sees_itself_or_later_ones(sizes):
    net = network(**sizes)
    for row, column in product(range(7), range(9)):
        assert seen(net, row, column, *SIDES) <= before(row, column, *SIDES)
    assert seen(net, 0, 0, *SIDES) == set()


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_is_seen_whole_and_nothing_else(window):
    net = network(window=window, layers=3)
    for row, column in ((0, 4), (3, 0), (3, 4), (6, 8), (5, 7)):
        within = {
            (i, j)
            for i, j in before(row, column, *SIDES)
            if row - i <= window and abs(column - j) <= window
        }
        assert seen(net, row, column, *SIDES) == within


def test_without_a_window_all_of_the_image_before_a_place_is_seen():
    net = network((1, 12, 20))
    assert net.reach == 3 + 1 + 2 + 4 + 8 + 16
    for row, column in ((0, 19), (6, 10), (11, 2)):
        assert seen(net, row, column, 12, 20) == before(row, column, 12, 20)
    near = network((1, 12, 20), layers=2)  # as far as the layers reach, without a blind spot
    wanted = {(i, j) for i, j in before(11, 6, 12, 20) if 11 - i <= near.reach >= abs(j - 6)}
    assert near.reach == 6
    assert seen(near, 11, 6, 12, 20) == wanted


def test_masses_of_all_binary_images_sum_to_one_and_draws_have_them():
    """Images of 2 x 3 places in two channels would be 4096; one channel has 64."""
    with double_precision():
        made = LIKELIHOODS["pixelcnn"]
        for settings in ({"window": 1, "layers": 1}, {"layers": 2}):
            likelihood = made(3, (4,), 6, image_shape=(1, 2, 3), width=3, **settings)
            for parameter in likelihood.parameters():
                parameter.data += 0.5 * torch.randn_like(parameter)
            pixels = likelihood(rows(3))
            images = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 6)
            mass = pixels.log_prob(images).exp()
            assert mass.sum().item() == pytest.approx(1, abs=1e-12)
            counts = (pixels.sample((8_000,))[:, None] == images).all(-1).sum(0)
            assert chi_square_score(counts, mass) < 5
            independent = images.T @ mass  # the same marginals without what couples them
            apart = torch.where(images == 1, independent, 1 - independent).prod(1)
            assert chi_square_score(counts, apart) > 8


def test_colours_of_a_place_are_drawn_together_and_scored_together():
    """One place of three channels: the density is the coupled mixture's own."""
    with double_precision():
        likelihood = LIKELIHOODS["pixelcnn-levels"](
            3, (4,), 3, image_shape=(3, 1, 1), components=2, width=3, layers=1
        )
        pixels = likelihood(rows(5, 3))
        draws = pixels.sample((4,))
        assert draws.shape == (4, 5, 3)
        torch.testing.assert_close(draws * 255, (draws * 255).round())
        planes = likelihood.network(draws, pixels.context).unflatten(-1, (-1, 1, 1))
        wanted = likelihood.of_planes(planes).log_prob((draws * 255).round()[..., None, None])
        torch.testing.assert_close(pixels.log_prob(draws), wanted)
        assert likelihood.outputs == 20


@pytest.mark.parametrize("sizes", [{"window": 2}, {"layers": 3}])
def test_gradients_reach_every_weight_that_is_seen(sizes):
    net = network((2, 9, 10), 3, **sizes)
    net(rows(4, 180), rows(4, net.maps * 90, seed=1)).square().sum().backward()
    for part in net.modules():
        if isinstance(part, MaskedConv):
            unseen = part.mask == 0
            assert (part.weight.grad[..., unseen] == 0).all()
            assert (part.weight.grad[..., ~unseen] != 0).all()


@pytest.mark.parametrize("sizes", [{"window": 2}, {"layers": 6}, {"layers": 0}])
def test_place_by_place_the_numbers_are_those_of_the_whole_image(sizes):
    """What a draw reads; a place that was put in wrong is missed by those after it."""
    with double_precision():
        net = network((3, 8, 12), 4, **sizes)
        x, context = rows(2, 3, 8, 12), rows(2, net.maps, 8, 12, seed=1)
        whole = net(x.flatten(1), context.flatten(1)).reshape(2, 4, 8, 12)

        def off(wrong=None):
            known, found = place_by_place(net, context), torch.empty_like(whole)
            for row, column in product(range(8), range(12)):
                found[..., row, column] = known.numbers(row, column)[..., 0, 0]
                place = x[..., row, None, column, None] + ((row, column) == wrong)
                known.put(row, column, net.seen(place))
            return {
                tuple(place[2:]) for place in ((found - whole).abs() > 1e-10).nonzero().tolist()
            }

        assert off() == set()
        assert min(off(wrong=(2, 5))) == (2, 6)


def test_a_draw_passes_every_layer_once_for_each_place(monkeypatch):
    """No image is convolved anew for its next place: outputs of one convolution are counted."""
    counted = []
    convolution = F.conv2d

    def counting(x, weight, *settings, **named):
        output = convolution(x, weight, *settings, **named)
        counted.append(output.shape[2] * output.shape[3])
        return output

    monkeypatch.setattr(F, "conv2d", counting)
    likelihood = LIKELIHOODS["pixelcnn"](3, (), 63, image_shape=(1, 7, 9), width=2, layers=3)
    pixels = likelihood(rows(3))
    pixels.log_prob(pixels.sample())
    of_image = [number for number in counted if number == 63]
    assert sum(counted) == 2 * 63 * len(of_image)


def test_images_are_convolved_once_per_datum():
    net, counted = network(), []
    net.first.net.register_forward_hook(lambda part, inputs, out: counted.append(len(inputs[0])))
    x, context = rows(5, 63), rows(4, 5, 63 * net.maps)
    assert net(x, context).shape == (4, 5, 63)
    assert counted == [5]


def test_drawing_shows_how_far_it_is(monkeypatch):
    told = []

    def bar(places, **settings):
        told.append(settings)
        return places

    monkeypatch.setattr(drawing, "tqdm", bar)
    LIKELIHOODS["pixelcnn"](3, (), 6, image_shape=(1, 2, 3), width=2)(rows(3)).sample()
    assert told[0]["total"] == 6
    assert told[0]["disable"] is None  # not where no one looks


def pixel_pair(seed=0, **settings):
    """A model of 3 x 4 binary pixels with the guide of a tiny one."""
    model, guide = tiny_pair(num_pixels=12, levels=2, pixels="binary", seed=seed)
    torch.manual_seed(seed)
    sizes = {"window": 1, "layers": 1, "width": 3} | settings
    model.likelihood = LIKELIHOODS["pixelcnn"](4, (6,), 12, image_shape=(1, 3, 4), **sizes)
    return model, guide


def test_the_density_is_read_where_the_program_samples():
    """Its network is read as late as it is scored: under DReG other parameters stand there then."""
    model, guide = pixel_pair()
    x = rows(5, 12).sign().clamp(min=0)
    site = poutine.trace(model).get_trace(x).nodes["x"]["fn"]
    assert isinstance(site, PixelByPixel)
    assert reads_late(site)
    assert pyro_vae.log_weights(model, guide, x, 3).log_w.shape == (3, 5)


def test_doubly_reparameterised_gradients_are_those_of_the_bound():
    """Encoder gradients of DReG and IWAE agree in the mean; the model's are the same numbers."""
    with double_precision():
        model, guide = (part.double() for part in pixel_pair())
        x = rows(3, 12).sign().clamp(min=0).repeat(20, 1)  # whose means vary less
        found = {}
        for estimator in ("pathwise", "dreg"):
            objective = pyro_vae.make_objective("iwae", 4, estimator=estimator)
            samples = []
            for seed in range(50):
                torch.manual_seed(seed)
                model.zero_grad(), guide.zero_grad()
                objective.differentiable_loss(model, guide, x).backward()
                samples.append(
                    [
                        torch.cat([p.grad.flatten() for p in part.parameters()]).clone()
                        for part in (model, guide)
                    ]
                )
            found[estimator] = [torch.stack(part) for part in zip(*samples, strict=True)]
        (plain_model, plain), (dreg_model, dreg) = found["pathwise"], found["dreg"]
        torch.testing.assert_close(plain_model, dreg_model)
        error = (plain.var(0) / 50 + dreg.var(0) / 50).sqrt()
        scores = (plain.mean(0) - dreg.mean(0)) / (error + 1e-12)
        assert scores.square().mean().sqrt() < 1.3
        halved = (0.5 * plain.mean(0) - dreg.mean(0)) / (error + 1e-12)
        assert halved.square().mean().sqrt() > 2


def test_a_pair_with_autoregressive_pixels_trains_saves_and_draws():
    config = PairConfig("burda1", likelihood="pixelcnn:window=2,layers=1,width=4", latent=(3,))
    model, guide = config.build(12, (1, 3, 4))
    x = rows(40, 12).sign().clamp(min=0)
    before_ = copy.deepcopy(model.state_dict())
    pyro_vae.fit(model, guide, x, objective="dreg", epochs=1, batch_size=20, progress=False)
    moved = [name for name, value in model.state_dict().items() if not value.equal(before_[name])]
    assert any("network.first" in name for name in moved)
    assert model(num_data=6).shape == (6, 12)
    with pytest.raises(InputError, match="of PixelByPixel has no closed form: its images can be"):
        model.decode(rows(2, 3))


@pytest.mark.parametrize(
    ("text", "shape", "match"),
    [
        ("pixelcnn:window=-1", (1, 3, 4), "window must be a whole number of at least 0, got -1"),
        ("pixelcnn:layers=-1", (1, 3, 4), "layers must be a whole number of at least 0"),
        ("pixelcnn:width=0", (1, 3, 4), "width must be a whole number of at least 1"),
        ("pixelcnn:depth=3", (1, 3, 4), "unknown setting 'depth' of the likelihood 'pixelcnn'"),
        ("pixelcnn-levels:components=-1", (1, 3, 4), "components of the likelihood 'pixelcnn-l"),
        ("pixelcnn-levels:components=0", (3, 2, 2), "does not couple colours; allowed: grey"),
    ],
)
def test_sizes_that_cannot_be_used_are_refused_in_one_line(text, shape, match):
    with pytest.raises(InputError, match=match):
        PairConfig("burda1", likelihood=text).build(12, shape)
