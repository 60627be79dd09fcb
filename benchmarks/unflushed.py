"""What denormal numbers cost: steps of a trained pair with and without flushing them.

Weights of a trained pair are concentrated: those of losing particles underflow, and the gradients
of those particles are denormal numbers, on which CPUs are slow. Flushing is a setting of each
thread, inherited by threads started later, so the steps that do not flush live in a process of
their own, which waits while the others take theirs.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

import pyro_vae
from benchmarks.cases import Case
from benchmarks.steps import step_of_loss
from benchmarks.variants import VARIANTS, Prepared

UNFLUSHED = ("bare", "pyro-renyi", "ours")


def trained(case: Case, num_particles: int, batch: int, num_steps: int = 100) -> Case:
    """The case after ``num_steps`` steps of the bare loop at this k, on fresh batches."""
    torch.manual_seed(0)
    twin = case.twin()
    step = step_of_loss(twin, twin, num_particles)
    rows = case.data(20 * batch)
    for index in range(num_steps):
        start = index * batch % len(rows)
        step(rows[start : start + batch])
    return case.at(twin)


def effective_particles(case: Case, num_particles: int, x: Tensor) -> float:
    """Mean over data of the effective sample size: how concentrated the weights are."""
    with torch.no_grad():
        log_w = pyro_vae.log_weights(*case.pair(), x, num_particles).log_w
    return pyro_vae.diagnostics.effective_sample_size(log_w).mean().item()


@contextmanager
def in_own_process(variant: str, case: Case, num_particles: int, x: Tensor) -> Iterator[Prepared]:
    """The variant's step in a process that does not flush; called, it waits for one step."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    arguments = (theirs, variant, case, num_particles, x)
    worker = spawn.Process(target=_serve, args=arguments, daemon=True)
    worker.start()
    theirs.close()

    def step() -> object:
        ours.send("step")
        return ours.recv()

    try:
        yield step
    finally:
        ours.close()  # the worker's recv ends, and so does it
        worker.join()


def _serve(pipe, variant: str, case: Case, num_particles: int, x: Tensor) -> None:
    import pyro

    pyro.enable_validation(False)
    torch.set_flush_denormal(False)
    step: Callable[[], object] = VARIANTS[variant].prepare(case, num_particles, x)
    try:
        while True:
            pipe.recv()
            step()
            pipe.send(None)
    except EOFError:
        return
