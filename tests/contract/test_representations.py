"""Every representation gives whole levels of the shape it says, and its formula on known images."""

import numpy as np
import pytest
import torch
from torch import nn

from pyro_vae.errors import InputError
from pyro_vae.programs.representations import (
    TRANSFORMS,
    Downscale,
    Edges,
    FromFunction,
    Greyscale,
    Quantise,
    Representation,
    Sketch,
    chain,
    check_representations,
)

SHAPE = (3, 8, 12)


def images(number=5, shape=SHAPE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, *shape), generator=generator).float()


def rows(levels):
    return levels.flatten(1) / 255


def through(transform, levels):
    """Levels in, levels out, by the rows that programs pass around."""
    return (transform(rows(levels)) * 255).reshape(len(levels), *transform.shape_out)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_whole_levels_of_the_shape_it_says(name, leading):
    (transform,) = chain([name], SHAPE)
    x = rows(images(int(np.prod(leading or (1,))))).reshape(*leading, -1)
    found = transform(x)
    assert found.shape == (*leading, transform.features)
    assert transform.features == np.prod(transform.shape_out)
    levels = found * 255
    assert (levels - levels.round()).abs().max() < 1e-4
    assert levels.min() >= 0
    assert levels.max() <= 255
    assert levels.std() > 1
    if leading:
        check_representations([transform], x.reshape(-1, x.shape[-1]))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_float64_and_float32_agree(name):
    (transform,) = chain([name], SHAPE)
    x = rows(images())
    # A sum of grey levels may be a half to within rounding, and then falls either way.
    different = (transform(x).double() - transform(x.double())).abs() * 255
    assert different.max() < 1 + 1e-3
    assert (different > 0.5).float().mean() < 0.01


def test_downscale_is_the_rounded_mean_of_squares():
    levels = images()
    blocks = levels.reshape(5, 3, 4, 2, 6, 2).double().mean((3, 5))
    torch.testing.assert_close(
        through(Downscale(SHAPE, 2), levels).double(), (blocks + 0.5).floor(), rtol=0, atol=1e-4
    )
    assert Downscale(SHAPE, 4).shape_out == (3, 2, 3)


