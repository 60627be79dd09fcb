"""Another prior for a trained pair, fitted to draws of its own q(z | x): what it is worth.

The ELBO is E_q[log p(x | z)] - E_q[log q(z | x)] + E_q[log p(z)], and a prior enters its last term
alone. With model and guide held fixed the best prior is therefore the density that fits the
aggregated posterior q(z) = E_x q(z | x) best (Tomczak and Welling 2018, section 2,
https://arxiv.org/abs/1705.07120; fitted after training: Ghosh et al. 2020,
https://arxiv.org/abs/1903.12436), and what is gained is a fall of KL(q(z) || p(z)): the headroom
that a prior has left, which the surgery of the ELBO only bounds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.datasets.seeding import torch_generator
from pyro_vae.errors import InputError, TrainingDiverged, check_count, check_positive
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.options import read_part
from pyro_vae.programs.conditionals import FAMILIES
from pyro_vae.programs.priors import PRIORS, bind_
from pyro_vae.rows import as_data
from pyro_vae.torch_state import evaluating, flushed_denormals, own_generators
from pyro_vae.training.optimisation import GradientStep, OptimiserSettings
from pyro_vae.training.schedules import Cosine
from pyro_vae.training.top_draws import TopDraws
from pyro_vae.weights.densities import log_prob_at

STEPS, BATCH = 1_500, 250
RATE, WARM_UP = 3e-3, 0.1  # of Adam, for priors that are networks; those of others are theirs
DRAWS = 10  # of q(z | x) per row that is judged
HELD_OUT = 0.1  # share of the rows that are judged, where nobody names them
MIN_ROWS = 10

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Refit(Generic[Model]):
    """A prior fitted to a trained pair's q(zL | x), and what it is worth; nats per datum.

    All means are over data; what is compared is compared on the same draws.

    Attributes:
        prior: the new one, fitted.
        model: the model with it; all other parts are the very ones of the model that was given.
        gain: E_q[log p_new(zL)] - E_q[log p_old(zL)] on rows that the prior was not fitted to, its
            standard error over these rows (paired). Nothing else of the ELBO depends on the prior,
            so it is the gain in ELBO as well, and the fall of the marginal KL.
        gain_fitted: the same on as many of the rows that it was fitted to. Where it is larger by
            more than its error the new prior knows single rows: fewer components help, or fewer
            steps.
        before, after: E_q[-log p(zL)] under both priors, on the rows not fitted to.
        num_fitted, num_held_out: rows that were fitted to, and judged.
        steps, lr: of the optimiser.
    """

    prior: nn.Module
    model: Model
    gain: Mean
    gain_fitted: Mean
    before: Mean
    after: Mean
    num_fitted: int
    num_held_out: int
    steps: int
    lr: float


def refit_prior(
    model: Model,
    guide: Callable,
    x: Tensor,
    prior: str | nn.Module,
    *,
    held_out: Tensor | None = None,
    steps: int = STEPS,
    lr: float | None = None,
    binarise: str | None = None,
    seed: int = 0,
    on_step: Callable[[], object] = lambda: None,
) -> Refit[Model]:
    """Fits another prior of the top level to draws of q(zL | x), all else held fixed.

    Maximises ``E_x E_q(zL | x) [log p(zL)]`` by Adam along a cosine after a warm-up, over batches
    of 250 rows with new draws each time, and judges it on other rows. Rows that stay as they are
    are encoded once for several epochs, since the guide of images costs more than the prior.

    Args:
        model: with a module ``prior`` that gives p(zL) when called, as ``HierarchicalVAE`` has; it
            is left as it is.
        guide: draws every latent of it.
        x: rows to fit to (N, D); anything that :func:`pyro_vae.rows.as_data` takes, but for tuples.
        prior: ``NAME`` or ``NAME:key=value`` as ``--prior`` takes it, or a prior of your own, which
            is fitted in place.
        held_out: rows the gain is measured on, pixels that are drawn already. By default a tenth
            of x, drawn by ``seed``, which is not fitted to then.
        steps: of the optimiser.
        lr: its largest learning rate; None for what the prior's kind had best: 0.003 for flows,
            0.03 for mixtures.
        binarise: how 0/1 pixels are drawn from rows of probabilities, see
            :class:`pyro_vae.datasets.Batches`; of held-out rows that are taken from x as well.
        seed: of the new prior, the batches and the draws; the global generators are put back, and
            on the CPU a seed gives the same prior to the last bit.
        on_step: called after every step.

    Raises:
        InputError: a prior that has nothing to fit, other units than the old one or a flow without
            an inverse, a model without a prior, fewer than ten rows, a number out of range.
        TrainingDiverged: a density that is not finite.
    """
    top = _top_of(model)
    check_count("steps", steps)
    if lr is not None:
        check_positive("lr", lr)
    fitted, judged = _split(_rows(x, model, guide, "x"), held_out, seed)
    judged = _rows(judged, model, guide, "held_out")
    old: Any = model.prior
    with own_generators(), flushed_denormals(), evaluating(model, guide):
        torch.manual_seed(seed)
        new = _made(prior, model, guide, fitted)
        new.to(fitted)  # its device and floating type
        draws = TopDraws(guide, top, old().event_shape.numel(), binarise, seed)
        lr = getattr(new, "refit_rate", RATE) if lr is None else lr
        _fit(new, draws.batches(fitted, BATCH, steps), steps, lr, on_step)
        new.eval()
        same = fitted[_some(len(fitted), len(judged), seed)]
        torch.manual_seed(seed)  # every prior of a seed is judged on the same draws
        drawn_already = replace(draws, binarise=None if held_out is not None else binarise)
        pairs = _log_densities(old, new, drawn_already, judged)
        pairs_fitted = _log_densities(old, new, draws, same)
    return Refit(
        prior=new,
        model=with_prior(model, new),
        gain=mean_and_error(pairs[1] - pairs[0]),
        gain_fitted=mean_and_error(pairs_fitted[1] - pairs_fitted[0]),
        before=mean_and_error(-pairs[0]),
        after=mean_and_error(-pairs[1]),
        num_fitted=len(fitted),
        num_held_out=len(judged),
        steps=steps,
        lr=lr,
    )


def with_prior(model: Model, prior: nn.Module) -> Model:
    """The model with another prior; all other parts are the very same."""
    other = copy.copy(model)
    other._modules = dict(model._modules)  # a shallow copy shares the table of its parts
    other.prior = prior
    return other


def _top_of(model: nn.Module) -> str:
    names = getattr(model, "latent_names", ())
    if not isinstance(getattr(model, "prior", None), nn.Module) or not names:
        raise InputError(
            f"{type(model).__name__} has no module 'prior' with the names of its latents, as "
            "HierarchicalVAE has: there is nothing to put another prior in the place of"
        )
    return names[-1]


def _rows(x: Tensor, model: nn.Module, guide: Callable, what: str) -> Tensor:
    rows = as_data(x, model, guide, what=what)
    if isinstance(rows, tuple):
        raise InputError(f"{what} is a tuple; refit_prior wants programs of one argument")
    return rows


def _split(rows: Tensor, held_out: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to fit to, and rows to judge."""
    short = [rows] if len(rows) < MIN_ROWS else []
    if held_out is not None and len(held_out) < 2:
        short.append(held_out)
    if short:
        few = len(short[0])
        raise InputError(
            f"{few} rows are too few to refit a prior: at least {MIN_ROWS} to fit to and 2 to judge"
        )
    if held_out is not None:
        return rows, held_out
    order = torch.randperm(len(rows), generator=torch_generator(seed, "refit", "held out"))
    count = max(2, round(HELD_OUT * len(rows)))
    order = order.to(rows.device)
    return rows[order[count:].sort().values], rows[order[:count].sort().values]


