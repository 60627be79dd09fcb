"""How a run computes its step: precision and compiler, chosen once, and kept for every resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from pyro_vae.training.bfloat16 import choose_precision, precision_effect
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.parallel import Processes
from pyro_vae.training.precision import check_precision
from pyro_vae.training.probe import choose
from pyro_vae.training.progress import Progress


@dataclass(frozen=True)
class Ahead:
    """What a run has before it.

    Attributes:
        x: this process's rows of a batch. now, at_the_end: betas of the annealed levels.
        steps, seconds: that are left; infinitely many seconds where there is no limit.
    """

    x: Tensor
    now: Mapping[str, float]
    at_the_end: Mapping[str, float]
    steps: int
    seconds: float


@dataclass(frozen=True)
class StepChoice:
    """Chooses before the first step of a call, and after a run's first epoch.

    The precision is chosen first, since what is compiled depends on it. Where nobody asked for a
    compiler it has to wait until the first epoch is shown; that epoch's steps are plain ones. The
    choice falls between two epochs, so that a resume meets it at the same step.

    Attributes:
        compile: as ``fit`` has it.
    """

    gradients: Gradients
    processes: Processes
    compile: bool | None

    def __call__(self, state: Progress, ahead: Ahead, say: Callable[[str], None]) -> None:
        """Make ``gradients`` compute the step as ``state`` says, which is chosen where it is not.

        One process decides for all; each then compiles for its own share of the rows.
        """
        wanted = state.compiled if self.compile is None else self.compile
        waits = wanted is None and state.epoch == 0
        if waits:
            wanted = False
        call = self.gradients, ahead.x, (ahead.now, ahead.at_the_end), ahead.steps
        choice = None
        if self.processes.first:
            say(self._choose_precision(state, ahead))
            choice = choose(*call, wanted, say, ahead.seconds)
        state.precision, choice = self.processes.from_first((self.gradients.precision, choice))
        self.gradients.precision = state.precision
        if not self.processes.first and choice.compiled:
            choose(*call, True)
        say(choice.reason)
        state.compiled = None if waits else choice.compiled

    def _choose_precision(self, state: Progress, ahead: Ahead) -> str:
        """Give ``gradients`` the precision of the run; a line about it."""
        kept = state.precision
        if kept is None and state.step:  # of a version that chose none
            kept = "float32"
        if self.gradients.precision == "auto":
            if kept is None:
                return choose_precision(self.gradients, ahead.x, ahead.now, ahead.steps).reason
            self.gradients.precision = check_precision(kept, ahead.x.device)
        elif kept == self.gradients.precision and state.epoch:
            return ""  # it was said before the first epoch
        return precision_effect(self.gradients, ahead.x)
