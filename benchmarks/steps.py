"""One training step (loss, gradient, optimiser) of a case, as torch and Pyro users take it.

A builder takes a case and the number of particles and returns ``step(x)``, which trains a copy of
the case's parameters. Every step reads the loss back, as a loop that logs it does.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from torch import Tensor, nn

import pyro_vae
from benchmarks.cases import Case
from pyro_vae.objectives import default_kept
from pyro_vae.training import Gradients, GradientStep, default_chunk_size

Step = Callable[[Tensor], object]


def bare(case: Case, num_particles: int) -> Step:
    """The reference: the twin, eager, with fused Adam."""
    twin = case.twin()
    return step_of_loss(twin, twin, num_particles)


def bare_compiled(case: Case, num_particles: int) -> Step:
    """The twin's loss under ``torch.compile``; Adam as in the reference."""
    twin = case.twin()
    return step_of_loss(twin, compiled_loss(twin), num_particles)


def compiled_loss(twin: nn.Module) -> Callable[[Tensor, int], Tensor]:
    """``torch.compile`` in its default mode, one graph for each shape."""
    torch._dynamo.reset()  # every twin is another graph of one function; few are kept at a time
    return torch.compile(twin, dynamic=False)


def step_of_loss(
    twin: nn.Module, loss_function: Callable[[Tensor, int], Tensor], num_particles: int
) -> Step:
    """Fused Adam on ``loss_function(x, num_particles)``, which reads the twin's parameters."""
    adam = torch.optim.Adam(twin.parameters(), fused=True)

    def step(x: Tensor) -> float:
        adam.zero_grad()
        loss = loss_function(x, num_particles) / len(x)
        loss.backward()
        adam.step()
        return loss.item()

    return step


def ours(
    case: Case,
    num_particles: int,
    compiled: bool = False,
    thin: bool = False,
    precision: str = "float32",
) -> Step:
    """This library's step as ``pyro_vae.fit`` takes it: gradient, clipping, fused Adam.

    Args:
        compiled: the gradient as one compiled graph.
        thin: only few of the particles are differentiated (all are weighted).
        precision: of matrix products.
    """
    if thin and num_particles == 1:
        raise NotImplementedError("one particle cannot be thinned")
    model, guide = case.pair()
    kept = default_kept(num_particles) if thin else None
    objective = pyro_vae.IWAE(num_particles, thin=kept)
    gradients = Gradients(objective, model, guide, default_chunk_size(model), precision)
    gradient_step = GradientStep([model, guide], pyro_vae.OptimiserSettings())
    prepared = False

    def step(x: Tensor) -> None:
        nonlocal prepared
        if not prepared:  # as fit does after its probe
            gradients.compile(x, compiler=compiled)
            prepared = True
        gradient_step(len(x), gradients(x).value.item())

    return step


def pyro_renyi(case: Case, num_particles: int) -> Step:
    """Pyro's own IWAE loss under Pyro's own SVI, on the same programs."""
    svi = pyro.infer.SVI(
        *pyro_vae.for_svi(*case.pair()), pyro.optim.Adam({"lr": 1e-3}), loss=renyi(num_particles)
    )
    return svi.step


def renyi(num_particles: int) -> pyro.infer.RenyiELBO:
    """Pyro's Renyi bound of order 0, which is the IWAE bound, all particles at once."""
    return pyro.infer.RenyiELBO(
        alpha=0, num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True
    )