def _some(number: int, most: int, seed: int) -> Tensor:
    """At most so many places of ``number``, in their order."""
    order = torch.randperm(number, generator=torch_generator(seed, "refit", "some"))
    return order[:most].sort().values


def _made(prior: Any, model: nn.Module, guide: Any, rows: Tensor) -> nn.Module:
    """The new prior before it is fitted."""
    old: Any = model.prior
    if isinstance(prior, str):
        made, settings = read_part("prior", prior, PRIORS)
        prior = made(old.features, family_of(old), **settings)
        bind_(prior, guide, rows, getattr(model, "likelihood", None))
    if not any(parameter.requires_grad for parameter in prior.parameters()):
        raise InputError(
            f"{type(prior).__name__} has no parameter to fit; allowed: "
            f"{', '.join(name for name in PRIORS if name != 'standard')}"
        )
    shape, wanted = tuple(prior().event_shape), tuple(old().event_shape)
    if shape != wanted:
        raise InputError(f"the new prior has units of shape {shape}, the model's has {wanted}")
    return prior


def family_of(prior: nn.Module) -> str:
    """The family of a prior's units by its name; normal where it has none."""
    known = {family: name for name, family in FAMILIES.items()}
    return known.get(getattr(prior, "family", None), "normal")


def _fit(
    prior: nn.Module,
    batches: Iterator[Tensor],
    steps: int,
    lr: float,
    on_step: Callable[[], object],
) -> None:
    step = GradientStep([prior], OptimiserSettings(lr=lr), Cosine(lr, WARM_UP))
    for number, z in enumerate(batches):
        loss = -_log_p(prior, z).sum()
        # The prior's own: one that calls the guide, as a VampPrior does, must not change it.
        loss.backward(inputs=step.parameters)
        step.follow_schedule((number + 1) / (steps + 1))  # no rate of 0, at either end
        step(len(z), float(loss.detach()))
        if step.skipped_in_a_row >= step.settings.max_skipped:
            raise TrainingDiverged(
                f"step {number + 1} of the refit: the density of the prior is not finite"
            )
        on_step()


def _log_p(prior: nn.Module, z: Tensor) -> Tensor:
    return log_prob_at(prior(), z, f"the prior {type(prior).__name__}")


@torch.no_grad()
def _log_densities(old: nn.Module, new: nn.Module, draws: TopDraws, rows: Tensor) -> np.ndarray:
    """E_q[log p(zL)] of every row under the old and the new prior, (2, B), on the same draws."""
    columns = []
    for part in draws.pieces(rows, "judged"):
        z = draws(part, DRAWS)
        terms = [_log_p(prior, z).double().mean(0) for prior in (old, new)]
        columns.append(torch.stack(terms).cpu())
    found = torch.cat(columns, 1).numpy()
    if not np.isfinite(found[1]).all():
        raise TrainingDiverged("the density of the refitted prior is not finite at draws of q(z|x)")
    return found
