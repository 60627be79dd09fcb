"""Whether to compile: where it works, gives the same gradient, and pays within the run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.programs.models import Generative
from pyro_vae.programs.networks import has_convolutions
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.graph import CompiledGradient
from pyro_vae.training.trials import Trial, median_ratio, no_step, trial

WORTH_TRACING = 20.0  # seconds of plain steps; tracing takes a second or two
FEW_STEPS = 500  # a plain run of fewer is not even timed
WORTH_RATIO = 0.97  # compiled to plain
SLOWER = 1.1  # a record's step to a plain one: beyond what other processes do to a few rounds
# What a compiler costs and gives is known once it has run. Before, and so that the same command
# decides alike whatever the compiler's cache holds: the time of tracing times this factor (30 to 80
# with an empty cache, by the machine's other work), against this share of the steps
# (benchmarks/training_step.json; bfloat16 saves more, since only compiled steps cast for nothing).
COMPILING_OVER_TRACING = 60.0
EXPECTED_SAVING = {"float32": 0.3, "tf32": 0.3, "bf16": 0.5}
# Compiled sums run in another order. What is wrong is off by far more.
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-2
# A compiled step in bfloat16 rounds less often than the plain one, since what lies between two
# products is not written down. It may be off the float32 step by so much, and as far as that one.
ROUNDED_LOSS_TOLERANCE = 2e-3


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
    seconds_left: float = math.inf,
) -> Choice:
    """Compile ``gradients`` for batches like x, or leave it plain.

    Args:
        schedules: betas that the run will see.
        num_steps: steps that are left.
        wanted: True compiles wherever that works, False never, None where it is expected to save
            more time than it takes, and then does.
        say: told before the compiler starts.
        seconds_left: until the run is stopped, whatever steps are left.

    The generators, gradients and running statistics are left as they were.
    """
    if wanted is False and (num_steps < FEW_STEPS or gradients.not_compiled):
        return Choice(False, "")
    if gradients.not_compiled:
        return Choice(False, f"step not compiled: {gradients.not_compiled}")
    with no_step(gradients):
        try:
            seconds = min(trial(gradients, x, schedules[0]).seconds for _ in range(2))
        except Exception:  # the first step will say what is wrong with the programs or the data
            return Choice(False, "")
        left = min(seconds * num_steps, seconds_left)
        if wanted is not True:
            if left < WORTH_TRACING:
                return Choice(False, "")
            tracing = _trace(gradients, x, schedules)
            if wanted is None and _convolves_on_cpu(gradients, x):
                return Choice(False, _record_timed(gradients, x, schedules))
            cost = COMPILING_OVER_TRACING * tracing
            gain = EXPECTED_SAVING[gradients.precision] * left
            if wanted is False:
                return Choice(False, "")
            if gain < cost:
                return Choice(
                    False,
                    f"step not compiled: that would take about {cost:.0f} s and save {gain:.0f} s",
                )
        say("compiling the step, which takes some seconds once")
        gradients.forget_compiled()
        try:
            start = time.perf_counter()
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


def _trace(gradients: Gradients, x: Tensor, schedules: Sequence[Mapping[str, float]]) -> float:
    """Record the step without compiling it, where that gives the plain gradient bit for bit.

    Only for this library's models: a foreign program may do more in Python than a record tells.
    Returns the seconds of recording, 0 where it failed.
    """
    gradients.forget_compiled()
    exact, seconds = False, 0.0
    try:
        start = time.perf_counter()
        gradients.compile(x, schedules, compiler=False)
        seconds = time.perf_counter() - start
        if isinstance(gradients.model, Generative) and gradients.model.recordable:
            exact = all(
                _same_bits(gradients, x, betas) for betas in _distinct(gradients, schedules)
            )
    except Exception:  # what cannot be traced is run as it is
        exact = False
    if not exact:
        gradients.forget_compiled()
    return seconds


def _convolves_on_cpu(gradients: Gradients, x: Tensor) -> bool:
    """Whether the compiler would have convolutions for a CPU, which it leaves as they are.

    It took 447 s for a step of 0.89 of the plain one, where the record alone gave 0.82.
    """
    programs = (gradients.model, gradients.guide)
    return x.device.type == "cpu" and any(has_convolutions(program) for program in programs)


def _record_timed(gradients: Gradients, x: Tensor, schedules: Sequence[Mapping[str, float]]) -> str:
    """Keep the record where it is no slower than the plain step; a line about it."""
    why = "step not compiled: convolutions gain nothing from it on a CPU"
    graphs = gradients.compiled
    if not graphs:
        return f"{why}, and they cannot be recorded"
    ratio = median_ratio(
        lambda turn: _on(gradients, graphs, x, schedules[0], turn),
        lambda turn: _on(gradients, {}, x, schedules[0], turn),
    )
    if ratio > SLOWER:
        gradients.forget_compiled()
        return f"{why}, nor from a record ({ratio:.2f} of the plain step)"
    return f"{why}; its record takes {ratio:.2f} of the plain step"


def _same_bits(gradients: Gradients, x: Tensor, betas: Mapping[str, float]) -> bool:
    graph, plain = (_on(gradients, graphs, x, betas, 0) for graphs in (gradients.compiled, {}))
    return graph.loss == plain.loss and torch.equal(graph.gradient, plain.gradient)


def _distinct(
    gradients: Gradients, schedules: Sequence[Mapping[str, float]]
) -> list[Mapping[str, float]]:
    """One set of betas for each graph."""
    levels = CompiledGradient.annealed_levels
    return list({levels(gradients.objective, betas): betas for betas in schedules}.values())


def _compare(gradients: Gradients, x: Tensor, betas: Mapping[str, float]) -> float:
    """Time of a compiled step over a plain one; ArithmeticError where their results differ."""
    graphs = gradients.compiled
    compiled, plain = (_on(gradients, used, x, betas, 0) for used in (graphs, {}))
    loss_limit, limit, exact = LOSS_TOLERANCE, GRADIENT_TOLERANCE, plain
    if gradients.precision == "bf16":
        exact = _in_float32(gradients, x, betas, 0)
        loss_limit, limit = ROUNDED_LOSS_TOLERANCE, limit + _distance(plain, exact)
    off = abs(compiled.loss - exact.loss) / max(abs(exact.loss), 1.0)
    gradient_off = _distance(compiled, exact)
    if not (off <= loss_limit and gradient_off <= limit):
        raise ArithmeticError(
            f"the compiled step differs from the plain one (loss by {off:.1e}, gradient by "
            f"{gradient_off:.1e} of its norm)"
        )
    return median_ratio(
        lambda turn: _on(gradients, graphs, x, betas, turn),
        lambda turn: _on(gradients, {}, x, betas, turn),
    )


def _distance(found: Trial, exact: Trial) -> float:
    """Between two gradients, over the norm of the second."""
    return ((found.gradient - exact.gradient).norm() / exact.gradient.norm()).item()


def _in_float32(gradients: Gradients, x: Tensor, betas: Mapping[str, float], seed: int) -> Trial:
    own, gradients.precision = gradients.precision, "float32"
    try:
        return _on(gradients, {}, x, betas, seed)
    finally:
        gradients.precision = own


def _on(
    gradients: Gradients, graphs: dict, x: Tensor, betas: Mapping[str, float], seed: int
) -> Trial:
    """A trial on these graphs, none for the plain path; the same noise for the same seed."""
    own, gradients.compiled = gradients.compiled, graphs
    try:
        torch.manual_seed(seed)
        return trial(gradients, x, betas)
    finally:
        gradients.compiled = own
