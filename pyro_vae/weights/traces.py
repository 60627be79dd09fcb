"""Runs Pyro programs: the particle plate, and the handlers that record, set and re-draw sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import pyro
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.errors import check_count
from pyro_vae.weights.handlers import Record, RedrawValues
from pyro_vae.weights.site import PARTICLE_PLATE, Site, Sites


def particles(num_particles: int):
    """The plate of the particles, at dim -2, around model and guide."""
    return pyro.plate(PARTICLE_PLATE, check_count("num_particles", num_particles), dim=-2)


def run(
    program: Callable, args: tuple, kwargs: Mapping, *handlers: Messenger, score: bool = True
) -> Sites:
    """Run the program inside the handlers; every sample site, by name.

    Without ``score`` its sites are not going to be scored (``Record``).

    What ``poutine.trace`` records of sample sites, without building its graph: a third of the
    time that a step of one particle spends in Pyro.
    """
    with ExitStack() as stack:
        sites = stack.enter_context(Record(score)).sites
        for handler in handlers:
            stack.enter_context(handler)
        program(*args, **kwargs)
    return sites


def draw(
    guide: Callable,
    args: tuple,
    kwargs: Mapping,
    redraw: Mapping[str, Tensor] | None,
    *,
    score: bool = True,
) -> Sites:
    """Run the guide: fresh draws, or those of ``redraw`` (K, B, ...) again on their old noise."""
    handlers = () if redraw is None else (RedrawValues(redraw),)
    return run(guide, args, kwargs, *handlers, score=score)


def sample_sites(sites: Sites) -> dict[str, Site]:
    """Those sites that carry probability: no indices of plates, no ``pyro.deterministic``."""
    return {name: site for name, site in sites.items() if site.carries_probability}


def latent_values(sites: Sites) -> dict[str, Tensor]:
    """Values drawn by the program, the indices of a subsampled plate included."""
    return {name: site.value for name, site in sites.items() if not site.is_observed}
