"""The gradient of an objective at a batch: plain or compiled, whole or in chunks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import pyro.infer
import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_count
from pyro_vae.objectives import (
    ImportanceWeightedELBO,
    Loss,
    check_objective_fits,
    loss_of,
    pyro_losses,
    sum_over_data,
)
from pyro_vae.rows import pieces
from pyro_vae.torch_state import generator_states, set_generator_states
from pyro_vae.training.graph import CompiledGradient
from pyro_vae.training.precision import check_precision, matrix_products
from pyro_vae.weights.handlers import anneal
from pyro_vae.weights.log_weights import run_pair
from pyro_vae.weights.module_parts import batch_normalisers, check_whole_batches
from pyro_vae.weights.repeats import Beginning, torch_noise_only


class Gradients:
    """Adds an objective's gradients to the parameters of a pair.

    >>> gradients = Gradients(pyro_vae.IWAE(50), model, guide)
    >>> loss = gradients(x)  # nats, summed over the data

    Args:
        objective: this library's, or any ``pyro.infer.ELBO``.
        chunk_size: particles times data run at once, None for all. Data are split first, which
            changes nothing but the order of the noise: bounds are per datum (objectives of the
            batch's mean KL are not, their batches stay whole). Only where num_particles >
            chunk_size are particles split too: a first pass without gradients weighs them, a
            second draws each chunk again from the generator's recorded state and adds its share.
            The gradient is exactly that of one pass on the same noise.
        precision: of matrix products, see :func:`pyro_vae.training.precision.matrix_products`;
            "auto" is float32 until :func:`pyro_vae.training.bfloat16.choose_precision` chooses.

    Running statistics are updated once per step, by what the programs run first. Layers that
    normalise by the batch want whole batches: their output for a datum depends on the others.

    Raises:
        InputError: analytic KL terms with a guide in which they are wrong; particles in chunks for
            an objective that cannot be split by particles, or thinned as well; when called, a batch
            in chunks for modules that normalise by it (batch normalisation in training mode).
    """

    def __init__(
        self,
        objective: pyro.infer.ELBO,
        model: nn.Module,
        guide: nn.Module,
        chunk_size: int | None = None,
        precision: str = "float32",
    ) -> None:
        check_objective_fits(objective, guide)
        self.objective: Any = objective  # one of Pyro's has less to it
        self.model, self.guide = model, guide
        parameters = (*model.parameters(), *guide.parameters())
        self.device = parameters[0].device if parameters else torch.device("cpu")
        self.precision = check_precision(precision, self.device)
        num_particles = objective.num_particles
        self.chunk_size = chunk_size
        self.rows = self.particles = None
        if chunk_size is not None:
            check_count("chunk_size", chunk_size)
            if getattr(objective, "per_datum", True):
                self.rows = max(1, chunk_size // num_particles)
            self.particles = chunk_size if num_particles > chunk_size else None
        if self.particles is not None:
            if not getattr(objective, "in_particle_chunks", False):
                raise InputError(
                    f"{num_particles} particles of {type(objective).__name__} do not fit into "
                    f"chunks of {chunk_size}, and it cannot be split into chunks of particles"
                )
            if getattr(objective, "thin", None) is not None:
                raise InputError(
                    f"thinned particles are run at once: use a chunk size of at least "
                    f"{num_particles}, or do not thin"
                )
        self.normalisers = batch_normalisers(model, guide)
        self.compiled: dict[tuple, CompiledGradient] = {}

    @property
    def can_compile(self) -> bool:
        """Whether one graph may hold the step."""
        return not self.not_compiled

    @property
    def not_compiled(self) -> str:
        """Why one graph cannot hold the step; "" where it may."""
        if not isinstance(self.objective, ImportanceWeightedELBO):
            return "Pyro's own losses are not"
        if not self.objective.compilable:
            return "a schedule changes the objective, which one graph cannot hold"
        if self.particles is not None:
            return "particle chunks are not"
        if not all(isinstance(program, nn.Module) for program in (self.model, self.guide)):
            return "a graph cannot reach what functions keep in Pyro's store; give modules"
        return ""

    def compile(
        self, x: Tensor, schedules: Iterable[Mapping[str, float]] = ({},), *, compiler: bool = True
    ) -> None:
        """Trace and compile the gradient for batches like x and for these betas' annealed levels.

        Without ``compiler`` the graph is traced only and run as it is. Other batches (the last,
        smaller one of an epoch) take the plain path. Raises whatever the compiler raises.
        """
        for rows in self._parts(x):
            for betas in schedules:
                key = self._key(rows, betas)
                if key not in self.compiled:
                    self.compiled[key] = CompiledGradient(
                        self.objective,
                        self.model,
                        self.guide,
                        rows,
                        betas,
                        self.precision,
                        compiler,
                    )

    def forget_compiled(self) -> None:
        """Go back to the plain path."""
        self.compiled.clear()

    def __call__(self, x: Tensor, betas: Mapping[str, float] | None = None) -> Loss:
        """Add the gradients at x to the parameters; the loss is detached, summed over the data."""
        betas = betas or {}
        first, *rest = self._parts(x)
        if rest:
            check_whole_batches(self.normalisers, f"a chunk size of {self.chunk_size}")
            beginning = Beginning(self.model, self.guide)
        loss = self._of_rows(first, betas)
        if not rest:
            return loss
        with beginning.buffers():
            losses = [(len(rows), self._of_rows(rows, betas)) for rows in rest]
        losses.append((len(first), loss))
        in_order = [loss for _, loss in (losses[-1], *losses[:-1])]  # of the rows
        lost = [loss.lost for loss in in_order if loss.lost is not None]
        return Loss(
            sum((loss.value for _, loss in losses), loss.value.new_zeros(())),
            sum(count * loss.kept_share for count, loss in losses) / len(x),
            torch.cat(lost) if lost else None,
        )

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """The batch in as few parts as the chunk size allows, whose sizes differ by at most one."""
        if self.rows is None or len(x) <= self.rows:
            return (x,)
        return x.tensor_split(-(-len(x) // self.rows))

    def _of_rows(self, x: Tensor, betas: Mapping[str, float]) -> Loss:
        compiled = self.compiled.get(self._key(x, betas)) if self.compiled else None
        if compiled is not None:
            return compiled(x, betas)
        with anneal(betas) as annealing, matrix_products(self.precision, self.device):
            loss = self._plain(x)
        if unmet := set(betas) - annealing.met:
            raise InputError(
                f"cannot anneal {', '.join(sorted(unmet))}: model and guide sample no such latent"
            )
        return loss

    def _plain(self, x: Tensor) -> Loss:
        if not isinstance(self.objective, ImportanceWeightedELBO):
            return pyro_losses.add_gradients(self.objective, self.model, self.guide, (x,))
        if self.particles is not None:
            return self._in_chunks(x)
        loss = self.objective.estimate(self.model, self.guide, (x,), {})
        loss.value.backward()
        return loss._replace(value=loss.value.detach())

    def _in_chunks(self, x: Tensor) -> Loss:
        objective = self.objective
        pair = self.model, self.guide, (x,), dict[str, Any]()
        sizes = pieces(objective.num_particles, self.particles or objective.num_particles)
        states, columns = [], list[Tensor]()
        beginning = Beginning(self.model, self.guide)
        with torch.no_grad(), torch_noise_only("chunks of particles are run twice"):
            for size in sizes:
                states.append(generator_states(x.device))
                with beginning.buffers() if columns else contextlib.nullcontext():
                    drawn = run_pair(*pair, size, reparameterised=True, analytic=objective.analytic)
                columns.append(objective.prepare(drawn).annealed_log_w)
            whole = objective.differentiate(torch.cat(columns))
        derivatives = whole.derivative.split(sizes)
        factors = [None] * len(sizes)
        if whole.gate_factor is not None:
            factors = whole.gate_factor.split(sizes)
        for size, state, derivative, factor in zip(
            sizes, states, derivatives, factors, strict=True
        ):
            set_generator_states(state, x.device)
            with beginning.buffers():
                live = objective.live(*pair, size)
            loss = loss_of(whole.bound, live.terms)
            surrogate = objective.surrogate(live, derivative, factor)
            (-sum_over_data(surrogate.masked_fill(loss.lost, 0.0), live.terms)).backward()
        return loss

    def _key(self, x: Tensor, betas: Mapping[str, float]) -> tuple:
        levels = CompiledGradient.annealed_levels(self.objective, betas)
        return x.shape, x.dtype, levels
