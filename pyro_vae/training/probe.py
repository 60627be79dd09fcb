"""Whether to compile: where it works, gives the same gradient, and pays within the run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.torch_state import evaluating, own_generators
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.graph import CompiledGradient
from pyro_vae.training.precision import matrix_products
from pyro_vae.weights import bounds
from pyro_vae.weights.log_weights import log_weights
from pyro_vae.weights.repeats import Beginning

WORTH_SECONDS = 100.0  # of plain steps; fewer would not pay back tracing and compiling
WORTH_TRACING = 20.0  # likewise for tracing alone, which takes a second or two
FEW_STEPS = 500  # a plain run of fewer is not even timed
WORTH_RATIO = 0.97  # compiled to plain
ROUNDS = 5
# Compiled sums run in another order. What is wrong is off by far more.
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-2


class Choice(NamedTuple):
    """Whether the step is compiled, and why, in a line for people ("" where nobody asked)."""

    compiled: bool
    reason: str


def choose(
    gradients: Gradients,
    x: Tensor,
    schedules: Sequence[Mapping[str, float]],
    num_steps: int,
    wanted: bool | None,
    say: Callable[[str], None] = lambda line: None,
) -> Choice:
    """Compile ``gradients`` for batches like x, or leave it plain.

    Args:
        schedules: betas that the run will see.
        num_steps: steps that are left.
        wanted: True compiles wherever that works, False never, None where it pays as well.
        say: told before the compiler starts.

    The generators, gradients and running statistics are left as they were.
    """
    if wanted is False and (num_steps < FEW_STEPS or gradients.not_compiled):
        return Choice(False, "")
    if gradients.not_compiled:
        return Choice(False, f"step not compiled: {gradients.not_compiled}")
    # Steps are tried in the mode that they are taken in, but they are no steps.
    statistics_kept = Beginning(gradients.model, gradients.guide).undone()
    with own_generators(), pyro.validation_enabled(False), statistics_kept:
        try:
            seconds = min(_run(gradients, x, schedules[0])[0] for _ in range(2))
        except Exception:  # the first step will say what is wrong with the programs or the data
            return Choice(False, "")
        if wanted is False or (wanted is None and seconds * num_steps < WORTH_SECONDS):
            if seconds * num_steps > WORTH_TRACING:
                _trace(gradients, x, schedules)
            return Choice(False, "")
        say("compiling the step, which takes some seconds once")
        start = time.perf_counter()
        try:
            gradients.compile(x, schedules)
            cost = time.perf_counter() - start
            ratio = max(_compare(gradients, x, betas) for betas in _distinct(gradients, schedules))
        except Exception as error:
            _trace(gradients, x, schedules)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            return Choice(False, f"step not compiled: {type(error).__name__}: {reason[:200]}")
    if wanted is None and ratio > WORTH_RATIO:
        _trace(gradients, x, schedules)
        return Choice(False, f"step not compiled: it would take {ratio:.2f} of the plain step")
    return Choice(True, f"step compiled in {cost:.0f} s; it takes {ratio:.2f} of the plain step")


@torch.no_grad()
def precision_effect(gradients: Gradients, x: Tensor) -> str:
    """One line on what the precision of matrix products does to the bound of x; "" for float32."""
    if gradients.precision == "float32":
        return ""
    pair = gradients.model, gradients.guide, x, gradients.objective.num_particles
    with own_generators(), pyro.validation_enabled(False), evaluating(*pair[:2]):
        bounds_ = []
        for precision in (gradients.precision, "float32"):
            torch.manual_seed(0)
            with matrix_products(precision, x.device):
                bounds_.append(bounds.iwae(log_weights(*pair).log_w))
    off = bounds_[0] - bounds_[1]
    return (
        f"precision {gradients.precision} changes the bound of the first batch by "
        f"{off.mean():+.3g} nats per datum (root mean square {off.square().mean().sqrt():.3g})"
    )


def _trace(gradients: Gradients, x: Tensor, schedules: Sequence[Mapping[str, float]]) -> None:
    """Record the step without compiling it, where that gives the plain gradient bit for bit.

    Only for this library's models: a foreign program may do more in Python than a record tells.
    """
    gradients.forget_compiled()
    if not isinstance(gradients.model, HierarchicalVAE):
        return
    try:
        gradients.compile(x, schedules, compiler=False)
        with own_generators(), pyro.validation_enabled(False):
            exact = all(
                _same_bits(gradients, x, betas) for betas in _distinct(gradients, schedules)
            )
    except Exception:  # what cannot be traced is run as it is
        exact = False
    if not exact:
        gradients.forget_compiled()


def _same_bits(gradients: Gradients, x: Tensor, betas: Mapping[str, float]) -> bool:
    (_, loss, flat), (_, plain_loss, plain) = _both(gradients, x, betas, seed=0)
    return loss == plain_loss and torch.equal(flat, plain)


def _distinct(
    gradients: Gradients, schedules: Sequence[Mapping[str, float]]
) -> list[Mapping[str, float]]:
    """One set of betas for each graph."""
    levels = CompiledGradient.annealed_levels
    return list({levels(gradients.objective, betas): betas for betas in schedules}.values())


def _compare(gradients: Gradients, x: Tensor, betas: Mapping[str, float]) -> float:
    """Time of a compiled step over a plain one; ArithmeticError where their results differ."""
    times = []
    for turn in range(ROUNDS):
        (seconds, loss, flat), (plain_seconds, plain_loss, plain) = _both(
            gradients, x, betas, seed=turn
        )
        times.append((seconds, plain_seconds))
        if turn == 0:
            off = abs(loss - plain_loss) / max(abs(plain_loss), 1.0)
            gradient_off = (flat - plain).norm() / plain.norm()
            if not (off <= LOSS_TOLERANCE and gradient_off <= GRADIENT_TOLERANCE):
                raise ArithmeticError(
                    f"the compiled step differs from the plain one (loss by {off:.1e}, gradient by "
                    f"{gradient_off:.1e} of its norm)"
                )
    compiled, uncompiled = map(statistics.median, zip(*times, strict=True))
    return compiled / uncompiled


def _both(
    gradients: Gradients, x: Tensor, betas: Mapping[str, float], seed: int
) -> tuple[tuple, tuple]:
    """:func:`_run` with the graphs that there are, and on the plain path, on the same noise."""
    graphs, results = gradients.compiled, []
    for used in (graphs, {}):
        gradients.compiled = used
        torch.manual_seed(seed)
        results.append(_run(gradients, x, betas))
    gradients.compiled = graphs
    return results[0], results[1]


def _run(gradients: Gradients, x: Tensor, betas: Mapping[str, float]) -> tuple:
    """Seconds, loss and flat gradient of one call; the parameters' gradients are cleared."""
    _wait(x)
    start = time.perf_counter()
    loss = gradients(x, betas)
    _wait(x)
    seconds = time.perf_counter() - start
    parameters = list(nn.ModuleList([gradients.model, gradients.guide]).parameters())
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    for parameter in parameters:
        parameter.grad = None
    return seconds, loss.value.item(), flat


def _wait(x: Tensor) -> None:
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
