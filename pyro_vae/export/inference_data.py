"""ArviZ data from any trained pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.errors import InputError, check_positive
from pyro_vae.evaluation import Evaluation, evaluate
from pyro_vae.export.arviz_forms import arviz_data, group, group_names
from pyro_vae.export.sites import Sites
from pyro_vae.rows import Data, as_arguments, as_data, count_rows, split_rows
from pyro_vae.torch_state import evaluating, flushed_denormals
from pyro_vae.version import __version__
from pyro_vae.weights.diagnostics import KHAT_LIMIT
from pyro_vae.weights.resampling import Draws, sir
from pyro_vae.weights.simulation import simulate_like
from pyro_vae.weights.site import PARTICLE_PLATE

if TYPE_CHECKING:
    import xarray

    from pyro_vae.export.arviz_forms import ArvizData

SAMPLE_DIMS = ("chain", "draw")
DIAGNOSTICS = "importance_diagnostics"


def to_inference_data(
    model: Callable,
    guide: Callable,
    x: Data,
    *,
    num_particles: int = 1,
    num_draws: int = 100,
    diagnostic_particles: int = 1_000,
    diagnostics: Evaluation | None = None,
    observed: str | None = None,
    datum: np.ndarray | None = None,
    attributes: Mapping[str, object] | None = None,
) -> ArvizData:
    """Posterior draws of a pair for data x (B, D), with importance weights, as ArviZ data.

    That is an ``arviz.InferenceData`` where ArviZ 0.23 is installed, and an ``xarray.DataTree``
    where ArviZ 1.x is.

    ``posterior`` holds z1, z2, ... with dims (chain, draw, datum, <name>_unit): the independent
    draws are one chain, so r-hat says nothing about them. With ``num_particles`` > 1 each draw is
    resampled per datum from its own set of that many proposals (a draw of q_EW; Vas 2024,
    Algorithm 2); with 1 it comes from the guide.

    =======================  =====================================================================
    group                    variables
    =======================  =====================================================================
    posterior                z1, z2, ...: (chain, draw, datum, unit)
    sample_stats             log_weight: log p(x, z) - log q(z | x) of each draw, nats
    posterior_predictive     x: one draw from p(x | z) per posterior draw
    observed_data            x
    prior, prior_predictive  z1, z2, ... and x: draws from the model
    importance_diagnostics   per datum: elbo, bound (L_k), log_likelihood and its
                             monte_carlo_error, log_likelihood_jackknife, kl_to_posterior,
                             reconstruction, kl_<level>, ess, khat
    =======================  =====================================================================

    The diagnostics have dims (chain, draw, datum), the same number for every draw of a datum:
    ``sel`` over all groups, and ``to_dataframe`` and ``arviz.concat`` of ArviZ 0.23, want these
    dims of every group that is no data.
    :func:`per_datum` gives the table with one number per datum.

    A site whose name holds a slash, which netCDF cannot name, is exported with a dot instead
    ("guide/z" as "guide.z"), and its variable has the attribute ``site``.

    Args:
        model, guide: Pyro programs with one data plate, called with x.
        x: (B, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.
        num_particles: k.
        num_draws: draws per datum.
        diagnostic_particles: particles per datum behind ``importance_diagnostics``, at least k.
        diagnostics: what ``evaluation.evaluate`` gave for x, to be used instead.
        observed: name of the observed site; default: all that the model has.
        datum: coordinate labels of the data (default 0..B-1), for instance rows of the test set.
        attributes: added to the attributes of ``posterior``.

    There is no ``log_likelihood`` group: ``arviz.loo`` is about parameters shared by the data, and
    here every datum has latents of its own.

    Raises:
        InputError: data that cannot be read; the model observes no site, or none called
            ``observed``; sites with names that ArviZ data cannot have; labels or diagnostics of
            another number of data. All of these before anything is drawn.
    """
    x = as_data(x, model, guide)
    check_positive("num_particles", num_particles)
    check_positive("num_draws", num_draws)
    _check_rows(count_rows(x), datum, diagnostics)
    sites = Sites(model, x, observed)
    with flushed_denormals(), evaluating(model, guide):
        draws = sir(model, guide, x, num_particles, num_draws)
        prior = _prior(model, x, num_draws)
        replicated = _predictive(model, draws, x, sites.observed)
        diagnostics = diagnostics or evaluate(
            model,
            guide,
            x,
            bound_particles=num_particles,
            num_particles=max(diagnostic_particles, num_particles),
        )
    labels = {"datum": np.arange(count_rows(x)) if datum is None else np.asarray(datum)}
    per_draw = {name: (*SAMPLE_DIMS, "datum", *units) for name, units in sites.units.items()}
    of_prior = {name: (*SAMPLE_DIMS, *units) for name, units in sites.units.items()}
    of_data = {name: ("datum", *units) for name, units in sites.units.items()}
    groups = {
        "posterior": _dataset(sites.variables(draws.latents, _chain), per_draw, labels),
        "posterior_predictive": _dataset(sites.variables(replicated, _chain), per_draw, labels),
        "sample_stats": _dataset(
            {"log_weight": _chain(draws.log_weight)},
            {"log_weight": (*SAMPLE_DIMS, "datum")},
            labels,
        ),
        "prior": _dataset(
            sites.variables({name: prior[name] for name in draws.latents}, _chain), of_prior
        ),
        "prior_predictive": _dataset(
            sites.variables({name: prior[name] for name in replicated}, _chain), of_prior
        ),
        "observed_data": _dataset(sites.variables(sites.observed, _array), of_data, labels),
    }
    sites.annotate(groups.values())
    groups["posterior"].attrs |= {
        **_attributes(num_particles),
        "khat_above_0.7": float((diagnostics.khat > KHAT_LIMIT).mean()),
        **(attributes or {}),
    }
    return arviz_data({**groups, DIAGNOSTICS: _diagnostics(diagnostics, labels, num_draws)})


def per_datum(idata: ArvizData) -> xarray.Dataset:
    """The importance diagnostics with one number per datum, dims (datum,).

    Also of files written before version 0.5, whose diagnostics have these dims; of exports that
    were joined by ``arviz.concat``, those of the first. InputError where there are none.
    """
    if DIAGNOSTICS not in group_names(idata):
        raise InputError(f"the ArviZ data hold no k-hat nor the like: no group {DIAGNOSTICS}")
    table = group(idata, DIAGNOSTICS)
    return table.isel({dim: 0 for dim in SAMPLE_DIMS if dim in table.dims}, drop=True)


def _dataset(
    variables: Mapping[str, np.ndarray],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, np.ndarray] | None = None,
) -> xarray.Dataset:
    """A group: arrays with named axes, which are numbered from 0 where no labels are given.

    The attributes are those of ArviZ's schema:
    https://python.arviz.org/projects/base/en/latest/explanations/schema.html
    """
    import xarray

    table = xarray.Dataset(
        {name: (dims[name], values) for name, values in variables.items()},
        attrs={
            "created_at": datetime.now(UTC).isoformat(),
            "creation_library": "pyro_vae",
            "creation_library_version": __version__,
            "creation_library_language": "Python",
        },
    )
    numbered = {name: np.arange(size) for name, size in table.sizes.items()}
    return table.assign_coords({**numbered, **(coords or {})})


def _diagnostics(
    diagnostics: Evaluation, labels: Mapping[str, np.ndarray], num_draws: int
) -> xarray.Dataset:
    """The diagnostics of every datum, repeated for its draws."""
    columns = {
        name.replace("/", "."): np.tile(values, (1, num_draws, 1))
        for name, values in diagnostics.columns().items()
    }
    table = _dataset(columns, dict.fromkeys(columns, (*SAMPLE_DIMS, "datum")), labels)
    table.attrs |= {
        "num_particles": diagnostics.num_particles,
        "bound_particles": diagnostics.bound_particles,
        "unit": "nats",
    }
    return table


def _check_rows(number: int, datum: np.ndarray | None, diagnostics: Evaluation | None) -> None:
    elbo = None if diagnostics is None else diagnostics.elbo
    for what, given in (("datum", datum), ("diagnostics", elbo)):
        if given is not None and len(given) != number:
            raise InputError(f"{what} is for {len(given)} data, but x has {number} rows")


def _attributes(num_particles: int) -> dict[str, object]:
    resampled = num_particles > 1
    return {
        "sampling": "sampling-importance-resampling per datum" if resampled else "guide",
        "distribution": "q_EW(z | x)" if resampled else "q(z | x)",
        "num_particles": num_particles,
        "chains": "independent draws in one chain; r-hat does not apply",
    }


@torch.no_grad()
def _predictive(
    model: Callable, draws: Draws, x: Data, observed: Iterable[str]
) -> dict[str, Tensor]:
    """The observed sites simulated once from every posterior draw: (num_draws, B, ...) each."""
    num_draws = len(draws.log_weight)
    columns: dict[str, list[Tensor]] = {name: [] for name in observed}
    first = 0
    # A pass of the model takes all draws of some data; 2,000 images are held at a time.
    for rows in split_rows(x, max(1, 2_000 // num_draws)):
        size = count_rows(rows)
        latents = {name: value[:, first : first + size] for name, value in draws.latents.items()}
        with pyro.plate(PARTICLE_PLATE, num_draws, dim=-2), poutine.condition(data=latents):
            simulated = simulate_like(model, rows)
        for name, values in columns.items():
            values.append(simulated[name])
        first += size
    return {name: torch.cat(values, 1) for name, values in columns.items()}


@torch.no_grad()
def _prior(model: Callable, x: Data, num_draws: int) -> dict[str, Tensor]:
    """Every site of the model simulated ``num_draws`` times: (num_draws, ...)."""
    rows = torch.arange(num_draws, device=as_arguments(x)[0].device) % count_rows(x)
    return simulate_like(model, tuple(part[rows] for part in as_arguments(x)))


def _array(values: Tensor) -> np.ndarray:
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _chain(values: Tensor) -> np.ndarray:
    """(draw, ...) -> (chain = 1, draw, ...)."""
    return _array(values)[None]
