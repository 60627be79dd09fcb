"""ArviZ data from any trained pair: the only file that converts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.errors import InputError, check_positive
from pyro_vae.evaluation import Evaluation, evaluate
from pyro_vae.export.sites import Sites
from pyro_vae.rows import Data, as_arguments, as_data, count_rows, split_rows
from pyro_vae.torch_state import evaluating, flushed_denormals
from pyro_vae.weights.diagnostics import KHAT_LIMIT
from pyro_vae.weights.resampling import Draws, sir
from pyro_vae.weights.simulation import simulate_like
from pyro_vae.weights.site import PARTICLE_PLATE

if TYPE_CHECKING:
    import arviz
    import xarray

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
) -> arviz.InferenceData:
    """Posterior draws of a pair for data x (B, D), with importance weights, as InferenceData.

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
    ``to_dataframe``, ``sel`` and ``arviz.concat`` want these dims of every group that is no data.
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
    import arviz

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
    labels = np.arange(count_rows(x)) if datum is None else np.asarray(datum)
    idata = arviz.from_dict(
        posterior=sites.variables(draws.latents, _chain),
        posterior_predictive=sites.variables(replicated, _chain),
        observed_data=sites.variables(sites.observed, _array),
        coords={"datum": labels},
        dims={name: ["datum", *units] for name, units in sites.units.items()},
        posterior_attrs={
            **_attributes(num_particles),
            "khat_above_0.7": float((diagnostics.khat > KHAT_LIMIT).mean()),
            **(attributes or {}),
        },
        save_warmup=False,
    )
    # Dims are shared by all groups of one call: the prior has no data axis, and a site may be
    # called log_weight as well.
    idata.extend(
        arviz.from_dict(
            sample_stats={"log_weight": _chain(draws.log_weight)},
            coords={"datum": labels},
            dims={"log_weight": ["datum"]},
        )
    )
    idata.extend(
        arviz.from_dict(
            prior=sites.variables({name: prior[name] for name in draws.latents}, _chain),
            prior_predictive=sites.variables({name: prior[name] for name in replicated}, _chain),
            dims=sites.units,
        )
    )
    sites.annotate(idata)
    with warnings.catch_warnings():
        # ArviZ has no group of its own for per-datum importance diagnostics.
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme")
        idata.add_groups({DIAGNOSTICS: _diagnostics(diagnostics, labels, num_draws)})
    return idata


def per_datum(idata: arviz.InferenceData) -> xarray.Dataset:
    """The importance diagnostics with one number per datum, dims (datum,).

    Also of files written before version 0.5, whose diagnostics have these dims; of exports that
    were joined by ``arviz.concat``, those of the first. InputError where there are none.
    """
    if DIAGNOSTICS not in idata.groups():
        raise InputError(f"the ArviZ data hold no k-hat nor the like: no group {DIAGNOSTICS}")
    table = idata[DIAGNOSTICS]
    return table.isel({dim: 0 for dim in SAMPLE_DIMS if dim in table.dims}, drop=True)


def _diagnostics(diagnostics: Evaluation, labels: np.ndarray, num_draws: int) -> xarray.Dataset:
    """The diagnostics of every datum, repeated for its draws."""
    import xarray

    return xarray.Dataset(
        {
            name.replace("/", "."): ((*SAMPLE_DIMS, "datum"), np.tile(values, (1, num_draws, 1)))
            for name, values in diagnostics.columns().items()
        },
        coords={"chain": [0], "draw": np.arange(num_draws), "datum": labels},
        attrs={
            "num_particles": diagnostics.num_particles,
            "bound_particles": diagnostics.bound_particles,
            "unit": "nats",
        },
    )


def _check_rows(number: int, datum: np.ndarray | None, diagnostics: Evaluation | None) -> None:
    elbo = None if diagnostics is None else diagnostics.elbo
    for what, given in (("datum", datum), ("diagnostics", elbo)):
        if given is not None and len(given) != number:
            raise InputError(f"{what} is for {len(given)} data, but x has {number} rows")


def netcdf_bytes(idata: arviz.InferenceData) -> memoryview:
    """The netCDF file that ``arviz.from_netcdf`` opens, in memory.

    HDF5 that meets a full disk leaves a broken file open and may end the process when it exits.
    """
    return idata.to_datatree().to_netcdf(None, engine="h5netcdf")


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
