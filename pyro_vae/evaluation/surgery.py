"""The KL term taken apart: unit by unit, and into mutual information and marginal KL.

Sources: Hoffman and Johnson 2016
(http://approximateinference.org/2016/accepted/HoffmanJohnson2016.pdf); Isachenko 2019 (lecture
slides) for the split over all levels at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.statistics import mean_and_error
from pyro_vae.rows import Data, as_arguments, as_data, count_rows, split_rows
from pyro_vae.torch_state import evaluating, flushed_denormals
from pyro_vae.weights import traces
from pyro_vae.weights.densities import log_prob, log_prob_at, total
from pyro_vae.weights.handlers import SetValues
from pyro_vae.weights.log_weights import LogWeights, log_weights, read
from pyro_vae.weights.passes import passes
from pyro_vae.weights.preconditions import check_all_rows, closed_form_is_right
from pyro_vae.weights.unit_kl import unit_kl

CHUNK_SIZE = 10_000


@torch.no_grad()
def kl_per_unit(
    model: Callable,
    guide: Callable,
    x: Data,
    num_samples: int = 10,
    chunk_size: int = CHUNK_SIZE,
    *,
    per_datum: bool = False,
) -> dict[str, np.ndarray]:
    """KL(q_l || p_l) of every unit: level -> (D_l,) nats, mean over the data.

    ``E_q[KL(q(z_lu | ...) || p(z_lu | ...))]`` from ``num_samples`` draws of the parents per datum,
    in closed form where torch knows it; its sum over units is ``Evaluation.kl`` of the level. Where
    the guide draws levels in another order than the model (bottom-up chains) the closed form would
    be wrong, and the mean of log q - log p stands in: a guide's ``analytic_kl`` tells, else the
    order of its sites.

    Args:
        x: (N, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.
        num_samples: draws per datum.
        chunk_size: draws times data run at once.
        per_datum: return (N, D_l) instead of means.

    Raises:
        InputError: a level whose units are not independent given their parents (it is named).
    """
    x = as_data(x, model, guide)
    check_count("num_samples", num_samples)
    check_count("chunk_size", chunk_size)
    columns: dict[str, list[Tensor]] = {}
    with flushed_denormals(), evaluating(model, guide):
        for rows, sizes in passes(x, num_samples, chunk_size):
            sums: dict[str, Tensor] = {}
            for size in sizes:
                for name, kl in _of_units(model, guide, rows, size).items():
                    sums[name] = sums.get(name, 0.0) + kl.double().sum(0).cpu()
            for name, total in sums.items():
                # Rows are kept only where they were asked for.
                part = total if per_datum else total.sum(0, keepdim=True)
                columns.setdefault(name, []).append(part / num_samples)
    tables = {name: torch.cat(parts).numpy() for name, parts in columns.items()}
    if per_datum:
        return tables
    return {name: table.sum(0) / count_rows(x) for name, table in tables.items()}


def _of_units(model: Callable, guide: Callable, x: Data, size: int) -> dict[str, Tensor]:
    args = as_arguments(x)
    with traces.particles(size):
        drawn = traces.run(guide, args, {})
        scored = traces.run(model, args, {}, SetValues(traces.latent_values(drawn)))
    terms = read(scored, drawn)  # refuses what cannot be weighed per datum
    check_all_rows(terms.log_likelihood.shape[1], count_rows(x))
    sites = traces.sample_sites(drawn), traces.sample_sites(scored)
    analytic = closed_form_is_right(guide, *sites)
    return {name: unit_kl(drawn[name], scored[name], analytic=analytic) for name in terms.latents}


@dataclass(frozen=True)
class ElboSurgery:
    """ELBO = -distortion - mutual information - marginal KL; means over the data, nats.

    Attributes:
        rate: mean over n of KL(q(z | x_n) || p(z)), = mutual_information + marginal_kl.
        mutual_information: I_q(n; z) between a datum's number and its code, in [0, log N].
        marginal_kl: KL(q(z) || p(z)) of the aggregate q(z) = 1/N sum_n q(z | x_n).
        distortion: -E_q log p(x | z); of one level, minus all other terms of the ELBO.
        standard_errors: term -> standard error of the mean over the data, data and Monte Carlo
            together, for q(z) as it is.
        num_data: N.
        num_samples: draws per datum.
    """

    rate: float
    mutual_information: float
    marginal_kl: float
    distortion: float
    standard_errors: Mapping[str, float]
    num_data: int
    num_samples: int

    @property
    def elbo(self) -> float:
        """-(rate + distortion)."""
        return -(self.rate + self.distortion)

    @property
    def log_num_data(self) -> float:
        """log N, which the mutual information cannot exceed.

        Where it comes near, the marginal KL is too large, by what the information of more data
        would take from it: no headroom of a better prior, which ``pyro_vae.refit_prior`` measures.
        """
        return math.log(self.num_data)

    def __str__(self) -> str:
        def told(name: str) -> str:
            return f"{getattr(self, name):.2f} ± {self.standard_errors[name]:.2f}"

        return (
            f"rate {told('rate')} = mutual information {told('mutual_information')} (at most log N "
            f"= {self.log_num_data:.2f}) + marginal KL {told('marginal_kl')}; distortion "
            f"{told('distortion')}; nats, {self.num_data} data"
        )


@torch.no_grad()
def elbo_surgery(
    model: Callable,
    guide: Callable,
    x: Data,
    num_samples: int = 1,
    *,
    level: str | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> ElboSurgery:
    """Splits the KL of the ELBO into mutual information and marginal KL (Hoffman and Johnson 2016).

    With q(z) = 1/N sum_n q(z | x_n) over the given data and z = (z1, ..., zL) of all levels, as on
    the slides of Isachenko 2019::

        rate = E[sum_m q(m | z) (log q(z | x_m) - log p(z))]
        I_q(n; z) = log N - E H[q(n | z)] = E[sum_m q(m | z) log q(m | z)] + log N
        KL(q(z) || p(z)) = E[log q(z) - log p(z)]

    the expectations over ``num_samples`` draws of every q(z | x_n), with q(m | z) = q(z | x_m) /
    sum_j q(z | x_j). On these draws, so to rounding, rate = I + KL and 0 <= I <= log N: how a rate
    is shared depends on the number of data. Every draw is scored under all N data: N^2
    ``num_samples`` densities of the guide, in constant memory.

    The prior must not depend on x. In a self-supervised VAE those of all levels but the top one do,
    through the representations, so there is the surgery of the top level alone (``level``): q(zL)
    stands for q(z), and the distortion is minus what the ELBO has besides, the KL of lower levels
    included.

    Args:
        x: (N, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.
        level: the top one, of a guide that tells q(zL | x); None for all levels together.
        chunk_size: draws times data scored at once.

    Raises:
        InputError: levels whose prior depends on x, or whose q(z | x) the guide does not tell.
    """
    x = as_data(x, model, guide)
    check_count("num_samples", num_samples)
    check_count("chunk_size", chunk_size)
    _check_level(model, level)
    side = math.isqrt(chunk_size)
    num_data = count_rows(x)
    columns: dict[str, list[Tensor]] = {}
    done = 0
    with flushed_denormals(), evaluating(model, guide):
        for rows, sizes in passes(x, num_samples, side):
            count = count_rows(rows)
            sums: dict[str, Tensor] = {}
            for size in sizes:
                weights = log_weights(model, guide, rows, size)
                check_all_rows(weights.log_likelihood.shape[1], count)
                for name, values in _cut(weights, guide, x, done, side, level).items():
                    sums[name] = sums.get(name, 0.0) + values.sum(0).cpu()
            for name, total in sums.items():
                columns.setdefault(name, []).append(total / num_samples)
            done += count
    terms = {name: mean_and_error(torch.cat(parts).numpy()) for name, parts in columns.items()}
    return ElboSurgery(
        **{name: term.mean for name, term in terms.items()},
        standard_errors={name: term.standard_error for name, term in terms.items()},
        num_data=num_data,
        num_samples=num_samples,
    )


def _check_level(model: Callable, level: str | None) -> None:
    of_x = getattr(model, "priors_of_x", ())
    top = f"z{len(of_x) + 1}"
    if of_x and level != top:
        wrong = of_x[0] if level is None else level
        raise InputError(
            f"the surgery wants a prior that does not depend on x, and that of {wrong} does, "
            f"through the representation of x that it reads; allowed: level={top!r}"
        )
    names = getattr(model, "latent_names", None)
    if level is not None and (names is None or level != names[-1]):
        raise InputError(
            f"level={level!r}: one level can be taken apart where it is the top one; allowed: "
            f"{'None' if names is None else f'None, {names[-1]!r}'}"
        )


def _cut(
    terms: LogWeights, guide: Callable, x: Data, first: int, side: int, level: str | None
) -> dict[str, Tensor]:
    """The terms of each draw, (S, b), for draws of the data ``first`` .. ``first + b - 1``."""
    shape = terms.log_likelihood.shape
    levels = terms.levels if level is None else (level,)
    own = total(terms.log_guide[name] for name in levels).double()
    log_prior = total(terms.log_prior[name] for name in levels).double()
    latents = {name: terms.latents[name].flatten(0, 1) for name in levels}
    if level is None:
        scored = partial(_log_guide, guide, latents)
    else:
        scored = partial(_log_top, guide, latents[level])
    others = [terms.log_ratios[name].double() for name in terms.levels if name not in levels]
    distortion = sum(others, -terms.log_likelihood.double())
    owners = torch.arange(first, first + shape[1], device=own.device).expand(shape).flatten()
    log_sum, expected = _under_all_data(scored, x, own.flatten(), owners, side)
    log_sum, expected = log_sum.reshape(shape), expected.reshape(shape)
    log_q = log_sum - math.log(count_rows(x))
    return {
        "rate": expected - log_prior,
        "mutual_information": expected - log_q,
        "marginal_kl": log_q - log_prior,
        "distortion": distortion,
    }


def _under_all_data(
    scored: Callable[[Data], Tensor], x: Data, own: Tensor, owners: Tensor, side: int
) -> tuple[Tensor, Tensor]:
    """log sum_m q(z | x_m) and sum_m q(m | z) log q(z | x_m) of draws z, (C,) each.

    Summed over pieces of the data, starting from the draw's own log q(z | x_n), which is known and
    finite: others may be -inf.
    """
    log_sum = expected = own
    start = 0
    for rows in split_rows(x, side):
        log_q = scored(rows)  # (C, m)
        column = owners - start
        inside = (column >= 0) & (column < log_q.shape[1])
        log_q[inside.nonzero()[:, 0], column[inside]] = -math.inf
        total = torch.logaddexp(log_sum, log_q.logsumexp(1))
        share = (log_q - total[:, None]).exp()
        added = (share * log_q.where(share > 0, 0.0)).sum(1)
        log_sum, expected = total, (log_sum - total).exp() * expected + added
        start += log_q.shape[1]
    return log_sum, expected


def _log_top(guide: Any, z: Tensor, x: Data) -> Tensor:
    """log q(zL | x_m) of C draws under m data, (C, m)."""
    return log_prob_at(guide.top(as_arguments(x)[0]), z[:, None], "the top level").double()


def _log_guide(guide: Callable, latents: Mapping[str, Tensor], x: Data) -> Tensor:
    """log q(z_c | x_m) of C draws under m data, (C, m): the draws are particles of every datum."""
    num_data = count_rows(x)
    values = {
        name: value[:, None].expand(-1, num_data, *value.shape[1:])
        for name, value in latents.items()
    }
    (num_draws,) = {len(value) for value in latents.values()}
    # A draw of one datum may lie outside the support of another's guide: its density there is 0.
    with traces.particles(num_draws), pyro.validation_enabled(False):
        sites = traces.run(guide, as_arguments(x), {}, SetValues(values))
    auxiliary = [name for name in traces.sample_sites(sites) if name not in values]
    if auxiliary:
        raise InputError(
            "the surgery wants q(z | x) of one datum at draws of another, which a guide with the "
            f"auxiliary site {auxiliary[0]!r} cannot tell: z says nothing of that site's value"
        )
    return total(log_prob(site) for site in traces.sample_sites(sites).values()).double()
