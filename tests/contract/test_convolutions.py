"""Layers of images: formulas, shapes, what shifts do to them, and how they start from data."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyro_vae.programs.networks import (
    ChannelAttention,
    DenseBlock,
    Down,
    GatedConv,
    Up,
    WeightNormConv,
    start_,
    with_own_layout,
)
from tests.statistics import double_precision

LAYERS = {
    "conv": lambda: WeightNormConv(2, 3),
    "conv 1x1": lambda: WeightNormConv(2, 3, 1),
    "down": lambda: Down(2, 3),
    "up": lambda: Up(2, 3),
    "gated": lambda: GatedConv(2, 3),
    "attention": lambda: ChannelAttention(2),
    "block": lambda: DenseBlock(2, 3, 2),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weight(layer):
    """g v / |v|, by hand; the axis of the outputs is that of g."""
    g, v = (
        layer.conv.parametrizations.weight.original0,
        layer.conv.parametrizations.weight.original1,
    )
    axes = [axis for axis, size in enumerate(g.shape) if size == 1]
    return g * v / v.square().sum(axes, keepdim=True).sqrt()


def convolve(layer, x):
    return F.conv2d(x, weight(layer), layer.conv.bias, padding=layer.conv.padding)


@every_layer
@pytest.mark.parametrize("side", [(6, 8), (5, 7), (1, 3)])
def test_shapes(name, side):
    height, width = side
    wanted = {
        "down": (3, (height + 1) // 2, (width + 1) // 2),
        "up": (3, 2 * height, 2 * width),
        "attention": (2, height, width),
        "block": (8, height, width),
    }.get(name, (3, height, width))
    torch.manual_seed(0)
    output = LAYERS[name]()(images(4, 2, height, width))
    assert output.shape == (4, *wanted)
    assert torch.isfinite(output).all()


def test_weights_are_normalised():
    """g is the length of a weight whatever v is; a transposed convolution has its own axis."""
    with double_precision():
        x = images(4, 2, 5, 5)
        for layer, function in (
            (WeightNormConv(2, 3), lambda w, b: F.conv2d(x, w, b, padding=1)),
            (Down(2, 3), lambda w, b: F.conv2d(x, w, b, padding=1, stride=2)),
            (
                Up(2, 3),
                lambda w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1),
            ),
        ):
            lengths = layer.conv.parametrizations.weight
            assert lengths.original0.numel() == 3
            with torch.no_grad():
                lengths.original0.copy_(1 + torch.rand_like(lengths.original0))
                layer.conv.bias.normal_()
            before = layer(x)
            torch.testing.assert_close(before, function(weight(layer), layer.conv.bias))
            with torch.no_grad():
                lengths.original1.mul_(7.0)
            torch.testing.assert_close(layer(x), before)


def test_blocks_and_gates_are_their_formulas():
    with double_precision():
        x = images(4, 2, 5, 5)
        for kind in (WeightNormConv, Down, Up):
            gated = GatedConv(2, 3, kind)
            both = gated.both(x)
            assert type(gated.both) is kind
            torch.testing.assert_close(gated(x), both[:, :3] / (1 + (-both[:, 3:]).exp()))
        attention = ChannelAttention(2)
        between = F.elu(convolve(attention.squeeze, x.mean((2, 3), keepdim=True)))
        factors = 1 / (1 + (-convolve(attention.excite, between)).exp())
        assert factors.shape == (4, 2, 1, 1)
        torch.testing.assert_close(attention(x), x * factors)
        block = DenseBlock(2, 3, 2)
        h = x
        for step in list(block)[:2]:
            first, _, second, _ = step.new
            assert first.conv.weight.shape[:2] == (12, h.shape[1])
            h = torch.cat([h, F.elu(convolve(second, F.elu(convolve(first, h))))], 1)
        torch.testing.assert_close(block(x), block[2](h))
        assert block.out_channels == 8


@pytest.mark.parametrize(
    ("name", "by", "moves"), [("conv", 1, 1), ("down", 2, 1), ("up", 1, 2), ("block", 1, 1)]
)
def test_what_moves_in_the_image_moves_in_the_map(name, by, moves):
    """Far from the borders; a map of half the side moves with every second pixel alone."""
    with double_precision():
        layer = LAYERS[name]()
        x = torch.zeros(1, 2, 16, 16)
        x[..., 6:9, 6:9] = images(1, 2, 3, 3)

        def off(by):
            there = layer(x.roll(by, -1))
            return (there - layer(x).roll(moves, -1))[..., 1:-1, 2:-2].abs().max()

        assert off(by) < 1e-12
        assert off(by + 1) > 1e-3


@every_layer
def test_from_data_every_channel_starts_with_unit_variance(name):
    with double_precision():
        layer = LAYERS[name]()
        x = 3 + 5 * images(40, 2, 6, 6)
        started = start_(layer, x)
        found = []
        for part in layer.modules():
            if isinstance(part, WeightNormConv):
                part.register_forward_hook(lambda part, inputs, output: found.append(output))
        torch.testing.assert_close(layer(x), started)  # each met what those before it give now
        assert found
        for output in found:
            torch.testing.assert_close(output.mean((0, 2, 3)), torch.zeros(output.shape[1]))
            torch.testing.assert_close(
                output.var((0, 2, 3), correction=0), torch.ones(output.shape[1])
            )


def test_a_start_leaves_nothing_behind_and_is_not_repeated():
    """What is loaded is as it was saved, whatever data come first."""
    torch.manual_seed(0)
    net = nn.Sequential(WeightNormConv(2, 3), nn.ELU(), Down(3, 4))
    names, x = list(net.state_dict()), images(20, 2, 6, 6)
    before = copy.deepcopy(net.state_dict())
    start_(net, x)
    after = copy.deepcopy(net.state_dict())
    assert list(after) == names
    assert not any(part._forward_hooks for part in net.modules())
    for name, value in before.items():
        if "original1" in name:  # directions are not touched
            assert torch.equal(after[name], value)
    stream = io.BytesIO()
    torch.save(after, stream)
    stream.seek(0)
    other = nn.Sequential(WeightNormConv(2, 3), nn.ELU(), Down(3, 4))
    other.load_state_dict(torch.load(stream, weights_only=True))
    assert torch.equal(other(9 * x), net(9 * x))
    assert all(torch.equal(value, after[name]) for name, value in other.state_dict().items())


def test_a_channel_that_is_constant_over_the_data_keeps_its_length():
    layer = WeightNormConv(2, 3)
    lengths = layer.conv.parametrizations.weight.original0.detach().clone()
    start_(layer, torch.zeros(5, 2, 4, 4))
    assert torch.equal(layer.conv.parametrizations.weight.original0, lengths)
    assert torch.isfinite(layer(images(5, 2, 4, 4))).all()


@every_layer
def test_a_layer_is_copied_after_a_step_and_keeps_its_precision(name):
    torch.manual_seed(0)
    layer, x = LAYERS[name](), images(3, 2, 4, 4)
    optimiser = torch.optim.SGD(layer.parameters(), 0.01)
    layer(x).square().sum().backward()
    for parameter_name, parameter in layer.named_parameters():
        assert parameter.grad.abs().max() > 0, parameter_name
    optimiser.step()
    copied = copy.deepcopy(layer)
    assert torch.equal(copied(x), layer(x))
    double = copied.double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), layer(x), rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.float32
    assert 0 < (low - layer(x)).abs().max() < 0.2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_laid_out_as_their_maps(layout):
    """The same numbers; slices of a concatenation's gradient would keep its strides."""
    for own in (True, False):
        x = images(3, 4, 5, 5).contiguous(memory_format=layout).requires_grad_()
        maps, arrived = x * 1, []
        joined = torch.cat([with_own_layout(maps) if own else maps, maps.detach()], 1)
        maps.register_hook(arrived.append)
        (images(3, 8, 5, 5, seed=1).contiguous(memory_format=layout) * joined).sum().backward()
        assert arrived[0].is_contiguous(memory_format=layout) is own
        assert torch.equal(x.grad, images(3, 8, 5, 5, seed=1)[:, :4])


def test_attention_is_the_same_in_both_layouts():
    with double_precision():
        layer, x = ChannelAttention(3), images(4, 3, 5, 6)
        last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        torch.testing.assert_close(layer(last), layer(x))
        layer(last).square().sum().backward()
        again = x.clone().requires_grad_()
        layer(again).square().sum().backward()
        torch.testing.assert_close(last.grad, again.grad)
