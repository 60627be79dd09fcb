"""A network of the places before one, run place by place: each place passes each layer once.

Drawing an image of n places by n passes over what is there so far costs n times a pass. What a
layer gave for a place does not change when later places become known, so it is kept; all draws of
an image together cost one pass (Ramachandran et al. 2017, https://arxiv.org/abs/1704.06001).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vae.programs.networks.masked import (
    FirstMaps,
    MaskedConv,
    PixelNetwork,
    TwoStackStep,
    gate,
)


class KnownInput:
    """The input of a masked convolution as it becomes known, row by row, in borders of zeros.

    Only the rows that the kernel reaches are kept, the one that is being filled last.

    Args:
        like: a tensor (N, ...), for the number of images, the precision and the device.
        width: of an image.
    """

    def __init__(self, conv: MaskedConv, like: Tensor, width: int) -> None:
        above, self.side = conv.border
        # Rows below a place have no weight, whatever the kind of the mask.
        self.weight = (conv.weight * conv.mask)[:, :, : conv.kernel_size[0] // 2 + 1]
        self.bias, self.apart = conv.bias, conv.dilation
        self.rows = like.new_zeros(len(like), conv.in_channels, above + 1, width + 2 * self.side)
        self.row = 0

    def put(self, row: int, column: int, values: Tensor) -> None:
        """Values (N, C, 1, n) of the places of a row from a column on."""
        self._go_to(row)
        start = column + self.side
        self.rows[:, :, -1, start : start + values.shape[-1]] = values[:, :, 0]

    def output(self, row: int, column: int, number: int = 1) -> Tensor:
        """What the convolution gives for so many places of a row from a column on, (N, D, 1, n)."""
        self._go_to(row)
        seen = self.rows[..., column : column + number + 2 * self.side]
        return F.conv2d(seen, self.weight, self.bias, dilation=self.apart)

    def _go_to(self, row: int) -> None:
        while self.row < row:
            self.rows[:, :, :-1] = self.rows[:, :, 1:].clone()
            self.rows[:, :, -1] = 0
            self.row += 1


class WithinWindow:
    """The numbers of one place after the other where a window is seen.

    Args:
        first: the masked convolution.
        after: layers of every place for itself.
        context: (N, maps, H, W), added between the two.
    """

    def __init__(self, first: MaskedConv, after: nn.Module, context: Tensor) -> None:
        self.x = KnownInput(first, context, context.shape[-1])
        self.after, self.context = after, context

    def numbers(self, row: int, column: int) -> Tensor:
        """Of the place, (N, outputs, 1, 1); all places before it have to be known."""
        context = self.context[:, :, row, None, column, None]
        return self.after(self.x.output(row, column) + context)

    def put(self, row: int, column: int, x: Tensor) -> None:
        """The place is x (N, C, 1, 1), as the network sees it."""
        self.x.put(row, column, x)


class OfWholeImage:
    """The numbers of one place after the other in reading order, by the two stacks.

    The stack of the rows above is run a row at a time, the other one a place at a time.

    Args:
        first, steps: the stacks.
        after: layers of every place for itself, after the stacks.
        context: (N, maps, H, W), added to the first maps.
    """

    def __init__(
        self, first: FirstMaps, steps: Sequence[TwoStackStep], after: nn.Module, context: Tensor
    ) -> None:
        self.first = [self._known(conv, context) for conv in (first.above, first.left)]
        self.steps = [
            (step, self._known(step.above, context), self._known(step.left, context))
            for step in steps
        ]
        self.contexts, self.after = context.chunk(2, dim=1), after
        self.above, self.from_above = context, list[Tensor]()

    @staticmethod
    def _known(conv: MaskedConv, context: Tensor) -> KnownInput:
        return KnownInput(conv, context, context.shape[-1])

    def numbers(self, row: int, column: int) -> Tensor:
        """As :meth:`WithinWindow.numbers`; places are asked for in reading order."""
        if column == 0:
            self._begin_row(row)
        here = slice(column, column + 1)
        h = self.first[1].output(row, column) + self.contexts[1][:, :, row, None, here]
        for (_, _, left), from_above in zip(self.steps, self.from_above, strict=True):
            left.put(row, column, h)
            h = h + gate(left.output(row, column) + from_above[..., here])
        return self.after(torch.cat([self.above[..., here], h], dim=1))

    def put(self, row: int, column: int, x: Tensor) -> None:
        """As :meth:`WithinWindow.put`."""
        for known in self.first:
            known.put(row, column, x)

    def _begin_row(self, row: int) -> None:
        width = self.contexts[0].shape[-1]
        v = self.first[0].output(row, 0, width) + self.contexts[0][:, :, row, None]
        self.from_above = []
        for step, above, _ in self.steps:
            above.put(row, 0, v)
            v = v + gate(above.output(row, 0, width))
            self.from_above.append(step.down(v))
        self.above = v


def place_by_place(network: PixelNetwork, context: Tensor) -> WithinWindow | OfWholeImage:
    """The network on images of which nothing is known yet.

    Args:
        context: (N, maps, H, W).
    """
    first: Any = network.first.net
    layers: Any = network.rest.net
    if not isinstance(first, FirstMaps):
        return WithinWindow(first, layers, context)
    number = sum(isinstance(layer, TwoStackStep) for layer in layers)
    return OfWholeImage(first, list(layers[:number]), layers[number:], context)
