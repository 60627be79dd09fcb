"""ArviZ data from any trained pair: the only file that converts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.errors import InputError, check_positive
from pyro_vae.evaluation import Evaluation, evaluate
from pyro_vae.torch_state import flushed_denormals
from pyro_vae.weights.diagnostics import KHAT_LIMIT
from pyro_vae.weights.resampling import Draws, sir
from pyro_vae.weights.traces import PARTICLE_PLATE

if TYPE_CHECKING:
    import arviz

SAMPLE_DIMS = ("chain", "draw")


def to_inference_data(
    model: Callable,
    guide: Callable,
    x: Tensor,
    *,
    num_particles: int = 1,
    num_draws: int = 100,
    diagnostic_particles: int = 1_000,
    diagnostics: Evaluation | None = None,
    observed: str = "x",
    datum: np.ndarray | None = None,
    attributes: Mapping[str, object] | None = None,
) -> arviz.InferenceData:
    """Posterior draws of a pair for data x (B, D), with importance weights, as InferenceData.

    ``posterior`` holds z1, z2, ... with dims (chain, draw, datum, <name>_unit): the independent
    draws are one chain, so r-hat says nothing about them. With ``num_particles`` > 1 each draw is
    resampled per datum from its own set of that many proposals (a draw of q_EW, S0 Algorithm 2);
    with 1 it comes from the guide.

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

    Args:
        model, guide: Pyro programs with one data plate, called with x.
        x: (B, D), on the programs' device.
        num_particles: k.
        num_draws: draws per datum.
        diagnostic_particles: particles per datum behind ``importance_diagnostics``, at least k.
        diagnostics: what ``evaluation.evaluate`` gave for x, to be used instead.
        observed: name of the observed site.
        datum: coordinate labels of the data (default 0..B-1), for instance rows of the test set.
        attributes: added to the attributes of ``posterior``.

    There is no ``log_likelihood`` group: ``arviz.loo`` is about parameters shared by the data, and
    here every datum has latents of its own.

    Raises:
        InputError: the model has no site called ``observed``.
    """
    import arviz
    import xarray

    check_positive("num_particles", num_particles)
    with flushed_denormals():
        draws = sir(model, guide, x, num_particles, num_draws)
        prior = _prior(model, x, num_draws)
        if observed not in prior:
            raise InputError(
                f"the model has no site {observed!r}; name the observed one with observed=; its "
                f"sites: {', '.join(prior)}"
            )
        replicated = _predictive(model, draws, x, observed)
        diagnostics = diagnostics or evaluate(
            model,
            guide,
            x,
            bound_particles=num_particles,
            num_particles=max(diagnostic_particles, num_particles),
        )
    labels = np.arange(len(x)) if datum is None else np.asarray(datum)
    dims = {name: ["datum", *_units(name, values, 2)] for name, values in draws.latents.items()}
    dims[observed] = ["datum", *_units(observed, x, 1)]
    idata = arviz.from_dict(
        posterior={name: _chain(values) for name, values in draws.latents.items()},
        sample_stats={"log_weight": _chain(draws.log_weight)},
        posterior_predictive={observed: _chain(replicated)},
        observed_data={observed: _array(x)},
        coords={"datum": labels},
        dims={**dims, "log_weight": ["datum"]},
        posterior_attrs={
            **_attributes(num_particles),
            "khat_above_0.7": float((diagnostics.khat > KHAT_LIMIT).mean()),
            **(attributes or {}),
        },
        save_warmup=False,
    )
    # The prior has no data axis, and dims are shared by all groups of one call.
    idata.extend(
        arviz.from_dict(
            prior={name: _chain(prior[name]) for name in draws.latents},
            prior_predictive={observed: _chain(prior[observed])},
            dims={name: named[1:] for name, named in dims.items()},
        )
    )
    table = xarray.Dataset(
        {name: ("datum", values) for name, values in diagnostics.columns().items()},
        coords={"datum": labels},
        attrs={
            "num_particles": diagnostics.num_particles,
            "bound_particles": diagnostics.bound_particles,
            "unit": "nats",
        },
    )
    with warnings.catch_warnings():
        # ArviZ has no group of its own for per-datum importance diagnostics.
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme")
        idata.add_groups({"importance_diagnostics": table})
    return idata


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
def _predictive(model: Callable, draws: Draws, x: Tensor, observed: str) -> Tensor:
    """x simulated once from every posterior draw: (num_draws, B, D)."""
    num_draws = len(draws.log_weight)
    values = []
    # A pass of the model takes all draws of some data; 2,000 images are held at a time.
    for rows in torch.arange(len(x), device=x.device).split(max(1, 2_000 // num_draws)):
        latents = {name: value[:, rows] for name, value in draws.latents.items()}
        with pyro.plate(PARTICLE_PLATE, num_draws, dim=-2), poutine.condition(data=latents):
            values.append(_simulate(model, x[rows])[observed])
    return torch.cat(values, 1)


@torch.no_grad()
def _prior(model: Callable, x: Tensor, num_draws: int) -> dict[str, Tensor]:
    """Every site of the model simulated ``num_draws`` times: (num_draws, ...)."""
    rows = torch.arange(num_draws, device=x.device) % len(x)
    return _simulate(model, x[rows])


def _simulate(model: Callable, x: Tensor) -> dict[str, Tensor]:
    # Without this handler a model that observes x gives back x itself.
    trace = poutine.trace(poutine.uncondition(model)).get_trace(x)
    return {
        name: trace.nodes[name]["value"]
        for name in (*trace.stochastic_nodes, *trace.observation_nodes)
    }


def _units(name: str, values: Tensor, leading: int) -> list[str]:
    """Names of the axes behind the leading ones: one is called <name>_unit, "pixel" for data."""
    unit = "pixel" if leading == 1 else f"{name}_unit"
    extra = values.ndim - leading
    return [unit] if extra == 1 else [f"{unit}_{axis}" for axis in range(extra)]


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _chain(values: Tensor) -> np.ndarray:
    """(draw, ...) -> (chain = 1, draw, ...)."""
    return _array(values)[None]
