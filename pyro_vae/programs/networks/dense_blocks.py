"""Densely connected blocks of convolutions with channel attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vae.programs.networks.convolutions import WeightNormConv, with_own_layout
from pyro_vae.programs.networks.mlp import ACTIVATIONS

REDUCTION = 8  # channels to those of the layer between, in the attention


class ChannelAttention(nn.Module):
    """``y = x a(x)`` with one factor per channel from the channels' means over all places.

    ``a = sigmoid(W_2 f(W_1 mean(x)))``, W_1 from C to C / 8 channels (at least one), W_2 back to C.
    (N, C, H, W) -> the same. Zhang et al. 2018 (https://arxiv.org/abs/1807.02758).
    """

    def __init__(self, channels: int, activation: str = "elu") -> None:
        super().__init__()
        between = max(1, channels // REDUCTION)
        self.activation = ACTIVATIONS[activation]()
        self.squeeze = WeightNormConv(channels, between, 1)
        self.excite = WeightNormConv(between, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous(memory_format=torch.channels_last):  # the gradient is laid out so, too
            means = x.permute(0, 2, 3, 1).mean(dim=(1, 2))[:, :, None, None]
        else:
            means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(self.activation(self.squeeze(means))))


class DenseStep(nn.Module):
    """``y = [x, f(W_3 * f(W_1 x))]``: (N, C, H, W) -> (N, C + growth, H, W).

    W_1 is a convolution 1x1 to 4 ``growth`` channels, W_3 one 3x3 to ``growth`` channels, [., .]
    puts channels together (Huang et al. 2017, https://arxiv.org/abs/1608.06993).
    """

    def __init__(self, channels: int, growth: int, activation: str = "elu") -> None:
        super().__init__()
        f = ACTIVATIONS[activation]
        self.new = nn.Sequential(
            WeightNormConv(channels, 4 * growth, 1), f(), WeightNormConv(4 * growth, growth), f()
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, with_own_layout(self.new(x))], dim=1)


class DenseBlock(nn.Sequential):
    """``steps`` of :class:`DenseStep`, then :class:`ChannelAttention`.

    (N, C, H, W) -> (N, C + steps growth, H, W), the number of channels as ``out_channels``. It is
    the block of Gatopoulos 2020 (section 5.3, https://arxiv.org/abs/2010.02014) as the text has it,
    with the activation after every convolution. The published code has none between the two of a
    step and none in the attention, and applies it to the old channels again with every step.
    """

    def __init__(self, channels: int, growth: int, steps: int, activation: str = "elu") -> None:
        self.out_channels = channels + steps * growth
        layers = [DenseStep(channels + step * growth, growth, activation) for step in range(steps)]
        super().__init__(*layers, ChannelAttention(self.out_channels, activation))
