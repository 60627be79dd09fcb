"""Data that the model itself makes, with the latents they were made from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.errors import InputError, check_count
from pyro_vae.rows import Data, as_arguments
from pyro_vae.torch_state import evaluating
from pyro_vae.weights import traces


@torch.no_grad()
def simulate(model: Callable, num_data: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Data from the model, and the latents they were made from: exact draws of p(z | x).

    Runs ``model(None, num_data=num_data)``, which must draw the data at a site ``x``, as this
    library's models do.

    Returns:
        x (B, D), and latent site -> (B, ...).

    Raises:
        InputError: a model that cannot be called so, or draws no site ``x``.
    """
    check_count("num_data", num_data)
    instead = "Give x and the latents it was made from"
    try:
        with evaluating(model):
            run = traces.run(model, (None,), {"num_data": num_data}, score=False)
        sites = traces.sample_sites(run)
    except TypeError as error:
        raise InputError(
            f"the model does not simulate when called with (None, num_data={num_data}): {error}. "
            f"{instead}"
        ) from error
    if "x" not in sites or sites["x"].is_observed:
        drawn = ", ".join(name for name, site in sites.items() if not site.is_observed)
        raise InputError(f"the model drew no site 'x', but {drawn or 'nothing'}. {instead}")
    values = {name: site.value for name, site in sites.items()}
    return values.pop("x"), values


@torch.no_grad()
def simulate_like(model: Callable, x: Data) -> dict[str, Tensor]:
    """Every site of the model drawn anew, as many data as x has: site -> value.

    For any model that is called with its data, whose values do not matter unless other sites read
    them. Handlers around the call count: conditioned latents keep their values.
    """
    # Without this handler a model that observes x gives back x itself.
    with evaluating(model):
        sites = traces.run(poutine.uncondition(model), as_arguments(x), {}, score=False)
    return {name: site.value for name, site in traces.sample_sites(sites).items()}
