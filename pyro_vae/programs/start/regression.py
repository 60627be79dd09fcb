"""Regression of targets on inputs through a network: q(z2 | x) learns the factors' means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_count

STEPS, BATCH, RATE = 1_000, 200, 3e-3


def regress_(
    network: Callable[[Tensor], Tensor],
    parameters: Sequence[nn.Parameter],
    inputs: Tensor,
    targets: Tensor,
    *,
    generator: torch.Generator,
    steps: int = STEPS,
) -> float:
    """Fit ``network(inputs)`` to the targets by least squares; returns the share explained.

    Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980) on batches of 200 drawn from
    ``generator``, at a learning rate that falls linearly from 0.003 to zero.

    Args:
        network: inputs (B, F) -> (B, q).
        parameters: those that are fitted.
        inputs: (N, F).
        targets: (N, q).

    Returns:
        1 - mean squared error / variance of the targets, over all rows and targets.

    Raises:
        InputError: inputs and targets of different length, or no row.
    """
    if len(inputs) != len(targets) or not len(inputs):
        raise InputError(f"{len(inputs)} inputs for {len(targets)} targets")
    check_count("steps", steps)
    adam = torch.optim.Adam(parameters, lr=RATE)
    for step in range(steps):
        adam.param_groups[0]["lr"] = RATE * (1 - step / steps)
        chosen = torch.randint(len(inputs), (BATCH,), generator=generator)
        error = network(inputs[chosen]) - targets[chosen]
        loss = error.square().mean()
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        adam.step()
    for parameter in parameters:
        parameter.grad = None
    with torch.no_grad():
        left = (network(inputs) - targets).square().mean()
        return float(1 - left / targets.var(0, unbiased=False).mean())
