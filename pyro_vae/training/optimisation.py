"""The optimiser step: Adam with gradient clipping and skipping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_positive


@dataclass(frozen=True)
class OptimiserSettings:
    """Adam on the loss per datum (mean over the batch).

    Attributes:
        lr, betas, eps: Adam's own.
        clip_norm: gradients are scaled down to this global norm (nats per datum).
        skip_norm: steps with a larger norm are outliers and skipped (S0's script: above 1100). At
            the start of training, or on other data, such norms can be the rule: after
            ``patience`` of them in a row steps are clipped and taken, until a norm is below again.
        patience: see ``skip_norm``.
        max_skipped: training stops after so many skipped steps in a row, which only gradients
            that are not finite can cause.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float = 1000.0
    skip_norm: float = 1e6
    patience: int = 10
    max_skipped: int = 100

    def __post_init__(self) -> None:
        for name in ("lr", "eps", "clip_norm", "skip_norm", "max_skipped"):
            check_positive(name, getattr(self, name))
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"Adam's betas must lie in [0, 1), got {self.betas}")


# A number on the host where reading it costs nothing (the CPU), and a tensor where reading would
# wait for the device. Both kinds go through the same arithmetic below.
Number = float | Tensor


def number(tensor: Tensor) -> Number:
    """The tensor's one element: a float if it lies on the CPU, else as it is."""
    return tensor.item() if tensor.device.type == "cpu" else tensor


class Taken(NamedTuple):
    """What one call of :class:`GradientStep` did.

    Attributes:
        norm: of the gradient, nats per datum. clipped, skipped: true or false; a step is neither,
            or one of them.
    """

    norm: Number
    clipped: bool | Tensor
    skipped: bool | Tensor


class GradientStep:
    """Applies the accumulated gradients once and clears them.

    Scaling and clipping, and on a GPU skipping too, are done inside Adam's fused kernel, by the
    two numbers that it reads for mixed precision: the gradients are not walked over again, and a
    GPU is never waited for.
    """

    def __init__(self, modules: Sequence[nn.Module], settings: OptimiserSettings) -> None:
        self.settings = settings
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        if not self.parameters:
            raise InputError("model and guide have no parameter to train")
        self.adam = torch.optim.Adam(
            self.parameters, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True
        )
        self.large_in_a_row: Number = 0
        self.skipped_in_a_row: Number = 0

    @property
    def device(self) -> torch.device:
        return self.parameters[0].device

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients that there are, in the order of the parameters."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def __call__(self, num_data: int, loss: Number) -> Taken:
        """Take a step along gradients that are summed over ``num_data`` data, if all is finite."""
        settings = self.settings
        norm = number(torch.nn.utils.get_total_norm(self.gradients)) / num_data
        large = norm > settings.skip_norm
        self.large_in_a_row = (self.large_in_a_row + 1) * large
        outlier = large & (self.large_in_a_row <= settings.patience)
        both = norm + loss
        skipped = outlier | (both - both != 0)  # true of NaN and of infinity
        self.skipped_in_a_row = (self.skipped_in_a_row + 1) * skipped
        clipped = norm > settings.clip_norm
        excess = 1 + (norm / settings.clip_norm - 1) * clipped
        self._step(num_data * excess, skipped)
        return Taken(norm, clipped & (skipped ^ True), skipped)

    def _step(self, divisor: Number, skipped: bool | Tensor) -> None:
        """Adam on the gradients divided by ``divisor``, unless the step is skipped."""
        self.adam.grad_scale = torch.as_tensor(divisor, dtype=torch.float32)
        self.adam.found_inf = skipped.float() if torch.is_tensor(skipped) else None
        if skipped is not True:
            self.adam.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        self.adam.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {
            "adam": self.adam.state_dict(),
            "large_in_a_row": int(self.large_in_a_row),
            "skipped_in_a_row": int(self.skipped_in_a_row),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        for name in ("large_in_a_row", "skipped_in_a_row"):
            setattr(self, name, int(state[name]))
