"""One training run: the loop over batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyro
import pyro.infer
import torch
from torch import Tensor
from tqdm import tqdm

from pyro_vae.datasets import Batches
from pyro_vae.errors import InputError, TrainingDiverged
from pyro_vae.objectives import Loss
from pyro_vae.training.books import Books
from pyro_vae.training.divergence import LostRows, first_not_finite, parameter_not_finite
from pyro_vae.training.early_stopping import EarlyStopping
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.interruption import StopRequest
from pyro_vae.training.optimisation import GradientStep, Number, Taken, number
from pyro_vae.training.parallel import Processes
from pyro_vae.training.progress import FitResult, Progress, Row, format_row
from pyro_vae.training.schedules import Schedule
from pyro_vae.training.step_choice import Ahead, StepChoice
from pyro_vae.training.validation import validation_columns
from pyro_vae.weights.module_parts import check_whole_batches

CHECKPOINT_EVERY_SECONDS = 300.0
CUDA_CHECK_EVERY = 100  # steps between two looks at what the device found; each look waits for it
SUMS = ("objective", "kept", "lost", "grad_norm", "clipped", "skipped")


@dataclass
class Run:
    """The loop of :func:`pyro_vae.fit`, which describes the settings."""

    gradients: Gradients
    batches: Batches
    valid: Tensor | None
    epochs: int
    gradient_step: GradientStep
    schedules: dict[str, Schedule]
    checkpoint: Path | None
    compile: bool | None
    on_epoch: Callable[[list[Row]], None]
    patience: int | None = None
    state: Progress = field(default_factory=Progress)
    processes: Processes = field(default_factory=Processes)

    def __post_init__(self) -> None:
        self.model, self.guide = self.gradients.model, self.gradients.guide
        self.objective = self.gradients.objective
        self.device = self.gradient_step.device
        self.started = self.saved_at = time.monotonic()
        self.pyro_checks = True  # shapes and supports are checked on the first batch of a call
        # Added up where the numbers are; read when an epoch is closed or saved.
        self.sums: dict[str, Number] = dict.fromkeys(SUMS, 0)
        self.lost = LostRows(self.batches, self.processes)
        pair = self.model, self.guide
        self.early = (
            None if self.patience is None else EarlyStopping(self.patience, *pair, self.processes)
        )
        self.books = Books(
            self.checkpoint, *pair, self.batches, self.gradient_step, self.processes, self.early
        )
        if self.processes.size > 1 and not getattr(self.objective, "per_datum", True):
            raise InputError(
                f"{type(self.objective).__name__} wants the mean KL of the whole batch; train it "
                "in one process"
            )
        if self.processes.size > 1:
            check_whole_batches(self.gradients.normalisers, "each of several processes")
        self.processes.copy_from_first_(self.gradient_step.parameters)

    def train(self, stop: StopRequest, progress: bool) -> FitResult:
        state, per_epoch = self.state, len(self.batches)
        with tqdm(
            total=self.epochs * per_epoch,
            initial=state.epoch * per_epoch + state.batch,
            unit="step",
            disable=not (progress and self.processes.first),
            dynamic_ncols=True,
            mininterval=1.0,
        ) as bar:
            if not state.history:
                self._close_epoch(bar)
            self._choose_step(bar, stop)
            while state.epoch < self.epochs and not self._out_of_patience:
                self._train_epoch(stop, bar)
                if state.batch < per_epoch:
                    return self._result(stop)
                state.epoch, state.batch = state.epoch + 1, 0
                self._close_epoch(bar)
                if state.compiled is None:
                    self._choose_step(bar, stop)
        ended = "finished" if state.epoch == self.epochs else "patience"
        return self._result(stop, ended)

    @property
    def _out_of_patience(self) -> bool:
        return self.early is not None and self.early.over(self.state)

    def _result(self, stop: StopRequest, stopped: str | None = None) -> FitResult:
        if stopped is None:
            # The request may have reached another process than this one.
            stopped = next(filter(None, self.processes.gather(stop.reason)))
        minutes = (time.monotonic() - self.started) / 60
        state = self.state
        if self.early is not None:
            self.early.restore_()
        return FitResult(
            state.history,
            stopped,
            state.step,
            minutes,
            stop.signal,
            bool(state.compiled),
            state.precision or "float32",
            state.best_epoch,
        )

    def _choose_step(self, bar: tqdm, stop: StopRequest) -> None:
        """Precision and compiler, for the steps that are left."""
        state, batches = self.state, self.batches
        left = self.epochs * len(batches) - (state.epoch * len(batches) + state.batch)
        if left <= 0:
            return

        def say(line: str) -> None:
            if line and not bar.disable:
                bar.write(line)

        x = next(iter(batches.epoch(0))).to(self.device)
        at_the_end = {name: schedule(1.0) for name, schedule in self.schedules.items()}
        ahead = Ahead(self.processes.share(x), self.betas(), at_the_end, left, stop.seconds_left)
        StepChoice(self.gradients, self.processes, self.compile)(state, ahead, say)

    def _train_epoch(self, stop: StopRequest, bar: tqdm) -> None:
        for x in self.batches.epoch(self.state.epoch, start=self.state.batch):
            with pyro.validation_enabled(self.pyro_checks):
                self._step(x.to(self.device))
            self.pyro_checks = False
            self.state.batch += 1
            bar.update()
            late = time.monotonic() - self.saved_at > CHECKPOINT_EVERY_SECONDS
            stopping, late = self.processes.any(stop.reason is not None, late)
            if stopping or late:
                self.save()
            if stopping:
                return

    def _step(self, x: Tensor) -> None:
        rows = self.processes.share(x)
        loss = self._loss_and_gradients(rows)
        lost = self.lost.count(self.state.batch, loss.lost)
        if self.processes.size > 1:
            loss, lost = self._sum_over_processes(loss, lost, len(rows), len(x))
        value = number(loss.value)
        self.gradient_step.follow_schedule(self.share_done, self.state.step)
        taken = self.gradient_step(len(x), value)
        kept = loss.kept_share if isinstance(loss.kept_share, float) else number(loss.kept_share)
        self._count(
            objective=-value,
            kept=kept * len(x),
            lost=lost,
            grad_norm=taken.norm_of_step,
            clipped=taken.clipped,
            skipped=taken.skipped,
        )
        self.state.add(data=len(x), steps=1)
        if self.device.type == "cpu" or self.state.step % CUDA_CHECK_EVERY == 0:
            self._check(x, taken)
        self.state.step += 1

    def _loss_and_gradients(self, x: Tensor) -> Loss:
        if not len(x):  # fewer rows than processes
            return Loss(torch.zeros((), device=self.device), 0.0)
        if getattr(self.objective, "scheduled", False):
            self.objective.at(self.share_done)
        try:
            return self.gradients(x, self.betas())
        except ValueError:
            # Pyro's checks of the first batch find NaN before the loss does.
            where = first_not_finite(self.model, self.guide, x, self.objective.num_particles)
            if where is None:
                raise
        raise self._diverged(where, x)

    def _sum_over_processes(
        self, loss: Loss, lost: Number, num_rows: int, num_data: int
    ) -> tuple[Loss, Number]:
        for parameter in self.gradient_step.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        kept = torch.as_tensor(loss.kept_share * num_rows, device=self.device)
        lost = torch.as_tensor(lost, device=self.device)
        numbers = torch.stack([loss.value.double(), kept.double(), lost.double()])
        value, kept, total = self.processes.sum_(self.gradient_step.gradients, numbers)
        return Loss(value, kept / num_data), number(total)

    def _count(self, **values: Number) -> None:
        for name, value in values.items():
            wide = value.double() if torch.is_tensor(value) else value
            self.sums[name] = self.sums[name] + wide

    def _check(self, x: Tensor, taken: Taken) -> None:
        if not math.isfinite(self.sums["objective"]):
            where = first_not_finite(self.model, self.guide, x, self.objective.num_particles)
            raise self._diverged(where or "the bound", x)
        # A parameter that is infinite gives weights of zero.
        if self.lost and (where := parameter_not_finite(self.model, self.guide)):
            raise self._diverged(where, x)
        skipped = int(self.gradient_step.skipped_in_a_row)
        if skipped >= self.gradient_step.settings.max_skipped:
            raise TrainingDiverged(
                f"{self._where()}: {skipped} steps in a row were skipped, the last with gradient "
                f"norm {float(taken.norm):.4g}; {self.books.last_good}"
            )

    def _diverged(self, where: str, x: Tensor) -> TrainingDiverged:
        data = "" if torch.isfinite(x).all() else " (nor are the data of this batch)"
        return TrainingDiverged(
            f"{self._where()}: {where} is not finite{data}; {self.books.last_good}"
        )

    @property
    def share_done(self) -> float:
        """Steps before this one, of all: what schedules are functions of."""
        done = self.state.epoch * len(self.batches) + self.state.batch
        return done / (self.epochs * len(self.batches))

    def betas(self) -> dict[str, float]:
        """beta of every annealed level at this step."""
        return {name: schedule(self.share_done) for name, schedule in self.schedules.items()}

    def _close_epoch(self, bar: tqdm) -> None:
        """Write the row of the epoch that was trained (row 0: of the untrained pair), and save."""
        state = self.state
        self._read_sums()
        self.lost.tell(state.epoch, state.sums, self.books.last_good)
        row = {
            "epoch": state.epoch,
            "step": state.step,
            "num_particles": self.objective.num_particles,
            "lr": self.gradient_step.lr,
        }
        row |= {f"beta_{name}": beta for name, beta in self.betas().items()}
        row |= state.training_columns(getattr(self.objective, "thin", None) is not None)
        if self.processes.first:
            row |= validation_columns(
                self.model, self.guide, self.valid, self.objective.num_particles
            )
        state.history.append(row)
        if self.early is not None:
            at_the_end = {name: schedule(1.0) for name, schedule in self.schedules.items()}
            self.early.look(state, row, annealing=self.betas() != at_the_end)
        state.sums, self.sums = {}, dict.fromkeys(SUMS, 0)
        self.save()
        if self.processes.first:
            self.on_epoch(state.history)
        if not bar.disable:
            bar.write(format_row(row))

    def _read_sums(self) -> None:
        """Copy the running sums into the books."""
        if self.state.step:
            self.state.sums |= {name: float(total) for name, total in self.sums.items()}

    def save(self) -> None:
        self.saved_at = time.monotonic()
        self._read_sums()
        self.books.save(self.state)

    def load(self) -> None:
        self.state = self.books.load()
        self.sums |= {name: self.state.sums.get(name, 0) for name in SUMS}

    def _where(self) -> str:
        return f"step {self.state.step + 1} (epoch {self.state.epoch + 1})"
