"""Adamax with the two numbers that torch's fused Adam reads: both optimisers are asked alike.

torch's own Adamax has neither: its gradients are divided here, in place, before its step.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Adamax(torch.optim.Adamax):
    """Adamax (Kingma and Ba 2015, section 7.1, https://arxiv.org/abs/1412.6980).

    With g the gradient divided by ``grad_scale``, and t the number of the step, from 1:
    ``m = beta1 m + (1 - beta1) g``, ``u = max(beta2 u, |g| + eps)`` and
    ``parameter -= lr / (1 - beta1^t) m / u``.

    Attributes:
        grad_scale: what gradients are divided by.
        found_inf: 1 for a step that is not taken, 0 for one that is, as a tensor that nobody reads
            on the host; None for a step that is taken.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        params = list(params)
        on_gpu = params[0].device.type == "cuda"  # the count of steps, too
        super().__init__(params, lr=lr, betas=betas, eps=eps, capturable=on_gpu)
        self.grad_scale: Tensor | None = None
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # takes no closure
        """One step, which changes nothing where ``found_inf`` is 1."""
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if self.grad_scale is not None:
            torch._foreach_div_([p.grad for p in moved], self.grad_scale.to(moved[0].device))
        if self.found_inf is None:
            super().step()
            return
        for p in moved:
            if not self.state[p]:
                self._begin(p)
        changing = [*moved, *(value for p in moved for value in self.state[p].values())]
        before = [tensor.clone() for tensor in changing]
        super().step()
        skipped = self.found_inf > 0
        for tensor, old in zip(changing, before, strict=True):
            tensor.copy_(torch.where(skipped.to(tensor.device), old, tensor))

    def _begin(self, parameter: Tensor) -> None:
        """The state of a parameter as torch begins it, for steps that may be the first and none."""
        device = parameter.device if self.defaults["capturable"] else "cpu"
        self.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_inf": torch.zeros_like(parameter),
        }