def test_greyscale_weighs_colours():
    one = torch.zeros(4, 3, 1, 1)
    one[0, 0], one[1, 1], one[2, 2], one[3] = 255, 255, 255, 200
    found = through(Greyscale((3, 1, 1)), one).flatten()
    torch.testing.assert_close(found, torch.tensor([76.0, 150, 29, 200]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("bits", range(1, 8))
def test_quantise_keeps_the_high_bits(bits):
    levels = torch.arange(256.0).reshape(1, 1, 16, 16)
    transform = Quantise((1, 16, 16), bits)
    found = through(transform, levels)
    assert len(found.round().unique()) == 2**bits
    high = (levels.int() >> (8 - bits)).float()
    torch.testing.assert_close((found.round().int() >> (8 - bits)).float(), high)
    assert (found - levels).abs().max() <= 2 ** (7 - bits) + 1e-3
    torch.testing.assert_close(through(transform, found.round()), found)


def test_sketch_of_one_grey_is_white_and_a_dark_line_is_dark():
    transform = Sketch((1, 15, 15), 2.0)
    for level in (0, 1, 100, 255):
        assert (through(transform, torch.full((1, 1, 15, 15), float(level))) > 254.9).all()
    line = torch.full((1, 1, 15, 15), 200.0)
    line[..., 7] = 60
    found = through(transform, line)[0, 0]
    assert found[:, 7].max() < 60
    assert found[:, :3].min() > 200


def test_edges_of_a_step_are_its_height():
    step = torch.zeros(1, 1, 6, 6)
    step[..., 3:] = 120
    found = through(Edges((1, 6, 6)), step)[0, 0]
    torch.testing.assert_close(found[:, 2:4], torch.full((6, 2), 120.0), rtol=0, atol=1e-3)
    assert found[:, [0, 1, 4, 5]].abs().max() < 1e-3
    torch.testing.assert_close(through(Edges((1, 6, 6)), step.mT)[0, 0], found.T)


def test_a_chain_reads_what_the_one_before_makes():
    one, two, three = chain(["downscale:2", "greyscale", "quantise:bits=3"], SHAPE)
    assert (one.shape_out, two.shape_out, three.shape_out) == ((3, 4, 6), (1, 4, 6), (1, 4, 6))
    x = rows(images())
    check_representations([one, two, three], x)
    assert three(two(one(x))).shape == (5, 24)


def test_any_function_is_a_representation():
    def flip(levels):
        return levels.flip(-1)

    transform = FromFunction(SHAPE, flip, SHAPE)
    levels = images()
    torch.testing.assert_close(through(transform, levels), levels.flip(-1))
    assert not transform.recordable


calls = iter(range(10_000))
BAD = {
    "whole levels": lambda levels: levels + 0.25,
    "no whole levels 0..255": lambda levels: levels * 2,
    "other values": lambda levels: levels * 0 + next(calls) % 256,
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_representation_is_refused(message):
    transform = FromFunction(SHAPE, BAD[message], SHAPE)
    with pytest.raises(InputError, match=message):
        check_representations([transform], rows(images()))


OTHER_SHAPES = {
    r"returned \(1, 3, 8, 12\), not \(5, 3, 8, 12\)": lambda levels: levels[:1],
    r"returned \(5, 3, 12, 8\), not": lambda levels: levels.mT,  # as many pixels
    "returned float, not": lambda levels: 0.0,
}


@pytest.mark.parametrize("message", OTHER_SHAPES)
def test_a_function_of_another_shape_is_refused(message):
    transform = FromFunction(SHAPE, lambda levels: levels[:, :1], (1, 8, 12))
    check_representations([transform], rows(images()))
    wrong = FromFunction(SHAPE, OTHER_SHAPES[message], SHAPE)
    with pytest.raises(InputError, match=message):
        check_representations([wrong], rows(images()))


class Promise(nn.Module):
    """A transform that is no class of this library: it says one width and returns another."""

    features = 7

    def __init__(self, found):
        super().__init__()
        self.found = found

    def forward(self, rows):
        return self.found


@pytest.mark.parametrize(("found", "got"), [(torch.zeros(5, 6), r"\(5, 6\)"), (None, "NoneType")])
def test_rows_of_another_shape_than_was_said_are_refused(found, got):
    match = rf"y1 \(Promise\) said rows \(5, 7\), but returned {got}"
    with pytest.raises(InputError, match=match):
        check_representations([Promise(found)], rows(images()))


def test_a_subclass_without_its_transform_is_named():
    class Blur(Representation):
        pass

    with pytest.raises(NotImplementedError, match="Blur says no levels of images"):
        Blur(SHAPE)(rows(images()))


@pytest.mark.parametrize(
    ("texts", "shape", "message"),
    [
        (["downscale:3"], SHAPE, "allowed here: 2, 4"),
        (["greyscale"], (1, 8, 8), "colour images"),
        (["greyscale", "greyscale"], SHAPE, "colour images"),
        (["quantise:8"], SHAPE, "1 to 7"),
        (["quantise:bits=0"], SHAPE, "at least 1"),
        (["sketch:-1"], SHAPE, "positive"),
        (["edges"], (2, 8, 8), "1 or 3 channels"),
        (["haze"], SHAPE, "allowed: downscale"),
        (["downscale:by=two"], SHAPE, "cannot read"),
        ([], SHAPE, "at least one"),
        (["edges"], (8, 8), "channels, height, width"),
    ],
)
def test_bad_input_is_named(texts, shape, message):
    with pytest.raises(InputError, match=message):
        chain(texts, shape)


def test_rows_of_another_width_and_data_without_levels_are_refused():
    with pytest.raises(InputError, match="reads rows of 288"):
        Downscale(SHAPE)(torch.zeros(2, 100))
    with pytest.raises(InputError, match="the data holds"):
        check_representations([Downscale(SHAPE)], torch.rand(4, 288))
