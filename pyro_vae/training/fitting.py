"""fit(): trains a model and guide under an objective, with validation, checkpoints and resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyro.infer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pyro_vae.datasets import Augmentation, Batches
from pyro_vae.datasets.far_rows import FarRows, rows_of_loader
from pyro_vae.errors import InputError, check_count, check_positive
from pyro_vae.objectives import IWAE, make_objective
from pyro_vae.programs import check_same_levels
from pyro_vae.programs.models import Generative
from pyro_vae.programs.networks import has_convolutions
from pyro_vae.programs.networks.folding import AT_ONCE
from pyro_vae.rows import as_arguments, as_data
from pyro_vae.torch_state import flushed_denormals, keep_freed_memory, own_generators, reseed
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.interruption import stop_on_signals
from pyro_vae.training.loop import Run
from pyro_vae.training.optimisation import GradientStep, OptimiserSettings
from pyro_vae.training.progress import FitResult, Row
from pyro_vae.training.schedules import LrSchedule, Schedule, default_annealing
from pyro_vae.training.stored import trainable_pair

# Buffers of more particles are returned to the system after every step and faulted back: at 20 000
# particles times data that takes a third of a step.
CPU_CHUNK = 5_000


def fit(
    model: Callable,
    guide: Callable,
    train: Tensor | FarRows | DataLoader,
    *,
    valid: Tensor | None = None,
    objective: pyro.infer.ELBO | str | tuple[str, Mapping[str, Any]] | None = None,
    epochs: int = 10,
    batch_size: int = 100,
    optimiser: OptimiserSettings | None = None,
    lr_schedule: LrSchedule | None = None,
    binarise: str | None = None,
    augment: Augmentation | None = None,
    annealing: Mapping[str, Schedule] | None = None,
    seed: int = 0,
    compile: bool | None = None,
    chunk_size: int | None = None,
    precision: str = "auto",
    max_minutes: float | None = None,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_start: Callable[[], None] = lambda: None,
    on_epoch: Callable[[list[Row]], None] = lambda history: None,
    progress: bool = True,
) -> FitResult:
    """Train a pair in place.

    Args:
        model, guide: Pyro programs with one data plate: modules of this library or any, methods of
            modules, or functions, of which the parameters in Pyro's store are trained; they stay on
            their device.
        train, valid: data (N, D): anything that :func:`pyro_vae.rows.as_data` takes, but for
            tuples. With ``valid`` each epoch, and the start, is judged on it. ``train`` may be a
            ``DataLoader`` of torch, whose data set, collate function and workers load the batches;
            ``seed`` says which rows make one. Or rows that stay in their file, see
            :mod:`pyro_vae.datasets.far_rows`.
        objective: a ``pyro.infer.ELBO``, a name of :func:`pyro_vae.make_objective` ("iwae"), or a
            name with its settings (("renyi", {"alpha": 0.5, "num_particles": 10})); default
            ``IWAE(num_particles=50)``.
        lr_schedule: the learning rate as a function of the share of training done, in [0, 1],
            instead of the optimiser's constant one: :func:`pyro_vae.training.schedules.stages`, or
            any function. One whose attribute ``counts_steps`` is true, such as
            :class:`pyro_vae.training.schedules.Decay`, is called with the number of steps taken. A
            resume wants the same rates; their stages are those of ``epochs``.
        binarise: None, "epoch" or "access": draw 0/1 pixels from ``train`` read as probabilities.
        augment: flips and shifts of the training images, a function of seed, epoch and batch:
            ``Augmentation(flip=True, shift=2).of(data.image_shape)``. ``valid`` stays as it is.
        annealing: level -> schedule of beta over the share of training done; default that of
            Vas 2024 (z2 from 0.1 to 1 over the first half), none for models with convolutions;
            ``{}`` for none.
        seed: of data order, binarisation and particles. The same seed gives the same numbers on the
            CPU. The caller's global generators are left as they were.
        compile: run the step as one compiled graph: True wherever that works, False never, None
            (default) where it also pays, which a probe on the first batch finds out and says: the
            compiler is expected to take less time than it saves in the steps that are left. The
            graph's gradient is the plain one on the same noise, up to rounding, and is compared
            with it before it is used.
        chunk_size: particles times data run at once, see :class:`pyro_vae.training.Gradients`.
            Default: 5000 for this library's models on a CPU (500 for those with convolutions, whose
            maps are large), where smaller buffers are faster as well; all for other programs, whose
            plates may subsample the batch, and on a GPU.
        precision: of matrix products in training: "float32", "tf32" (GPU), "bf16", or "auto"
            (default), which takes bf16 in runs that are long enough to ask, on machines that
            multiply such numbers, where a step is faster by a tenth and the bound of the first
            batch moves by less than its standard error (:mod:`pyro_vae.training.bfloat16`). What
            it takes, or its effect on that bound, is printed and kept in the checkpoint, which a
            resume follows. Reported bounds are always in float32.
        max_minutes: stop after this long, with a checkpoint.
        patience: stop after so many epochs without a better L_k of ``valid``, which it wants. The
            pair is given the weights of its best epoch when the call ends, however it ends; the
            checkpoint has those and the last ones, from which a resume goes on. See
            :class:`pyro_vae.training.early_stopping.EarlyStopping`. None: train to the end, and
            keep the last weights.
        checkpoint: file to save to after every epoch, every five minutes and at a stop.
        resume: continue from that file, bit for bit on the CPU.
        on_start: called when all is checked and loaded, before the first step.
        on_epoch: called with the history after every epoch.

    Returns:
        :class:`FitResult`. Ctrl-C, SIGTERM and ``max_minutes`` end it cleanly between two steps.

    Raises:
        InputError: bad arguments, data that cannot be read, parameters that nothing would train, or
            a checkpoint that does not fit.
        TrainingDiverged: a loss that is not finite, or nothing but skipped steps.
    """
    objective = _objective(objective)
    train = _training_rows(train, model, guide, batch_size)
    valid = None if valid is None else _rows(valid, model, guide, "valid")
    check_count("epochs", epochs)
    if max_minutes is not None:
        check_positive("max_minutes", max_minutes)
    if patience is not None:
        check_count("patience", patience)
        if valid is None:
            raise InputError("patience waits for a better bound of validation data; give valid")
    if resume and checkpoint is None:
        raise InputError("resume=True wants the checkpoint to resume from")
    if lr_schedule is not None and not callable(lr_schedule):
        raise InputError(f"lr_schedule must be a function of the share done, got {lr_schedule!r}")
    check_count("batch_size", batch_size)
    pair = trainable_pair(model, guide, train[:batch_size], seed)
    if compile is None and not all(isinstance(part, nn.Module) for part in pair):
        compile = False  # a graph would hold the values in Pyro's store, not the parameters
    check_same_levels(*pair)
    if chunk_size is None:
        chunk_size = default_chunk_size(pair[0])
    gradient_step = GradientStep(pair, optimiser or OptimiserSettings(), lr_schedule)
    # Data in memory stay on the device: batches are cut there, and nothing is copied per step.
    batches = Batches(
        train if isinstance(train, FarRows) else train.to(gradient_step.device),
        batch_size,
        seed=seed,
        binarise=binarise,
        augment=augment,
    )
    run = Run(
        gradients=Gradients(objective, *pair, chunk_size, precision),
        batches=batches,
        valid=None if valid is None else valid.to(gradient_step.device),
        epochs=epochs,
        gradient_step=gradient_step,
        schedules=_schedules(pair[0], annealing),
        checkpoint=None if checkpoint is None else Path(checkpoint),
        compile=compile,
        on_epoch=on_epoch,
        patience=patience,
    )
    keep_freed_memory()
    with own_generators(), flushed_denormals(), stop_on_signals(max_minutes) as stop:
        reseed(seed, 0, run.processes.rank)
        if resume:
            run.load()
        on_start()
        return run.train(stop, progress)


def _objective(
    objective: pyro.infer.ELBO | str | tuple[str, Mapping[str, Any]] | None,
) -> pyro.infer.ELBO:
    if objective is None:
        return IWAE(num_particles=50)
    if isinstance(objective, pyro.infer.ELBO):
        return objective
    if isinstance(objective, str):
        return make_objective(objective)
    match objective:
        case (str(name), Mapping() as settings):
            return make_objective(name, **settings)
    is_class = isinstance(objective, type)
    hint = f"; a class is called first: {objective.__name__}(50)" if is_class else ""
    raise InputError(
        "objective must be a pyro.infer.ELBO such as pyro_vae.IWAE(50), a name such as 'iwae', or "
        f"a name with its settings such as ('renyi', {{'alpha': 0.5}}), got {objective!r}{hint}"
    )


def _training_rows(
    x: Tensor | FarRows | DataLoader, model: Callable, guide: Callable, batch_size: int
) -> Tensor | FarRows:
    """The data in memory as one tensor, others as they are read."""

    def rows(batch: Tensor) -> Tensor:
        flat = isinstance(model, Generative) and isinstance(batch, Tensor) and batch.ndim > 2
        return _rows(batch.flatten(1) if flat else batch, model, guide, "train")

    if isinstance(x, DataLoader):
        return rows_of_loader(x, batch_size, rows)
    if isinstance(x, FarRows):
        wanted = _rows(x[:1], model, guide, "train").dtype
        if x[:1].dtype != wanted:
            raise InputError(f"rows in a file are {x[:1].dtype}, and the programs read {wanted}")
        return x
    return _rows(x, model, guide, "train")


def _rows(x: Tensor, model: Callable, guide: Callable, what: str) -> Tensor:
    """The data as one tensor that the programs read."""
    parts = as_arguments(as_data(x, model, guide, what=what))
    if len(parts) > 1:
        raise InputError(
            f"{what} is a tuple of {len(parts)} arrays, but fit trains programs of one argument; "
            "train programs of several with pyro.infer.SVI and pyro_vae.for_svi"
        )
    if isinstance(model, Generative):
        model.check_rows(parts[0], what)
    return parts[0]


def default_chunk_size(model: nn.Module) -> int | None:
    """Particles times data that a training step runs at once; None for all."""
    if not isinstance(model, Generative):
        return None
    if next(model.parameters()).device.type != "cpu":
        return None
    return AT_ONCE if has_convolutions(model) else CPU_CHUNK


def _schedules(model: nn.Module, annealing: Mapping[str, Schedule] | None) -> dict[str, Schedule]:
    names = getattr(model, "latent_names", None)
    if annealing is None:  # networks of images take z2 up without it
        return {} if has_convolutions(model) else {**default_annealing(len(names or ()))}
    for name, schedule in annealing.items():
        if not callable(schedule):
            raise InputError(
                f"annealing of {name!r} must be a function of the share of training done, such as "
                f"pyro_vae.LinearWarmUp(0.1, 1.0, 0.5), got {schedule!r}"
            )
        if names is not None and name not in names:
            raise InputError(f"cannot anneal {name!r}; the model's levels: {', '.join(names)}")
    return dict(annealing)
