"""The books of a training run: its checkpoint, and what an exact resume must find as it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pyro_vae.datasets import Batches
from pyro_vae.errors import InputError
from pyro_vae.storage import load_last_good, load_weights, save_checkpoint, sound, write_whole
from pyro_vae.torch_state import generator_states, reseed, set_generator_states
from pyro_vae.training.early_stopping import EarlyStopping
from pyro_vae.training.optimisation import ADDED_TO_PLAN, GradientStep
from pyro_vae.training.parallel import Processes
from pyro_vae.training.progress import Progress

PARTS = ("model", "guide", "optimiser", "progress", "generators", "plan")


@dataclass(frozen=True)
class Books:
    """What is written down of a run, by its first process.

    Attributes:
        checkpoint: the file; None where nothing is written.
        model, guide, batches, gradient_step: whose states and settings these are.
        early: early stopping, whose best weights are kept as well; None without.
    """

    checkpoint: Path | None
    model: nn.Module
    guide: nn.Module
    batches: Batches
    gradient_step: GradientStep
    processes: Processes
    early: EarlyStopping | None = None

    def save(self, state: Progress) -> None:
        """Write all that an exact resume wants."""
        if self.checkpoint is None:
            return
        generators = self.processes.gather(generator_states(self.gradient_step.device))
        if not self.processes.first:
            return
        content: dict[str, Any] = {
            "model": self.model.state_dict(),
            "guide": self.guide.state_dict(),
            "optimiser": self.gradient_step.state_dict(),
            "progress": asdict(state),
            "generators": generators,
            "plan": self._plan(),
        }
        if self.early is not None:
            content["best"] = self.early.best
        save_checkpoint(self.checkpoint, content, keep_previous=True)

    def load(self) -> Progress:
        """Put everything back as it was saved, global generators included.

        A checkpoint that is damaged is replaced by the one before it, with a warning.

        Raises:
            InputError: both are damaged, or of a run with other settings.
        """
        assert self.checkpoint is not None  # whoever resumes has one
        content, source = load_last_good(self.checkpoint, self.gradient_step.device, PARTS)
        if source != self.checkpoint and self.processes.first:  # or the next save would keep it
            write_whole(self.checkpoint, source.read_bytes())
        with sound(source):
            return self._put_back(content)

    def _put_back(self, content: dict[str, Any]) -> Progress:
        device = self.gradient_step.device
        assert self.checkpoint is not None
        load_weights(self.model, content["model"], "model", self.checkpoint)
        load_weights(self.guide, content["guide"], "guide", self.checkpoint)
        plan = ADDED_TO_PLAN | content["plan"]
        plan.setdefault("binarise", plan.get("binarize"))  # as 0.4 spelled it
        for name, value in self._plan().items():
            stored = plan.get(name)
            if value != stored:
                raise InputError(
                    f"{self.checkpoint} was trained with {name} = {stored}, this run has {value}; "
                    "an exact resume needs the same"
                )
        self.gradient_step.load_state_dict(content["optimiser"])
        state = Progress(**content["progress"])
        if self.early is not None:
            self.early.load(content["best"])
        states = content["generators"]
        if isinstance(states, list) and len(states) == self.processes.size:
            set_generator_states(states[self.processes.rank], device)
        else:  # another number of processes draws other noise, from this step on
            reseed(self.batches.seed, state.step, self.processes.rank)
        return state

    @property
    def last_good(self) -> str:
        """Where the last checkpoint is, in words."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            return "there is no checkpoint"
        return f"the last good checkpoint is {self.checkpoint}"

    def _plan(self) -> dict[str, object]:
        """What an exact resume must find as it was."""
        return {
            "rows of data": len(self.batches.data),
            "batch size": self.batches.batch_size,
            "seed": self.batches.seed,
            "binarise": self.batches.binarise,
            "augment": None if self.batches.augment is None else str(self.batches.augment),
            "patience": None if self.early is None else self.early.patience,
            **self.gradient_step.plan(),
        }
