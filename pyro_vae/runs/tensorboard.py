"""Curves of a run for TensorBoard, written by callbacks like a user's own (docs/callbacks.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_vae.errors import InputError
from pyro_vae.runs.hooks import Finished, Hooks
from pyro_vae.training.progress import Row

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # of a run directory
# Columns of metrics.csv on the training rows and the optimiser; others are of validation data.
_OF_TRAINING = ("train_", "grad_norm", "clipped", "skipped", "kept_share", "lr", "beta_")
_NO_CURVES = ("epoch", "step", "num_particles")


class TensorBoard:
    """Writes what ``metrics.csv`` holds, over optimiser steps, and the estimates on test data.

    The curves are written from the whole history at the first epoch of a call: a run that goes on
    has each point once, as its ``metrics.csv`` has each row.

    Args:
        folder: for the event files; those of an earlier call are replaced.

    Raises:
        InputError: the package ``tensorboard`` is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._writer: SummaryWriter | None = None
        self._written = 0
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "--tensorboard wants the package tensorboard, which is not installed: "
                "pip install 'pyro_vae[tensorboard]'"
            ) from error
        self._open = SummaryWriter

    def on_epoch(self, history: list[Row]) -> None:
        """Write the rows that are not written yet; see ``Hooks.on_epoch``."""
        writer = self._opened()
        for row in history[self._written :]:
            for name, value in row.items():
                if name not in _NO_CURVES:
                    room = "training" if name.startswith(_OF_TRAINING) else "validation"
                    writer.add_scalar(f"{room}/{name}", value, row["step"])
        self._written = len(history)
        writer.flush()

    def _opened(self) -> SummaryWriter:
        if self._writer is None:
            for old in self.folder.glob("events.out.tfevents.*"):
                old.unlink()
            self._writer = self._open(str(self.folder))
        return self._writer

    def on_finish(self, finished: Finished) -> None:
        """Write the estimates and the settings, and close the file; see ``Hooks.on_finish``."""
        self.on_epoch(finished.fitted.history)  # all of it, where no epoch was left to train
        writer = self._opened()
        for name, estimate in finished.summary.test.items():
            writer.add_scalar(f"test/{name}", estimate["mean"], finished.fitted.steps)
        settings = json.dumps(finished.config.settings, indent=2, default=str)
        writer.add_text("settings", f"```\n{settings}\n```")
        writer.close()

    def added_to(self, hooks: Hooks) -> Hooks:
        """The hooks with these callbacks."""
        return hooks.also(on_epoch=self.on_epoch, on_finish=self.on_finish)
