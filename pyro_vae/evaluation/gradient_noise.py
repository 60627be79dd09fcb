"""Signal-to-noise ratio of an objective's gradients, for model and guide apart.

Sources: Rainforth et al. 2018 (https://arxiv.org/abs/1802.04537); Tucker et al. 2019
(https://arxiv.org/abs/1810.04152).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import pyro.infer
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_count
from pyro_vae.objectives import check_objective_fits, pyro_losses
from pyro_vae.rows import Data, as_arguments, as_data
from pyro_vae.torch_state import own_generators
from pyro_vae.weights.parameters import PairParameters
from pyro_vae.weights.repeats import Beginning


@dataclass(frozen=True)
class SignalToNoise:
    """Signal-to-noise ratio of the gradient of P parameters, from R independent repeats.

    Attributes:
        norm: |E g| / sqrt(tr Var g), with |E g|^2 estimated as |mean|^2 - tr Var / R, without the
            part of the squared mean that is noise; 0 where that is negative.
        coordinates: mean over coordinates of |mean| / sd (Rainforth et al. 2018). It keeps the
            noise of its R repeats: without any signal it is sqrt(2 / (pi R)).
        num_coordinates: how many of the P vary; those that never do have no ratio and are left out.

    Without any that vary there are no ratios: NaN.
    """

    norm: float
    coordinates: float
    num_coordinates: int


@dataclass(frozen=True)
class GradientNoise:
    """What :func:`gradient_signal_to_noise` returns: ``model``, ``guide`` and the repeats R."""

    model: SignalToNoise
    guide: SignalToNoise
    num_repeats: int


def gradient_signal_to_noise(
    objective: pyro.infer.ELBO,
    model: Callable,
    guide: Callable,
    x: Data,
    num_repeats: int = 100,
) -> GradientNoise:
    """How much of a step's gradient is signal, for the parameters of model and guide apart.

    The gradient of the loss at the whole of x, as one batch, is drawn ``num_repeats`` times; only
    the particles' noise differs. With K particles the ratio of the model rises as K^1/2; that of
    the guide falls as K^-1/2 under IWAE (Rainforth et al. 2018) and rises as K^1/2 under DReG
    (Tucker et al. 2019). Modules are in the mode they are in, dropout and all. Parameters, their
    ``.grad`` and buffers stay as they are; memory does not grow with R.

    Args:
        objective: this library's, or an ``ELBO`` of Pyro with a ``differentiable_loss``; what
            stands around the call (``annealing.anneal``) counts.
        model, guide: modules, or functions that keep their parameters in Pyro's store.
        x: (B, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.

    Raises:
        InputError: fewer than 2 repeats; an objective that is wrong for the guide, or that has no
            differentiable loss; programs without parameters.
    """
    check_count("num_repeats", num_repeats, minimum=2)
    check_objective_fits(objective, guide)
    if not pyro_losses.differentiable(objective):
        raise InputError(f"Pyro's {type(objective).__name__} has no differentiable loss")
    differentiable = cast(Any, objective).differentiable_loss
    # Programs that hold their data themselves are called with None.
    args = (None,) if x is None else as_arguments(as_data(x, model, guide))
    with own_generators(), torch.no_grad():
        found = PairParameters(model, guide, args)
    owned = {"model": found.model, "guide": found.guide}
    if not any(owned.values()):
        raise InputError("neither model nor guide has parameters that could have gradients")
    moments = {name: _Moments() for name in owned}
    with Beginning(model, guide).buffers():
        for _ in range(num_repeats):
            loss = differentiable(model, guide, *args)
            gradients = _gradients(loss, [p for part in owned.values() for p in part])
            for name, part in owned.items():
                moments[name].add([gradients.pop(0) for _ in part])
    return GradientNoise(
        **{name: moment.signal_to_noise() for name, moment in moments.items()},
        num_repeats=num_repeats,
    )


def _gradients(loss: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = zip(gradients, parameters, strict=True)
    return [torch.zeros_like(p) if g is None else g for g, p in pairs]


class _Moments:
    """Running mean and sum of squared deviations of gradients (Welford), in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.scatter = torch.zeros((), dtype=torch.float64)

    def add(self, gradients: Iterable[Tensor]) -> None:
        parts = [gradient.detach().double().cpu().flatten() for gradient in gradients]
        value = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
        self.count += 1
        deviation = value - self.mean
        self.mean = self.mean + deviation / self.count
        self.scatter = self.scatter + deviation * (value - self.mean)

    def signal_to_noise(self) -> SignalToNoise:
        variance = self.scatter / (self.count - 1)
        noise = variance.sum()
        varied = variance > 0
        if not varied.any():
            return SignalToNoise(math.nan, math.nan, 0)
        signal = (self.mean.square().sum() - noise / self.count).clamp(min=0)
        ratios = self.mean[varied].abs() / variance[varied].sqrt()
        return SignalToNoise(
            (signal / noise).sqrt().item(), ratios.mean().item(), int(varied.sum())
        )
