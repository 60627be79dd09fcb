"""Networks of images on rows: no axis of particles inside, and nothing twice that x decides."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae import InputError
from pyro_vae.programs.networks import (
    ELU,
    Folded,
    GatedConv,
    GatedDense,
    ImageDecoder,
    ImageEncoder,
    ImageLayers,
    Maps,
    MergedConv,
    MergedLinear,
    Stack,
    WeightNormConv,
    make_network,
    merged,
)
from pyro_vae.weights.substitution import substituted
from tests.contract.test_architectures import assert_uniform
from tests.statistics import double_precision

DENSE = Stack((4, 5, 6), steps=1, growth=2)
GATES = Stack((3, 4), steps=1, gated=True)
LAYERS = {
    "plain": ImageLayers(Stack((3, 4), steps=1), Stack((5, 4)), halvings=1),
    "gated": ImageLayers(GATES, GATES, halvings=1),
    "dense": ImageLayers(DENSE, DENSE, channels=2),
    "doubled": ImageLayers(Stack((), 2, 2), Stack((), 2, 8), halvings=1, channels=4),
}
IMAGE = Maps((3, 4, 8))
every_kind = pytest.mark.parametrize("kind", LAYERS)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decoder(layers, planes=2):
    latent = layers.latent(IMAGE, 16 if layers.channels is None else None)
    return ImageDecoder(latent, planes, IMAGE, layers)


def networks(kind):
    torch.manual_seed(0)
    return ImageEncoder(IMAGE, LAYERS[kind]), decoder(LAYERS[kind])


def test_folding_is_a_loop_over_particles_and_data():
    with double_precision():
        folded = Folded(WeightNormConv(2, 3), (2, 3, 5))
        x = rows(4, 7, 30)
        looped = [
            torch.stack([folded.net(one.reshape(1, 2, 3, 5)).flatten() for one in particle])
            for particle in x
        ]
        assert folded(x).shape == (4, 7, 45)
        torch.testing.assert_close(folded(x), torch.stack(looped), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(folded(x[0, 0]), folded(x)[0, 0])
        with pytest.raises(
            InputError, match="rows of 31 numbers are no images of 2 x 3 x 5 = 30 numbers"
        ):
            folded(rows(4, 31))


def test_a_merged_convolution_is_that_of_the_concatenation():
    with double_precision():
        merged = MergedConv([Maps((2, 4, 6)), Maps((3, 4, 6)), 5], 7, kernel_size=3)
        assert (merged.in_features, merged.out_features) == ((48, 72, 5), 168)
        x, z, v = rows(6, 48), rows(4, 6, 72, seed=1), rows(6, 5, seed=2)
        images = torch.cat([x.expand(4, 6, 48).reshape(-1, 2, 4, 6), z.reshape(-1, 3, 4, 6)], dim=1)
        first, second, linear = merged.parts
        weight = torch.cat([first.net.weight, second.net.weight], 1)
        wanted = F.conv2d(images, weight, first.net.bias, padding=1).reshape(4, 6, 168)
        torch.testing.assert_close(merged(x, z, v), wanted + v @ linear.weight.T)
        # What depends on x alone is computed once per datum.
        seen = {}
        for name, part in (("x", first), ("z", second)):
            part.net.register_forward_hook(
                lambda part, inputs, output, name=name: seen.update({name: len(inputs[0])})
            )
        merged(x, z, v)
        assert seen == {"x": 6, "z": 24}


def test_a_merged_convolution_starts_as_that_of_the_concatenation():
    torch.manual_seed(0)
    merged = MergedConv([60, Maps((100, 1, 1)), Maps((30, 1, 1))], 200, kernel_size=3)
    bound = (60 + 1170) ** -0.5
    linear, first, second = merged.parts
    for weights in (linear.weight, first.net.weight, second.net.weight, first.net.bias):
        assert_uniform(weights, bound)
    assert linear.bias is None
    assert second.net.bias is None


def test_a_merged_convolution_wants_one_height_and_width():
    for inputs in ([Maps((2, 4, 6)), Maps((2, 4, 5))], [7]):
        with pytest.raises(InputError, match="maps of one height and width, got"):
            MergedConv(inputs, 3)


def test_maps_are_a_number_that_knows_its_shape():
    maps = Maps((2, 3, 4))
    assert (maps, str(maps), maps.shape, maps.places) == (24, "24", (2, 3, 4), (3, 4))
    for same in (copy.deepcopy(maps), pickle.loads(pickle.dumps(maps))):
        assert (same, same.shape) == (24, (2, 3, 4))


def test_maps_lead_to_maps_place_by_place_and_to_all_else_by_linear_layers():
    here, there, other = Maps((2, 3, 4)), Maps((5, 3, 4)), Maps((5, 6, 4))
    kinds = {
        MergedConv: [(here, there), ((here, 7), there)],
        MergedLinear: [(here, 60), (here, other), (7, there), ((7, 3), there)],
    }
    for kind, cases in kinds.items():
        for inputs, output in cases:
            layer = merged(inputs, output)
            assert type(layer) is kind
            widths = [inputs] if isinstance(inputs, int) else inputs
            assert layer(*[rows(6, width) for width in widths]).shape == (6, int(output))


def test_layers_of_images_want_images():
    assert isinstance(make_network(IMAGE, LAYERS["plain"], "elu"), ImageEncoder)
    assert make_network(7, (3,), "tanh").out_features == 3
    with pytest.raises(InputError, match="want images, and rows of 96 numbers are none; give thei"):
        make_network(96, LAYERS["plain"])


@every_kind
def test_encoders_and_decoders_read_any_leading_axes(kind):
    encoder, back = networks(kind)
    half = 2 ** LAYERS[kind].halvings
    assert encoder.in_features == 96
    assert encoder.out_features.places == (4 // half, 8 // half)
    assert back.out_features == 2 * 32
    for net, width in ((encoder, 96), (back, back.in_features)):
        x = rows(5, 3, width)
        output = net(x)
        assert output.shape == (5, 3, net.out_features)
        torch.testing.assert_close(net(x[2, 1]), output[2, 1], rtol=1e-4, atol=1e-5)
        output.square().sum().backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad.abs().max() > 0, name


def test_gates_stand_in_the_place_of_every_activation():
    encoder, back = networks("gated")
    for net, ungated in ((encoder, 0), (back, 1)):  # that to the planes of an image
        kinds = [type(part) for part in net.modules()]
        assert not {ELU, nn.ELU, nn.Softplus}.intersection(kinds)
        convolutions = sum(issubclass(kind, WeightNormConv) for kind in kinds)
        assert convolutions - kinds.count(GatedConv) == ungated
        assert convolutions > 2
    assert type(back.spread) is GatedDense
    assert ELU in [type(part) for part in networks("plain")[0].modules()]


@every_kind
def test_they_start_from_training_rows(kind):
    """The last convolution of a decoder, and each of an encoder, has unit variance."""
    for net in networks(kind):
        before = copy.deepcopy(net.state_dict())
        torch.manual_seed(1)
        net.initialise_(4 + 2 * rows(300, 96))
        assert any(not torch.equal(value, before[name]) for name, value in net.state_dict().items())
    planes = net(rows(500, net.in_features, seed=4)).reshape(-1, 2, 32)
    assert planes.var((0, 2)).sub(1).abs().max() < 0.2


@every_kind
def test_a_record_gives_the_plain_numbers(kind):
    """With parameters put in from outside, as the training step does."""
    for net in networks(kind):
        x, table = rows(2, 3, net.in_features), list(net.parameters())

        def output(x, *tensors, net=net, table=table):
            values = {id(p): t for p, t in zip(table, tensors, strict=True)}
            with substituted(net, lambda p: values[id(p)]):
                return net(x)

        inputs = [x, *(p.detach() * 1.1 for p in table)]
        record = make_fx(output)(*inputs)
        assert torch.equal(record(*inputs), output(*inputs))
        assert not torch.equal(record(*inputs), net(x))


def test_places_and_latents_that_do_not_fit_are_refused_by_name():
    layers = LAYERS["dense"]
    with pytest.raises(
        InputError, match="side 6 cannot be halved 2 times; allowed: multiples of 4"
    ):
        layers.places(Maps((1, 8, 6)))
    with pytest.raises(InputError, match="5 units of z1 do not fit maps of 1 x 2 places; allowed"):
        layers.latent(IMAGE, 5)
    assert layers.latent(IMAGE, 6).shape == (3, 1, 2)
    assert layers.latent(IMAGE).shape == (2, 1, 2)
    assert type(LAYERS["plain"].latent(IMAGE, 5)) is int
    for made, match in (
        (lambda: Stack(), "wants blocks: growth and steps"),
        (lambda: Stack((3, 0)), "a width of a network of images must be a whole number"),
        (lambda: ImageLayers(Stack((3,)), Stack((3, 4)), 1), "want 2 widths of the encoder, got 1"),
        (lambda: ImageLayers(DENSE, DENSE, -1), "halvings must be a whole number of at least 0"),
        (lambda: ImageLayers(DENSE, DENSE, 2, 0), "channels of z1 must be a whole number"),
        (lambda: ImageDecoder(5, 1, IMAGE, LAYERS["doubled"]), "wants a z1 with places"),
    ):
        with pytest.raises(InputError, match=match):
            made()


def test_published_sizes():
    """Parameters of the published networks of 32 x 32 colour images, in millions (by count of the
    published code: 10.41 with its last convolution to location and scale, and 12.45)."""
    layers = ImageLayers(Stack((), 8, 16), Stack((), 6, 128), 2, 16)
    with torch.device("meta"):
        encoder = ImageEncoder(Maps((3, 32, 32)), layers)
        heads = nn.Conv2d(encoder.out_features.shape[0], 32, 1)
        back = ImageDecoder(Maps((16, 8, 8)), 100, Maps((3, 32, 32)), layers)
    count = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (encoder, heads, back)]
    assert encoder.out_features.shape == (1548, 8, 8)
    assert count[0] + count[1] == pytest.approx(10.41, abs=0.01)
    assert count[2] == pytest.approx(12.45, abs=0.01)
