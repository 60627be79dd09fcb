"""fit(): trains a model and guide under an objective, with validation, checkpoints and resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyro
import pyro.infer
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pyro_vae.annealing import Schedule, anneal, default_annealing
from pyro_vae.architectures import check_same_levels
from pyro_vae.checkpoint import load_checkpoint, load_weights, save_checkpoint
from pyro_vae.datasets import Batches
from pyro_vae.denormals import flushed_denormals
from pyro_vae.divergence import first_not_finite
from pyro_vae.errors import InputError, TrainingDiverged, check_count, check_positive
from pyro_vae.evaluation import evaluate
from pyro_vae.generators import generator_states, own_generators, set_generator_states
from pyro_vae.interruption import StopRequest, stop_on_signals
from pyro_vae.objectives import IWAE, backward_function, check_objective_fits
from pyro_vae.optimisation import GradientStep, OptimiserSettings
from pyro_vae.progress import FitResult, Progress, Row, format_row

CHECKPOINT_EVERY_SECONDS = 300.0
CHECKPOINT_PARTS = ("model", "guide", "optimiser", "progress", "generators", "plan")
VALIDATION_SEED = 20_240_501  # every epoch is judged on the same noise


def fit(
    model: nn.Module,
    guide: nn.Module,
    train: Tensor,
    *,
    valid: Tensor | None = None,
    objective: pyro.infer.ELBO | None = None,
    epochs: int = 10,
    batch_size: int = 100,
    optimiser: OptimiserSettings | None = None,
    binarize: str | None = None,
    annealing: Mapping[str, Schedule] | None = None,
    seed: int = 0,
    max_minutes: float | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_start: Callable[[], None] = lambda: None,
    on_epoch: Callable[[list[Row]], None] = lambda history: None,
    progress: bool = True,
) -> FitResult:
    """Train a pair in place.

    Args:
        model, guide: modules of this library or any with one data plate; they stay on their device.
        train, valid: data (N, D). With ``valid`` each epoch, and the start, is judged on it.
        objective: a ``pyro.infer.ELBO``; default ``IWAE(num_particles=50)``.
        binarize: None, "epoch" or "access": draw 0/1 pixels from ``train`` read as probabilities.
        annealing: level -> schedule of beta over the share of training done; default S0's
            (z2 from 0.1 to 1 over the first half); ``{}`` for none.
        seed: of data order, binarisation and particles. The same seed gives the same numbers on the
            CPU. The caller's global generators are left as they were.
        max_minutes: stop after this long, with a checkpoint.
        checkpoint: file to save to after every epoch, every five minutes and at a stop.
        resume: continue from that file, bit for bit on the CPU.
        on_start: called when all is checked and loaded, before the first step.
        on_epoch: called with the history after every epoch.

    Returns:
        :class:`FitResult`. Ctrl-C, SIGTERM and ``max_minutes`` end it cleanly between two steps.

    Raises:
        InputError: bad arguments, or a checkpoint that does not fit.
        TrainingDiverged: a loss that is not finite, or nothing but skipped steps.
    """
    objective = IWAE(num_particles=50) if objective is None else objective
    if not isinstance(objective, pyro.infer.ELBO):
        raise InputError(
            f"objective must be a pyro.infer.ELBO such as pyro_vae.IWAE(50), got {objective!r}"
        )
    if valid is not None and not torch.isfinite(valid).all():
        raise InputError("valid holds values that are not finite")
    check_count("epochs", epochs)
    if max_minutes is not None:
        check_positive("max_minutes", max_minutes)
    if resume and checkpoint is None:
        raise InputError("resume=True wants the checkpoint to resume from")
    check_same_levels(model, guide)
    check_objective_fits(objective, guide)
    run = _Run(
        model=model,
        guide=guide,
        objective=objective,
        batches=Batches(train, batch_size, seed=seed, binarize=binarize),
        valid=valid,
        epochs=epochs,
        gradient_step=GradientStep([model, guide], optimiser or OptimiserSettings()),
        schedules=_schedules(model, annealing),
        checkpoint=None if checkpoint is None else Path(checkpoint),
        on_epoch=on_epoch,
    )
    with own_generators(), flushed_denormals(), stop_on_signals(max_minutes) as stop:
        torch.manual_seed(seed)
        if resume:
            run.load()
        on_start()
        return run.train(stop, progress)


def _schedules(model: nn.Module, annealing: Mapping[str, Schedule] | None) -> dict[str, Schedule]:
    names = getattr(model, "latent_names", None)
    if annealing is None:
        return default_annealing(len(names or ()))
    for name in annealing:
        if names is not None and name not in names:
            raise InputError(f"cannot anneal {name!r}; the model's levels: {', '.join(names)}")
    return dict(annealing)


@dataclass
class _Run:
    """One training run: the loop, and all that a checkpoint holds."""

    model: nn.Module
    guide: nn.Module
    objective: pyro.infer.ELBO
    batches: Batches
    valid: Tensor | None
    epochs: int
    gradient_step: GradientStep
    schedules: dict[str, Schedule]
    checkpoint: Path | None
    on_epoch: Callable[[list[Row]], None]
    state: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.device = self.gradient_step.parameters[0].device
        self.started = self.saved_at = time.monotonic()
        self.pyro_checks = True  # shapes and supports are checked on the first batch of a call

    def train(self, stop: StopRequest, progress: bool) -> FitResult:
        state, per_epoch = self.state, len(self.batches)
        backward = backward_function(self.objective, self.model, self.guide)
        with tqdm(
            total=self.epochs * per_epoch, initial=state.epoch * per_epoch + state.batch,
            unit="step", disable=not progress, dynamic_ncols=True, mininterval=1.0,
        ) as bar:  # fmt: skip
            if not state.history:
                self._close_epoch(bar)
            while state.epoch < self.epochs:
                self._train_epoch(backward, stop, bar)
                if state.batch < per_epoch:
                    return self._result(str(stop.reason), stop)
                state.epoch, state.batch = state.epoch + 1, 0
                self._close_epoch(bar)
        return self._result("finished", stop)

    def _result(self, stopped: str, stop: StopRequest) -> FitResult:
        minutes = (time.monotonic() - self.started) / 60
        return FitResult(self.state.history, stopped, self.state.step, minutes, stop.signal)

    def _train_epoch(self, backward: Callable, stop: StopRequest, bar: tqdm) -> None:
        for x in self.batches.epoch(self.state.epoch, start=self.state.batch):
            with pyro.validation_enabled(self.pyro_checks), anneal(self.betas()):
                self._step(backward, x.to(self.device))
            self.pyro_checks = False
            self.state.batch += 1
            bar.update()
            if stop.reason:
                self.save()
                return
            if time.monotonic() - self.saved_at > CHECKPOINT_EVERY_SECONDS:
                self.save()

    def _step(self, backward: Callable, x: Tensor) -> None:
        state = self.state
        loss = self._loss_and_gradients(backward, x)
        norm, action = self.gradient_step(1 / len(x))
        state.step += 1
        state.add(objective=-loss, data=len(x), **{action: 1})
        if action != "skipped":
            state.add(grad_norm=norm)
        elif self.gradient_step.skipped_in_a_row >= self.gradient_step.settings.max_skipped:
            raise TrainingDiverged(
                f"{self._where()}: {self.gradient_step.skipped_in_a_row} steps in a row were "
                f"skipped, the last with gradient norm {norm:.4g}; {self._last_good()}"
            )

    def _loss_and_gradients(self, backward: Callable, x: Tensor) -> float:
        try:
            loss = backward(x)
        except ValueError:
            # Pyro's checks of the first batch find NaN before the loss does.
            where = first_not_finite(self.model, self.guide, x, self.objective.num_particles)
            if where is None:
                raise
        else:
            if math.isfinite(loss):
                return loss
            where = first_not_finite(self.model, self.guide, x, self.objective.num_particles)
        data = "" if torch.isfinite(x).all() else " (nor are the data of this batch)"
        raise TrainingDiverged(
            f"{self._where()}: {where or 'the bound'} is not finite{data}; {self._last_good()}"
        )

    def betas(self) -> dict[str, float]:
        """beta of every annealed level at this step."""
        done = self.state.epoch * len(self.batches) + self.state.batch
        share = done / (self.epochs * len(self.batches))
        return {name: schedule(share) for name, schedule in self.schedules.items()}

    def _close_epoch(self, bar: tqdm) -> None:
        """Write the row of the epoch that was trained (row 0: of the untrained pair), and save."""
        state = self.state
        row = {
            "epoch": state.epoch,
            "step": state.step,
            "num_particles": self.objective.num_particles,
            "lr": self.gradient_step.settings.lr,
        }
        row |= {f"beta_{name}": beta for name, beta in self.betas().items()}
        row |= state.training_columns()
        row |= self._validation_columns()
        state.history.append(row)
        state.sums = {}
        self.save()
        self.on_epoch(state.history)
        if not bar.disable:
            bar.write(format_row(row))

    def _validation_columns(self) -> Row:
        if self.valid is None:
            return {}
        particles = self.objective.num_particles
        with own_generators(), pyro.validation_enabled(False):
            torch.manual_seed(VALIDATION_SEED)
            figures = evaluate(
                self.model, self.guide, self.valid.to(self.device), khat=False,
                num_particles=particles, bound_particles=particles,
            )  # fmt: skip
        summary = figures.summary()
        names = ("elbo", "bound", "reconstruction", *(f"kl_{name}" for name in figures.kl), "ess")
        return {name: summary[name]["mean"] for name in names}

    def save(self) -> None:
        self.saved_at = time.monotonic()
        if self.checkpoint is None:
            return
        content = {
            "model": self.model.state_dict(),
            "guide": self.guide.state_dict(),
            "optimiser": self.gradient_step.state_dict(),
            "progress": asdict(self.state),
            "generators": generator_states(self.device),
            "plan": self._plan(),
        }
        save_checkpoint(self.checkpoint, content)

    def load(self) -> None:
        content = load_checkpoint(self.checkpoint, self.device, parts=CHECKPOINT_PARTS)
        load_weights(self.model, content["model"], "model", self.checkpoint)
        load_weights(self.guide, content["guide"], "guide", self.checkpoint)
        for name, value in self._plan().items():
            stored = content["plan"].get(name)
            if value != stored:
                raise InputError(
                    f"{self.checkpoint} was trained with {name} = {stored}, this run has {value}; "
                    "an exact resume needs the same"
                )
        self.gradient_step.load_state_dict(content["optimiser"])
        self.state = Progress(**content["progress"])
        set_generator_states(content["generators"], self.device)

    def _plan(self) -> dict[str, object]:
        """What an exact resume must find as it was."""
        settings = self.gradient_step.settings
        return {
            "rows of data": len(self.batches.data),
            "batch size": self.batches.batch_size,
            "seed": self.batches.seed,
            "binarize": self.batches.binarize,
            "lr": settings.lr,
            "betas": tuple(settings.betas),
            "eps": settings.eps,
        }

    def _where(self) -> str:
        return f"step {self.state.step + 1} (epoch {self.state.epoch + 1})"

    def _last_good(self) -> str:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return "there is no checkpoint"
        return f"the last good checkpoint is {self.checkpoint}"
