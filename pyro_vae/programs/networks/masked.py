"""Masked convolutions: networks in which a place of an image sees the places before it alone.

Places are in reading order: row by row from the top, each from the left.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vae.errors import check_choice, check_count
from pyro_vae.programs.networks.elu import ELU
from pyro_vae.programs.networks.folding import Folded, Maps

FIRST = 3  # places to each side that the first layer of a stack sees
DILATIONS = (1, 2, 4, 8, 16)  # of the layers after it, in turns
# Kind of a mask -> (rows below the middle one, columns right of it) -> whether a place is seen.
KINDS = {
    "A": lambda row, column: (row < 0) | ((row == 0) & (column < 0)),
    "B": lambda row, column: (row < 0) | ((row == 0) & (column <= 0)),
    "above": lambda row, column: row + 0 * column < 0,
    "not below": lambda row, column: row + 0 * column <= 0,
}


class MaskedConv(nn.Conv2d):
    """A convolution (N, C, H, W) -> (N, D, H, W) of the places before one, in reading order.

    Kind "A" leaves out the place itself, kind "B" sees it too (van den Oord et al. 2016,
    https://arxiv.org/abs/1601.06759, section 3.4); "above" sees whole rows before its own, "not
    below" its own row as well. All channels of a place are masked alike. Weights start Normal with
    variance 1 / (weights that are not masked), biases at zero. The output is in the precision of
    the input, under autocast too.

    Args:
        kernel_size: odd, or height and width.
        dilation: distance of the places that are read.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        kind: str = "B",
        dilation: int = 1,
    ) -> None:
        sees = KINDS[check_choice("kind of a masked convolution", kind, KINDS)]
        height, width = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
        padding = dilation * (height // 2), dilation * (width // 2)
        kernel = height, width
        super().__init__(in_channels, out_channels, kernel, padding=padding, dilation=dilation)
        rows, columns = torch.arange(height) - height // 2, torch.arange(width) - width // 2
        # A constant, which follows .to(device) and is not saved.
        mask = sees(rows[:, None], columns).to(self.weight.dtype)
        self.mask: Tensor
        self.register_buffer("mask", mask, persistent=False)
        self.border = padding
        seen = max(1, in_channels * int(mask.sum()))
        nn.init.normal_(self.weight, 0.0, seen**-0.5)
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.mask
        around, apart = self.padding, self.dilation
        return F.conv2d(x, weight, self.bias, padding=around, dilation=apart).to(x.dtype)


def gate(both: Tensor) -> Tensor:
    """tanh(values) sigmoid(gates), of twice the channels (van den Oord et al. 2016b)."""
    values, gates = both.chunk(2, dim=1)
    return torch.tanh(values) * torch.sigmoid(gates)


class PlaceStep(nn.Module):
    """``h + gate(W h)``, place by place: (N, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.both = MaskedConv(channels, 2 * channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        return h + gate(self.both(h))


class FirstMaps(nn.Module):
    """(N, C, H, W) -> (N, 2D, H, W): maps of the rows above, and of what is before in the row."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        kernel = 2 * FIRST + 1
        self.above = MaskedConv(channels, width, kernel, kind="above")
        self.left = MaskedConv(channels, width, (1, kernel), kind="A")

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.above(x), self.left(x)], dim=1)


class TwoStackStep(nn.Module):
    """A gated step of maps v of the rows above and h of all before: (N, 2C, H, W) -> the same.

    ``v' = v + gate(A * v)`` with A not below, ``h' = h + gate(B * h + W v')`` with B in the row.
    In one stack of masks the rows above are seen in a wedge alone; two have no such blind spot (van
    den Oord et al. 2016b, https://arxiv.org/abs/1606.05328, section 2.2).
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.above = MaskedConv(channels, 2 * channels, kind="not below", dilation=dilation)
        self.left = MaskedConv(channels, 2 * channels, (1, 3), dilation=dilation)
        self.down = MaskedConv(channels, 2 * channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        v, h = maps.chunk(2, dim=1)
        v = v + gate(self.above(v))
        return torch.cat([v, h + gate(self.left(h) + self.down(v))], dim=1)


class PixelNetwork(nn.Module):
    """Numbers for every place of an image from the places before it and from maps of their own.

    ``planes = W f( steps( A * (2 x - 1) + context ) )``: masked convolutions that leave out the
    place itself, to which the context is added, then ``layers`` of gated steps, then ELU and a
    linear map of every place. Rows in and out: x (..., C H W) and context (..., ``maps`` H W)
    broadcast, so x is convolved once per datum whatever the particles.

    Args:
        image: width of a row.
        outputs: numbers for every place.
        window: r, for places up to r rows above and r columns to either side, and no others: the
            first layer has a kernel of 2 r + 1 places and all after it have one (``WindowAround``
            of Chen et al. 2017, https://arxiv.org/abs/1611.02731). 0 for the whole image, as far as
            its layers reach: all places before one up to ``reach`` rows above and columns to either
            side, by kernels of 7 and then of 3 places that lie 1, 2, 4, 8, 16, 1, ... apart. Five
            layers reach 34 places.
        layers, width: of the steps; with a window there are ``width`` maps, else twice as many.

    Raises:
        InputError: sizes that are no whole numbers.
    """

    def __init__(
        self, image: Maps, outputs: int, *, window: int = 0, layers: int = 5, width: int = 32
    ) -> None:
        super().__init__()
        check_count("window", window, 0)
        check_count("layers", layers, 0)
        check_count("width", width)
        channels = image.shape[0]
        if window:
            self.reach, self.maps = window, width
            first: nn.Module
            steps: list[nn.Module]
            first = MaskedConv(channels, width, 2 * window + 1, kind="A")
            steps = [PlaceStep(width) for _ in range(layers)]
        else:
            apart = [DILATIONS[layer % len(DILATIONS)] for layer in range(layers)]
            self.reach, self.maps = FIRST + sum(apart), 2 * width
            first = FirstMaps(channels, width)
            steps = [TwoStackStep(width, by) for by in apart]
        output = nn.Conv2d(self.maps, outputs, 1)
        self.first = Folded(first, image.shape)
        self.rest = Folded(nn.Sequential(*steps, ELU(), output), (self.maps, *image.places))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.rest(self.first(self.seen(x)) + context)

    @staticmethod
    def seen(x: Tensor) -> Tensor:
        """Pixels from 0 to 1 as the convolutions have them, from -1 to 1."""
        return 2 * x - 1
