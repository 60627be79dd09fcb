"""Linear maps through hidden layers: pairs of units whose difference is linear.

For softplus(u) = log(1 + exp(u)), and for relu(u) = max(u, 0), exactly

    ( f(g s) - f(-g s) ) / g = s,

so two hidden units carry a signal s through a layer, whatever the gain g > 0; their sum is about
|g s|, which the layers above can read as well. torch's softplus(u) is u itself above 20: that adds
an error of up to exp(-20) / g = 2e-9 / g, below float32's rounding. For tanh one unit carries s:

    tanh(g s) / g = s - g^2 s^3 / 3 + ...,  |error| <= g^2 |s|^3 / 3.

Pairs are the on- and off-cells of a rectifying retina.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError
from pyro_vae.programs.networks import ACTIVATIONS, MLP


@dataclass(frozen=True)
class Carrying:
    """How an activation carries a signal.

    Attributes:
        signs: of the units that one signal takes.
        gain: g, what their inputs are multiplied by.
    """

    signs: tuple[float, ...]
    gain: float


# Signals have standard deviations of about one. g = 3 makes softplus pairs nearly rectifiers, so
# that their sums tell magnitudes; tanh wants small inputs.
CARRIED_BY: dict[type[nn.Module], Carrying] = {
    nn.Softplus: Carrying((1.0, -1.0), 3.0),
    nn.ReLU: Carrying((1.0, -1.0), 3.0),
    nn.Tanh: Carrying((1.0,), 0.05),
}


def carrying(activation: type[nn.Module]) -> Carrying:
    """How an activation carries; InputError where it is not known to."""
    if activation not in CARRIED_BY:
        known = ", ".join(name for name, made in ACTIVATIONS.items() if made in CARRIED_BY)
        raise InputError(
            f"a start from the data carries signals through {known}, not {activation.__name__}; "
            "take one of these activations or --init random"
        )
    return CARRIED_BY[activation]


def capacity(trunk: MLP | None) -> float:
    """How many signals all hidden layers of a network can hold: the narrowest one's."""
    if trunk is None or not trunk.layers:
        return float("inf")
    narrowest = min(layer.parts[0].out_features for layer in trunk.layers)
    return narrowest // len(carrying(type(trunk.activation)).signs)


@torch.no_grad()
def carry_(trunk: MLP | None, signals: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Let a network carry ``signals x + offsets`` to its last layer, and say how to read it there.

    Hidden units that the signals do not take keep their weights.

    Args:
        trunk: of one input; None for no hidden layer.
        signals: (m, F), of inputs of width F.
        offsets: (m,), zero where left out.

    Returns:
        readout (m, H): ``readout h = signals x + offsets`` for the network's output h, with the
        errors above. Without hidden layers the signals themselves, and ``offsets`` must be left
        out.

    Raises:
        InputError: the layers are too narrow for so many signals, or the activation does not carry.
    """
    if trunk is None or not trunk.layers:
        if offsets is not None:
            raise InputError("without hidden layers there is no place for offsets")
        return signals
    how, number = carrying(type(trunk.activation)), len(signals)
    if number > capacity(trunk):
        raise InputError(f"{number} signals want hidden layers of {number * len(how.signs)} units")
    signs = torch.tensor(how.signs).to(signals).repeat_interleave(number)
    bias = torch.zeros(number).to(signals) if offsets is None else offsets
    for layer in trunk.layers:
        (weights,) = layer.parts
        taken = slice(0, len(signs))
        weights.weight[taken] = how.gain * signs[:, None] * signals.repeat(len(how.signs), 1)
        weights.bias[taken] = how.gain * signs * bias.repeat(len(how.signs))
        readout = torch.zeros(number, weights.out_features).to(signals)
        for index, sign in enumerate(how.signs):
            rows = torch.arange(number)
            readout[rows, rows + index * number] = sign / how.gain
        signals, bias = readout, torch.zeros(number).to(signals)
    return readout
