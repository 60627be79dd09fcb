"""Runs Pyro programs: the particle plate, and the handlers that record, set and re-draw sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import pyro
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyro_vae.errors import check_count
from pyro_vae.weights.handlers import DetachParameters, Record, RedrawValues
from pyro_vae.weights.preconditions import Sites
from pyro_vae.weights.substitution import substituted

PARTICLE_PLATE = "particles"


def particles(num_particles: int):
    """The plate of the particles, at dim -2, around model and guide."""
    return pyro.plate(PARTICLE_PLATE, check_count("num_particles", num_particles), dim=-2)


def run(program: Callable, args: tuple, kwargs: Mapping, *handlers: Messenger) -> Sites:
    """Run the program inside the handlers; the message of every sample site, by name.

    What ``poutine.trace`` records of sample sites, without building its graph: a third of the
    time that a step of one particle spends in Pyro.
    """
    with ExitStack() as stack:
        sites = stack.enter_context(Record()).sites
        for handler in handlers:
            stack.enter_context(handler)
        program(*args, **kwargs)
    return sites


def draw(guide: Callable, args: tuple, kwargs: Mapping, redraw: Mapping[str, Tensor] | None):
    """Run the guide: fresh draws, or those of ``redraw`` (K, B, ...) again on their old noise."""
    return run(guide, args, kwargs, *(() if redraw is None else (RedrawValues(redraw),)))


class WithoutParameters:
    """A module run with its parameters cut out of the graph, its other inputs left live."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *args, **kwargs):
        with substituted(self.module, Tensor.detach), DetachParameters():
            return self.module(*args, **kwargs)


def sample_sites(sites: Sites) -> dict[str, Mapping]:
    """Those sites that carry probability (a plate's subsample indices do not)."""
    return {name: site for name, site in sites.items() if not site_is_subsample(site)}


def latent_values(sites: Sites) -> dict[str, Tensor]:
    """Values drawn by the program, the indices of a subsampled plate included."""
    return {name: site["value"] for name, site in sites.items() if not site["is_observed"]}


def log_prob(site: Mapping) -> Tensor:
    """log-probability with the site's mask and without any scale."""
    return scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"])
