"""Convolutions with normalised weights that start from data: plain, halving, doubling and gated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrizations import weight_norm

# Below it the outputs of a channel are one number, which nothing can be divided by.
CONSTANT = 1e-6
FEW_PLACES = 64  # of a map: a product of matrices takes 0.2 to 0.9 of the time of a convolution
FEW_OUTPUTS = 2  # 0.65 of it from 32 channels; with 6 outputs a convolution is as fast


Conv: TypeAlias = nn.Conv2d | nn.ConvTranspose2d


class WeightNormConv(nn.Module):
    """``y = g (v / |v|) * x + b`` for images (N, C, H, W); one g, b and direction v per channel.

    Weight normalisation (Salimans and Kingma 2016, section 2,
    https://arxiv.org/abs/1602.07868) tells the length of a weight from its direction without
    looking at a batch. Height and width stay (``kernel_size`` is odd, borders are zeros) unless
    ``stride`` divides them. v is drawn as by He et al. 2015 (https://arxiv.org/abs/1502.01852), and
    g is its length until :func:`start_` sets g and b from data.

    The output is in the precision of the input, under autocast too. What a CPU multiplies faster as
    matrices is computed so: 1x1 on maps of few places, and few outputs of many channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, stride: int = 1
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
        self.conv = _normalised(conv, dim=0)

    def forward(self, x: Tensor) -> Tensor:
        product = _product_of(self.conv, x) if x.device.type == "cpu" else None
        y = self.conv(x) if product is None else product(x, self.conv.weight, self.conv.bias)
        return y.to(x.dtype)


class Down(WeightNormConv):
    """Half the height and width, by a convolution of stride 2: (N, C, H, W) -> (N, D, H/2, W/2).

    Odd sides are rounded up. Gatopoulos 2020 (section 5.3) has it in the place of pooling.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, stride=2)


class Up(WeightNormConv):
    """Twice the height and width, by a transposed convolution: (N, C, H, W) -> (N, D, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        nn.Module.__init__(self)
        conv = nn.ConvTranspose2d(
            in_channels, out_channels, 3, stride=2, padding=1, output_padding=1
        )
        self.conv = _normalised(conv, dim=1)


class GatedConv(nn.Module):
    """``y = (A * x) sigmoid(B * x)``, both convolutions of normalised weights.

    Dauphin et al. 2017 (https://arxiv.org/abs/1612.08083); the VAEs of Tomczak and Welling 2018
    (https://arxiv.org/abs/1705.07120) have it in the place of an activation.

    Args:
        kind: of A and B: :class:`WeightNormConv`, or :class:`Down` or :class:`Up`, which change the
            side.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kind: type[WeightNormConv] = WeightNormConv
    ) -> None:
        super().__init__()
        self.both = kind(in_channels, 2 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        values, gates = self.both(x).chunk(2, dim=1)
        return values * torch.sigmoid(gates)


def _product_of(conv: Conv, x: Tensor) -> Callable[..., Tensor] | None:
    """The product of matrices that is faster than the convolution, if one is."""
    sides = conv.kernel_size
    if sides == (1, 1):
        return place_by_place_product if x.shape[2] * x.shape[3] <= FEW_PLACES else None
    shares = conv.out_channels * sides[0] * sides[1]
    few = conv.out_channels <= FEW_OUTPUTS and shares <= conv.in_channels
    plain = isinstance(conv, nn.Conv2d) and conv.stride == (1, 1)
    return shares_of_neighbours if few and plain else None


def place_by_place_product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of 1x1 of maps (N, C, H, W)."""
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


def shares_of_neighbours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of k x k (k odd, borders of zeros) of maps (N, C, H, W) to few maps.

    One product gives what every place adds to its neighbours, and those shares are summed, where a
    convolution pads the few outputs to a vector of 16.
    """
    n, channels, *sides = x.shape
    k = weight.shape[-1]
    to_neighbours = weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, channels)
    shares = to_neighbours @ x.permute(0, 2, 3, 1).reshape(n, -1, channels).mT
    return F.fold(shares.to(x.dtype), tuple(sides), k, padding=k // 2) + bias[:, None, None]


def with_own_layout(x: Tensor) -> Tensor:
    """Maps (N, C, H, W) whose gradient will be laid out in memory as they are.

    Gradients through a concatenation are slices of a larger one, and those through a change of
    layout are laid out the other way; either takes activations several times as long.
    """
    if x.requires_grad:
        last = x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        x.register_hook(lambda g: g if g is None else g.contiguous(memory_format=layout))
    return x


def has_convolutions(program: object) -> bool:
    """Whether a module has a convolution in it; functions have none that one could know of."""
    parts = program.modules() if isinstance(program, nn.Module) else ()
    return any(isinstance(part, _ConvNd) for part in parts)


def _normalised(conv: Conv, dim: int) -> Conv:
    nn.init.kaiming_normal_(conv.weight.movedim(dim, 0))
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    weight_norm(conv, dim=dim)
    return conv


@torch.no_grad()
def start_(net: nn.Module, *inputs: Tensor) -> Tensor:
    """Let the convolutions of ``net`` start from data: unit variance and mean zero per channel.

    In the order in which they are run each :class:`WeightNormConv` divides g and b by the standard
    deviation of its outputs over data and places, and takes their mean off b, so that those after
    it meet outputs of mean 0 and variance 1 (Salimans and Kingma 2016, section 3). A pass of its
    own, before training: nothing of it is left in the modules, and what is loaded is never started
    anew. Channels that are constant over the data keep their g.

    Args:
        net: any module. inputs: what it is called with.

    Returns:
        What the started net gives for the inputs.
    """
    hooks = [
        layer.register_forward_hook(_standardise_)
        for layer in net.modules()
        if isinstance(layer, WeightNormConv)
    ]
    try:
        return net(*inputs)
    finally:
        for hook in hooks:
            hook.remove()


def _standardise_(layer: WeightNormConv, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    spread, mean = torch.std_mean(output, dim=(0, 2, 3), correction=0)
    spread = torch.where(spread > CONSTANT, spread, torch.ones_like(spread))
    conv: Any = layer.conv  # torch keeps g and v of a weight under such names
    lengths = conv.parametrizations.weight.original0
    lengths /= spread.reshape([-1 if size > 1 else 1 for size in lengths.shape])
    conv.bias.sub_(mean).div_(spread)
    return (output - mean[:, None, None]) / spread[:, None, None]
