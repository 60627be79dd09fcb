"""The optimiser step: Adam with gradient clipping and skipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

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


class GradientStep:
    """Applies the accumulated gradients once and clears them."""

    def __init__(self, modules: Sequence[nn.Module], settings: OptimiserSettings) -> None:
        self.settings = settings
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        if not self.parameters:
            raise InputError("model and guide have no parameter to train")
        self.adam = torch.optim.Adam(
            self.parameters, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True
        )
        self.large_in_a_row = 0
        self.skipped_in_a_row = 0

    def __call__(self, scale: float) -> tuple[float, str]:
        """Scale the gradients, clip, step. Returns the norm and "plain", "clipped" or "skipped"."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = scale * torch.nn.utils.get_total_norm(gradients).item()
        large = norm > self.settings.skip_norm
        self.large_in_a_row = self.large_in_a_row + 1 if large else 0
        outlier = large and self.large_in_a_row <= self.settings.patience
        if outlier or not math.isfinite(norm):
            self.skipped_in_a_row += 1
            self.zero_grad()
            return norm, "skipped"
        self.skipped_in_a_row = 0
        clipped = norm > self.settings.clip_norm
        factor = scale * (self.settings.clip_norm / norm if clipped else 1.0)
        torch._foreach_mul_(gradients, factor)
        self.adam.step()
        self.zero_grad()
        return norm, "clipped" if clipped else "plain"

    def zero_grad(self) -> None:
        self.adam.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {
            "adam": self.adam.state_dict(),
            "large_in_a_row": self.large_in_a_row,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.large_in_a_row = state["large_in_a_row"]
        self.skipped_in_a_row = state["skipped_in_a_row"]
