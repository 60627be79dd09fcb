"""Network blocks whose inputs differ in leading axes: (B, F) for data, (K, B, F) for particles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar

from torch import Tensor, nn

from pyro_vae.programs.networks.elu import ELU

ACTIVATIONS = {"softplus": nn.Softplus, "tanh": nn.Tanh, "relu": nn.ReLU, "elu": ELU}

Program = TypeVar("Program", bound=nn.Module)


class MergedLinear(nn.Module):
    """Linear layer on the concatenation of several inputs, without concatenating them.

    ``W [h_1, ..., h_n] + b = W_1 h_1 + ... + W_n h_n + b``. The inputs broadcast against each
    other, so an encoding of the data, shape (B, F_1), is multiplied once per datum even where it
    meets a latent of shape (K, B, F_2). Initialised as the layer on the concatenation would be.
    """

    def __init__(self, in_features: int | Sequence[int], out_features: int) -> None:
        super().__init__()
        widths = (in_features,) if isinstance(in_features, int) else tuple(in_features)
        self.parts: Any = nn.ModuleList(
            nn.Linear(width, out_features, bias=index == 0) for index, width in enumerate(widths)
        )
        bound = sum(widths) ** -0.5  # torch's default for the layer on the concatenation
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, *inputs: Tensor) -> Tensor:
        first, *rest = (part(h) for part, h in zip(self.parts, inputs, strict=True))
        # Under autocast the products are in lower precision; what follows them is not.
        return sum(rest, first).to(inputs[0].dtype)

    def glorot_(self) -> None:
        """Glorot-uniform weights (of the joint layer) and zero bias, in place."""
        fan_in = sum(part.in_features for part in self.parts)
        bound = (6.0 / (fan_in + self.parts[0].out_features)) ** 0.5
        for part in self.parts:
            nn.init.uniform_(part.weight, -bound, bound)
        nn.init.zeros_(self.parts[0].bias)

    def he_(self) -> None:
        """Normal weights of variance 2 / (inputs of the joint layer), in place; biases stay."""
        fan_in = sum(part.in_features for part in self.parts)
        for part in self.parts:
            nn.init.normal_(part.weight, 0.0, (2.0 / fan_in) ** 0.5)


class MLP(nn.Module):
    """Hidden layers, each followed by the activation; the first one merges several inputs.

    With no hidden layer the single input is returned as it is. Output: (..., ``out_features``).
    """

    def __init__(
        self, in_features: int | Sequence[int], hidden: Sequence[int], activation: str = "softplus"
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]()
        self.in_features = in_features
        widths: list[Any] = [in_features, *hidden]  # the first one may be several
        self.layers: Any = nn.ModuleList(
            MergedLinear(below, above) for below, above in pairwise(widths)
        )
        self.out_features = widths[-1]

    def forward(self, *inputs: Tensor) -> Tensor:
        for layer in self.layers:
            inputs = (self.activation(layer(*inputs)),)
        (output,) = inputs
        return output


def glorot_(module: Program) -> Program:
    """Give every layer inside ``module`` Glorot weights and zero biases (Arnal et al. 2021,
    appendix A)."""
    for part in module.modules():
        if isinstance(part, MergedLinear):
            part.glorot_()
    return module


def he_(module: Program) -> Program:
    """Give every layer inside ``module`` Normal weights of variance 2 / inputs (He et al. 2015,
    https://arxiv.org/abs/1502.01852), as the code of Tomczak and Welling 2018 does."""
    for part in module.modules():
        if isinstance(part, MergedLinear):
            part.he_()
    return module
