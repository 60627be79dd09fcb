"""Whether products in bfloat16 pay and do no harm: what ``precision="auto"`` asks the first batch.

A bfloat16 number has float32's exponent and 8 bits of mantissa. CPUs with matrix tiles (AMX) or
AVX512-BF16, and GPUs, multiply such numbers several times as fast as float32, and add the products
up in float32. Sums over units, activations, densities and parameters stay in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pyro_vae.programs.guides import Guide
from pyro_vae.programs.models import Generative
from pyro_vae.programs.networks import Folded, MergedConv, MergedLinear, WeightNormConv
from pyro_vae.torch_state import evaluating
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.precision import matrix_products
from pyro_vae.training.trials import median_ratio, no_step, trial
from pyro_vae.weights import bounds
from pyro_vae.weights.log_weights import log_weights

WORTH_TRYING = 20.0  # seconds of plain float32 steps; a shorter run is not asked
FEW_STEPS = 500  # a run of fewer is not even timed
WORTH_RATIO = 0.9  # a step in bfloat16 to one in float32
BFLOAT16_SETS = ("amx_bf16", "avx512_bf16", "bf16")  # as Linux names them on x86 and ARM


class PrecisionChoice(NamedTuple):
    """The precision of matrix products, and why, in a line for people."""

    name: str
    reason: str


@dataclass(frozen=True)
class Effect:
    """What lower precision does to the bound of a batch, on the same noise; nats per datum.

    Attributes:
        mean: of the difference over the data.
        root_mean_square: of the same.
        standard_error: of the float32 bound's mean over the data; NaN for a single datum.
    """

    mean: float
    root_mean_square: float
    standard_error: float

    @property
    def small(self) -> bool:
        """Whether the mean moves by less than its standard error; not where one of them is NaN."""
        return abs(self.mean) < self.standard_error


def choose_precision(
    gradients: Gradients, x: Tensor, betas: Mapping[str, float], num_steps: int
) -> PrecisionChoice:
    """bfloat16 products where they are faster by a tenth and move the bound of x by little.

    Little is less than its standard error over the data of x. Steps are timed as they are before
    anything is compiled. ``gradients`` takes the precision that is chosen; generators and
    parameters are left as they were.

    Args:
        num_steps: steps that are left; a run of few, or of some seconds, stays in float32.
    """
    gradients.precision = "float32"
    name, reason = "float32", _why_not(gradients, x)
    if reason is None and num_steps < FEW_STEPS:
        reason = "the run is too short to try bfloat16"
    if reason is None:
        try:
            with no_step(gradients):
                name, reason = _tried(gradients, x, betas, num_steps)
        except Exception:  # the first step will say what is wrong with the programs or the data
            reason = "bfloat16 could not be tried"
    gradients.precision = name
    return PrecisionChoice(name, f"precision {name}: {reason}")


def bfloat16_products(device: torch.device) -> bool:
    """Whether the device has instructions that multiply bfloat16 numbers."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and not instruction_sets().isdisjoint(BFLOAT16_SETS)


def instruction_sets() -> set[str]:
    """Instruction sets of the first processor; empty where the system keeps no list."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(words.split())
    return set()


@torch.no_grad()
def effect_on_bound(gradients: Gradients, x: Tensor, precision: str) -> Effect:
    """The bound of x (L_k at the objective's particles) in a precision against float32."""
    pair = gradients.model, gradients.guide, x, gradients.objective.num_particles
    found = []
    with no_step(gradients), evaluating(*pair[:2]):
        for name in (precision, "float32"):
            torch.manual_seed(0)
            with matrix_products(name, x.device):
                found.append(bounds.iwae(log_weights(*pair).log_w).double())
    off = found[0] - found[1]
    error = found[1].std().item() / math.sqrt(len(off)) if len(off) > 1 else math.nan
    return Effect(off.mean().item(), off.square().mean().sqrt().item(), error)


def precision_effect(gradients: Gradients, x: Tensor) -> str:
    """One line on what the precision of matrix products does to the bound of x; "" for float32."""
    if gradients.precision == "float32":
        return ""
    effect = effect_on_bound(gradients, x, gradients.precision)
    return (
        f"precision {gradients.precision} changes the bound of the first batch by "
        f"{effect.mean:+.3g} nats per datum (root mean square {effect.root_mean_square:.3g})"
    )


def _why_not(gradients: Gradients, x: Tensor) -> str | None:
    """What speaks against bfloat16 before anything is timed."""
    if not (isinstance(gradients.model, Generative) and isinstance(gradients.guide, Guide)):
        return "bfloat16 is tried for this library's models alone"
    programs = nn.ModuleList([gradients.model, gradients.guide])
    if {p.dtype for p in programs.parameters()} != {torch.float32}:
        return "parameters of another type keep it"
    # What these hold is theirs to return.
    returning = {
        id(layer)
        for m in programs.modules()
        if isinstance(m, (MergedLinear, MergedConv, WeightNormConv, Folded))
        for layer in m.modules()
    }
    products = [m for m in programs.modules() if isinstance(m, (nn.Linear, _ConvNd))]
    if any(id(m) not in returning for m in products):
        return "a layer of the pair would not return from bfloat16"
    if not bfloat16_products(x.device):
        return "this machine multiplies no bfloat16 numbers (AMX, AVX512-BF16)"
    return None


def _tried(
    gradients: Gradients, x: Tensor, betas: Mapping[str, float], num_steps: int
) -> tuple[str, str]:
    """The better precision and why."""

    def run(precision: str, turn: int):
        gradients.precision = precision
        torch.manual_seed(turn)
        return trial(gradients, x, betas)

    seconds = min(run("float32", turn).seconds for turn in range(2))
    if seconds * num_steps < WORTH_TRYING:
        return "float32", "the run is too short to try bfloat16"
    run("bf16", 0)  # its first product makes room
    ratio = median_ratio(lambda turn: run("bf16", turn), lambda turn: run("float32", turn))
    if not ratio <= WORTH_RATIO:
        return "float32", f"products in bfloat16 would take {ratio:.2f} of the step"
    effect = effect_on_bound(gradients, x, "bf16")
    changed = (
        f"{effect.mean:+.2g} nats per datum (its standard error is {effect.standard_error:.2g})"
    )
    if not effect.small:
        return "float32", f"bfloat16 would change the bound of the first batch by {changed}"
    return (
        "bf16",
        f"{ratio:.2f} of the float32 step; the bound of the first batch moves by {changed}",
    )
