"""The optimiser step: Adam, its variants and Adamax, with gradient clipping and skipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_choice, check_positive
from pyro_vae.training.adamax import Adamax
from pyro_vae.training.schedules import Cosine, Decay, LrSchedule, Stages

OPTIMISERS = ("adam", "adamax")
GRADIENTS = ("mean", "sum")
# What checkpoints of earlier versions do not say about their training.
ADDED_TO_PLAN = {
    "gradient": "mean",
    "second moment": 0.0,
    "optimiser": "adam",
    "patience": None,
}


@dataclass(frozen=True)
class OptimiserSettings:
    """Adam, or Adamax, on the loss of a batch.

    Adam, with g the gradient, m and v its moments and t the number of the step, from 1:
    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g^2`` and
    ``parameter -= lr m' / (sqrt(v') + eps)``, where ``m' = m / (1 - beta1^t)`` and
    ``v' = v / (1 - beta2^t)``. :class:`pyro_vae.training.adamax.Adamax` divides by the largest of
    the last gradients instead.

    Attributes:
        name: "adam" or "adamax".
        lr, betas, eps: the optimiser's own.
        gradient: g is the "mean" or the "sum" over the batch, as in the code of Burda et al. The
            step is nearly the same, since Adam divides by the size of g; but against a summed
            gradient ``eps`` and ``second_moment`` are small.
        second_moment: v before the first step. The code of Burda et al. has 1, with the bias
            correction of 0: then steps start small and grow over about 1 / (1 - beta2) of them.
            Adam's alone.
        clip_norm: gradients are scaled down to this global norm (nats per datum).
        skip_norm: steps with a larger norm are outliers and skipped (the script of Vas 2024:
            above 1100). At
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
    gradient: str = "mean"
    second_moment: float = 0.0
    name: str = "adam"

    def __post_init__(self) -> None:
        check_choice("optimiser", self.name, OPTIMISERS)
        for name in ("lr", "eps", "clip_norm", "skip_norm", "max_skipped"):
            check_positive(name, getattr(self, name))
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"Adam's betas must lie in [0, 1), got {self.betas}")
        check_choice("gradient", self.gradient, GRADIENTS)
        if not 0 <= self.second_moment < math.inf:
            raise InputError(
                f"second_moment must be finite and at least 0, got {self.second_moment}"
            )
        if self.second_moment and self.name != "adam":
            raise InputError(f"{self.name} has no second moment to start; allowed: 0")


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

    @property
    def norm_of_step(self) -> Number:
        """The norm, or 0 for a step that was skipped (its norm may be NaN)."""
        if torch.is_tensor(self.skipped):
            return torch.where(self.skipped, 0.0, self.norm)
        return 0.0 if self.skipped else self.norm


class GradientStep:
    """Applies the accumulated gradients once and clears them.

    Scaling and clipping, and on a GPU skipping too, are done inside Adam's fused kernel, by the
    two numbers that it reads for mixed precision: the gradients are not walked over again, and a
    GPU is never waited for. Adamax reads the same two numbers, without such a kernel.

    Args:
        lr_schedule: the learning rate over the share of training done (or the number of steps,
            where it says so), instead of ``settings.lr``; followed by :meth:`follow_schedule`.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        settings: OptimiserSettings,
        lr_schedule: LrSchedule | None = None,
    ) -> None:
        self.settings, self.lr_schedule = settings, lr_schedule
        # What model and guide share is one parameter, and takes one step.
        each = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
        self.parameters = list(each.values())
        if not self.parameters:
            raise InputError("model and guide have no parameter to train")
        own: dict[str, Any] = {"lr": settings.lr, "betas": settings.betas, "eps": settings.eps}
        self.optimiser: Adamax | torch.optim.Adam
        if settings.name == "adamax":
            self.optimiser = Adamax(self.parameters, **own)
        else:
            self.optimiser = torch.optim.Adam(self.parameters, **own, fused=True)
        if settings.second_moment:
            self._start_second_moment(settings.second_moment)
        self.follow_schedule(0.0)
        self.large_in_a_row: Number = 0
        self.skipped_in_a_row: Number = 0

    def _start_second_moment(self, value: float) -> None:
        """Adam's state as its first step would make it, but for the second moment."""
        for p in self.parameters:
            self.optimiser.state[p] = {
                "step": torch.zeros((), dtype=torch.float32, device=p.device),
                "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.full_like(p, value, memory_format=torch.preserve_format),
            }

    @property
    def lr(self) -> float:
        """The learning rate of the last step, or of the first where there was none."""
        return self.optimiser.param_groups[0]["lr"]

    def follow_schedule(self, progress: float, step: int = 0) -> None:
        """Give the next step its learning rate, if one is scheduled.

        Args:
            progress: share of training that is done.
            step: steps that were taken.
        """
        if self.lr_schedule is None:
            return
        counted = getattr(self.lr_schedule, "counts_steps", False)
        position: Any = step if counted else progress
        lr = self.lr_schedule(position)
        if not 0 <= lr < math.inf:
            raise InputError(f"lr_schedule({position:.6g}) must be finite and at least 0, got {lr}")
        # A number that the kernel is called with: no graph holds it.
        self.optimiser.param_groups[0]["lr"] = lr

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
        data = num_data if settings.gradient == "mean" else 1
        self._step(data * excess, skipped)
        return Taken(norm, clipped & (skipped ^ True), skipped)

    def _step(self, divisor: Number, skipped: bool | Tensor) -> None:
        """The optimiser on the gradients divided by ``divisor``, unless the step is skipped."""
        optimiser: Any = self.optimiser  # torch's Adam has these where it is fused
        optimiser.grad_scale = torch.as_tensor(divisor, dtype=torch.float32)
        optimiser.found_inf = skipped.float() if torch.is_tensor(skipped) else None
        if skipped is not True:
            self.optimiser.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        self.optimiser.zero_grad()

    def plan(self) -> dict[str, object]:
        """What an exact resume must find as it was.

        Of stages it is the rates, of a cosine or a decay its words: the former two move with the
        length of the training, as annealing does. Of another schedule it is that there is one.
        """
        settings = self.settings
        lr: object = settings.lr
        if isinstance(self.lr_schedule, Stages):
            lr = self.lr_schedule.rates
        elif self.lr_schedule is not None:
            told = isinstance(self.lr_schedule, Cosine | Decay)
            lr = str(self.lr_schedule) if told else "a schedule"
        return {
            "optimiser": settings.name,
            "lr": lr,
            "betas": tuple(settings.betas),
            "eps": settings.eps,
            "gradient": settings.gradient,
            "second moment": settings.second_moment,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "adam": self.optimiser.state_dict(),  # of Adamax under the same name
            "large_in_a_row": int(self.large_in_a_row),
            "skipped_in_a_row": int(self.skipped_in_a_row),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["adam"])
        for name in ("large_in_a_row", "skipped_in_a_row"):
            setattr(self, name, int(state[name]))
