"""Gated layers: networks without an activation, in which every unit has a gate of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.programs.networks.convolutions import GatedConv
from pyro_vae.programs.networks.mlp import MergedLinear, he_


class GatedDense(nn.Module):
    """h * sigmoid(g), where h and g are linear in the inputs: a gated linear unit.

    Dauphin et al. 2017 (https://arxiv.org/abs/1612.08083); the VAEs of Tomczak and Welling 2018
    (https://arxiv.org/abs/1705.07120) are made of it. Weights start as in their code, Normal with
    variance 2 / inputs (He et al. 2015, https://arxiv.org/abs/1502.01852).

    Args:
        in_features: width of the input, or widths of several inputs that the layer merges.
        out_features: number of units.
    """

    def __init__(self, in_features: int | Sequence[int], out_features: int) -> None:
        super().__init__()
        self.values = MergedLinear(in_features, out_features)
        self.gates = MergedLinear(in_features, out_features)
        he_(self)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.values(*inputs) * torch.sigmoid(self.gates(*inputs))


class GatedMLP(nn.Module):
    """Hidden layers of gated units; the first one merges several inputs.

    With no hidden layer the single input is returned as it is. Output: (..., ``out_features``).

    Args:
        activation: for the networks' common form; gates stand in its place.
    """

    def __init__(
        self, in_features: int | Sequence[int], hidden: Sequence[int], activation: str = "softplus"
    ) -> None:
        super().__init__()
        self.in_features = in_features
        widths: list[Any] = [in_features, *hidden]
        self.layers = nn.ModuleList(GatedDense(below, above) for below, above in pairwise(widths))
        self.out_features = widths[-1]

    def forward(self, *inputs: Tensor) -> Tensor:
        for layer in self.layers:
            inputs = (layer(*inputs),)
        (output,) = inputs
        return output


def has_gates(program: nn.Module) -> bool:
    """Whether a module has a gated layer in it."""
    return any(isinstance(part, (GatedDense, GatedConv)) for part in program.modules())
