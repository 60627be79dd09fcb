"""Inpainting: hidden pixels of a patch filled in from the visible ones, by a pair and linearly.

Pixels are hidden in the rows that models see (whitened patches): the training mean, grey, is put in
their place. Two things to know before the errors are read:

* Low-pass whitened rows are linear combinations of fewer components than they have pixels, so the
  visible pixels can determine the hidden ones by linear algebra alone. The conditional mean from
  the training covariance (``linear``) then has almost no error, which says nothing about images.
  The baseline that knows what a model of fixed noise knows is the conditional mean for visible
  pixels seen through that noise (``linear_noise``).
* A row with a hole is no row that the guide was trained on, and sweeps of an approximate guide have
  no distribution that they must settle at (Mattei and Frellsen 2018,
  https://arxiv.org/abs/1802.04826): those of trained pairs come nearer to the hidden pixels at
  first, then drift off. When to stop is told by validation patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.measures.by_name import Named
from analysis.measures.occlusion import (
    centred_square,
    check_mask,
    linear_fill,
    squared_error,
    with_hidden,
)
from analysis.probes.decoder import expected_x
from analysis.probes.draws import CHUNK_SIZE, draws_of
from analysis.probes.visible_weights import PARTICLES, weighted_fill
from pyro_vae.errors import InputError, check_count
from pyro_vae.torch_state import flushed_denormals, own_generators

if TYPE_CHECKING:
    from analysis.reporting.study import Subject

SWEEPS, CHAINS, SAMPLES = 20, 4, 64
WEIGHTED_WORK = 10  # patches times k, for each of the stimuli: q_EW costs k proposals per draw
EXAMPLES = 8
RUNAWAY = 1e6  # pixels have unit scale: a chain that gets here never returns


@torch.no_grad()
def feed_forward(
    model: Callable, guide: Callable, x: Tensor, num_samples: int = SAMPLES, *, seed: int = 0
) -> Tensor:
    """E[x | z] at draws z ~ q(z | x) of the rows as they are: (num_samples, N, D).

    Their mean is what a reader says who takes the occluded row for a whole one.
    """
    check_count("num_samples", num_samples, minimum=2)
    done = []
    with own_generators(), flushed_denormals():
        torch.manual_seed(seed)
        for rows in x.split(max(1, CHUNK_SIZE // num_samples)):
            done.append(expected_x(model, draws_of(model, guide, rows, num_samples), rows))
    return torch.cat(done, 1)


@torch.no_grad()
def impute(
    model: Callable,
    guide: Callable,
    x: Tensor,
    hidden: NDArray[np.bool_],
    *,
    sweeps: int = SWEEPS,
    chains: int = CHAINS,
    k: int = 1,
    limit: float | None = None,
    seed: int = 0,
) -> Tensor:
    """Hidden pixels filled in by turns: z ~ q(z | x), then x_h <- E[x_h | z] (Rezende et al. 2014).

    The chain keeps the visible pixels and starts at the hidden ones that x has. The decoder's noise
    is left out of what is filled in, since guides of noiseless data never saw it. Where model and
    posterior are linear-Gaussian and the guide is the posterior, the chain's stationary mean is
    E[x_h | x_v]: the mean obeys the recursion of the Gibbs sampler, whose noise has mean zero.

    Args:
        x: (N, D) with the hidden pixels at their start, or (chains, N, D) with a start per chain.
        hidden: (D,) booleans. k: particles; above 1, z is drawn from q_EW (k proposals per draw).
        limit: largest absolute value that is filled in, against chains that run away.

    Returns:
        (sweeps, chains, N, H): E[x_h | z] after each sweep.

    Raises:
        InputError: a mask that does not fit, fewer than 2 chains, or sweeps that diverge.
    """
    check_count("sweeps", sweeps)
    check_count("chains", chains, minimum=2)
    mask = torch.as_tensor(check_mask(hidden, x.shape[-1]))
    state = x.expand(chains, *x.shape[-2:]).clone()
    path = []
    with own_generators(), flushed_denormals(), refusals("what the sweeps fill in"):
        torch.manual_seed(seed)
        for _ in range(sweeps):
            rows = state.flatten(0, 1)
            filled = expected_x(model, draws_of(model, guide, rows, k=k), rows)[0][:, mask]
            if limit is not None:
                filled = filled.clamp(-limit, limit)
            if not (filled.abs() < RUNAWAY).all():
                raise InputError(f"the sweeps diverge: hidden pixels exceed {RUNAWAY:g}")
            state[..., mask] = filled.unflatten(0, state.shape[:2])
            path.append(state[..., mask])
    return torch.stack(path)


def inpaint(
    subject: Subject,
    *,
    sweeps: int = SWEEPS,
    num_samples: int = SAMPLES,
    num_particles: int = PARTICLES,
) -> Named:
    """Errors of inpainting a centred square of natural test patches, patch by patch.

    Args:
        sweeps: of :func:`impute`. num_samples: of :func:`feed_forward`. num_particles: of
            :func:`weighted_fill`.

    Returns:
        ``hidden`` (D,) mask; squared errors (N,) in squared units of the rows, mean over the hidden
        pixels: ``error_grey`` (filled with the training mean), ``error_linear`` and
        ``error_linear_noise`` (:func:`linear_fill`; the latter where the model has a fixed noise),
        ``error_seen`` (decoded from whole rows: the floor), ``error_feedforward``,
        ``error_sweeps`` (:func:`impute`, mean over chains after ``stop`` sweeps, the number with
        the smallest error on as many validation patches), ``error_weighted``
        (:func:`weighted_fill` on what the sweeps filled in) with its ``ess`` (N,), and, for
        importance-weighted runs, ``error_sweeps_ew`` (n <= N, the first patches) under q_EW with
        its own ``stop_ew``; ``course`` (sweeps,), mean error of the sweeps over test patches, and
        ``course_ew``; examples (8, D): ``rows_true``, and ``rows_`` of grey, linear,
        linear_noise, feedforward and sweeps.

    Raises:
        InputError: rows are no images, fewer than 2 test or validation patches, diverging sweeps.
    """
    model, guide, data = subject.run.model, subject.run.guide, subject.natural
    seed, number = subject.settings.seed, subject.settings.stimuli
    hidden = centred_square(data.image_shape)
    x, valid = data.test[:number], data.valid[:number]
    if min(len(x), len(valid)) < 2:
        raise InputError(
            f"inpainting wants at least 2 test and 2 validation patches, got {len(x)} and "
            f"{len(valid)}"
        )
    train, rows = data.train_in_memory.numpy(), x.numpy()
    mask, truth = torch.as_tensor(hidden), rows[:, hidden]
    average = data.train_in_memory.mean(0)
    limit = float(data.train_in_memory.abs().max())

    def swept(k: int, most: int) -> tuple[Tensor, NDArray, int]:
        """Fillings of the first test patches, their course, and when validation says stop."""
        paths = [
            impute(
                model,
                guide,
                torch.where(mask, average, part[:most]),
                hidden,
                sweeps=sweeps,
                k=k,
                limit=limit,
                seed=seed + place,
            )
            for place, part in enumerate((x, valid))
        ]
        courses = [
            np.array([squared_error(filled, part[:most, mask]).mean() for filled in path])
            for path, part in zip(paths, (x, valid), strict=True)
        ]
        stop = int(courses[1].argmin())
        return paths[0][stop], courses[0], stop + 1

    grey = torch.where(mask, average, x)
    fills = Named(grey=grey.numpy()[:, hidden], linear=linear_fill(train, rows, hidden))
    noise = getattr(getattr(model, "likelihood", None), "noise", None)
    if noise is not None:
        fills.update(linear_noise=linear_fill(train, rows, hidden, noise))
    found = {f"error_{name}": ((fill - truth) ** 2).mean(1) for name, fill in fills.items()}
    seen = feed_forward(model, guide, x, num_samples, seed=seed)[..., mask]
    read_off = feed_forward(model, guide, grey, num_samples, seed=seed)[..., mask]
    swept_q, course, stop = swept(1, number)
    filled = grey.clone()
    filled[:, mask] = swept_q.mean(0)
    weighted, ess = weighted_fill(model, guide, filled, hidden, num_particles, seed=seed)
    for name, estimates in (
        ("seen", seen),
        ("feedforward", read_off),
        ("sweeps", swept_q),
        ("weighted", weighted),
    ):
        found[f"error_{name}"] = squared_error(estimates, truth)
    found |= {"ess": ess.numpy(), "course": course, "stop": np.array(stop)}
    if subject.weighted:
        most = min(number, max(2, WEIGHTED_WORK * number // subject.proposals))
        swept_ew, course, stop = swept(subject.proposals, most)
        found |= {
            "error_sweeps_ew": squared_error(swept_ew, truth[:most]),
            "course_ew": course,
            "stop_ew": np.array(stop),
        }
    fills |= {"feedforward": read_off.mean(0).numpy(), "sweeps": swept_q.mean(0).numpy()}
    examples = {
        f"rows_{name}": with_hidden(rows[:EXAMPLES], hidden, fill[:EXAMPLES])
        for name, fill in fills.items()
    }
    return Named(hidden=hidden, rows_true=rows[:EXAMPLES], **found, **examples)


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Says in one line what a pair could not read: parameters that overflow far from its data."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"the pair cannot read {what}: {reason[:200]}") from error
