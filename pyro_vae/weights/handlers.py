"""Effect handlers: what recording, setting, redrawing, annealing and removing units does to a site.

A handler acts on whatever programs run inside it. Those that change what is weighed (annealing,
removal of units) must stand around model and guide alike: in one of the two alone they would train
or report something else. Nothing here runs a program; :mod:`pyro_vae.weights.traces` does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Size, Tensor

from pyro_vae.errors import InputError
from pyro_vae.weights.densities import log_prob, reads_late
from pyro_vae.weights.preconditions import check_location_scale
from pyro_vae.weights.site import PARTICLE_PLATE, Site
from pyro_vae.weights.unit_kl import units_of


class Record(Messenger):
    """Keeps every sample site.

    With ``score`` sites that may read parameters when they are scored are scored as they are met,
    while draw, score and cut see the same ones; the others when they are read.
    """

    def __init__(self, score: bool = True) -> None:
        super().__init__()
        self.sites: dict[str, Site] = {}
        self.score = score

    def _pyro_post_sample(self, msg) -> None:
        site = Site(msg)
        if site.name in self.sites or (site.name == PARTICLE_PLATE and site.is_subsample):
            self._refuse(site)
        self.sites[site.name] = site
        if self.score and site.carries_probability and reads_late(site.fn):
            site.scored = log_prob(site)

    def _refuse(self, site: Site) -> None:
        name, other = site.name, self.sites.get(site.name)
        if other is None:
            raise InputError(f"the plate {name!r} is the library's own; call yours otherwise")
        if other.is_subsample != site.is_subsample:
            raise InputError(_both_called(name))
        if site.is_subsample:
            raise InputError(
                f"a program makes two plates called {name!r}; make one and enter it twice, or give "
                "every plate its own name"
            )
        raise InputError(f"a program has two sites called {name!r}; every site wants its own name")


def _both_called(name: str) -> str:
    return f"a site and a plate are both called {name!r}; give one another name"


class SetValues(Messenger):
    """Gives latent sites the values of a table: ``poutine.replay`` without a trace.

    Plates get their indices likewise, so that all programs see the rows that the first one drew.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg) -> None:
        site = Site(msg)
        if not site.is_observed and site.name in self.values:
            msg["value"] = self._value(site)
            msg["done"] = True

    def _value(self, site: Site) -> Tensor:
        value = self.values[site.name]
        if site.is_subsample:
            _check_rows(site, value)
        return value


def _check_rows(site: Site, indices: Tensor) -> None:
    if indices.ndim != 1:  # the values of a latent
        raise InputError(_both_called(site.name))
    rows = len(indices)
    given = site.value  # plate(..., subsample=indices)
    wanted = len(given) if given is not None else site.fn.subsample_size or site.fn.size
    if rows != wanted:
        raise InputError(
            f"plate {site.name!r} has {rows} rows in the guide and {wanted} in the model; both "
            "must see the same rows. A guide with parameters for every row, such as AutoNormal, "
            "wants all rows at once (chunk_size, batch_size)"
        )


class DrawAndSet(SetValues):
    """:class:`SetValues` that draws the sites all the same, so that generators go on as they did.

    Args:
        num_particles: draw as many, in the place of the values' own number. Wants location-scale
            latents, whose noise is that of any other member of their family.

    Plates outside of the program have not reached a site when a handler meets it: the shape of what
    was drawn is that of its value.
    """

    def __init__(self, values: Mapping[str, Tensor], num_particles: int | None = None) -> None:
        super().__init__(values)
        self.num_particles = num_particles

    def _value(self, site: Site) -> Tensor:
        self._draw(site)
        return super()._value(site)

    @torch.no_grad()
    def _draw(self, site: Site) -> None:
        fn, shape = site.fn, tuple(self.values[site.name].shape)
        if site.is_subsample:
            site.draw()
        elif self.num_particles is None:
            fn.expand(shape[: len(shape) - fn.event_dim])()
        else:
            base = check_location_scale(site.name, fn)
            shape = (self.num_particles, *shape[1:])
            type(base)(base.loc.new_zeros(shape), base.scale.new_ones(shape)).rsample()


class Redraw(dict[str, Tensor]):
    """Latent site -> values (M, B, ...) of the particles that are drawn again.

    Attributes:
        noise_of: the number K of particles that were drawn first, where generators are to go on as
            they did then, for programs that draw more than their sites; else None.
    """

    def __init__(self, values: Mapping[str, Tensor], noise_of: int | None = None) -> None:
        super().__init__(values)
        self.noise_of = noise_of


class RedrawValues(DrawAndSet):
    """Draws the values of a table again, on the noise that gave them, so that gradients flow.

    ``z = loc + scale * ((z_old - loc) / scale).detach()``: the number is the old one, its
    derivative that of a fresh ``rsample``. Wants location-scale latents; others are refused.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__(values, getattr(values, "noise_of", None))

    def _value(self, site: Site) -> Tensor:
        if self.num_particles is not None:
            self._draw(site)
        old = self.values[site.name]
        if site.is_subsample:
            return old
        base = check_location_scale(site.name, site.fn)
        noise = ((old - base.loc) / base.scale).detach()
        return base.loc + base.scale * noise


class DetachParameters(Messenger):
    """Detaches what ``pyro.param`` returns, for modules that keep parameters in Pyro's store."""

    def _pyro_post_param(self, msg) -> None:
        msg["value"] = msg["value"].detach()


class anneal(Messenger):
    """Handler that multiplies the log-probability of named latent sites by their betas.

    ``with anneal({"z2": 0.1}): loss = objective(model, guide)(x)`` works with this library's
    objectives and with Pyro's. Unlike ``poutine.scale`` it takes 0 and reaches only named sites.
    """

    def __init__(self, betas: Mapping[str, float | Tensor]) -> None:
        super().__init__()
        for name, beta in betas.items():
            # Tensors are inputs of a graph that is being traced: they have no value yet.
            if not torch.is_tensor(beta) and not 0 <= beta < float("inf"):
                raise InputError(f"beta of site {name!r} must be finite and >= 0, got {beta}")
        self.betas = dict(betas)
        self.met: set[str] = set()  # named sites that a program had

    def _pyro_sample(self, msg) -> None:
        site = Site(msg)
        beta = self.betas.get(site.name)
        if beta is None:
            return
        self.met.add(site.name)
        if site.is_observed:
            raise ValueError(f"site {site.name!r} is observed; only latent sites are annealed")
        # Without another scale it is the very same object in model and guide, which spares the
        # preconditions a comparison of tensors.
        scale = site.scale
        msg["scale"] = beta if isinstance(scale, float) and scale == 1.0 else scale * beta


class pruned(Messenger):
    """Handler that removes units of named latent sites, in model and guide alike.

    ``with pruned({"z1": keep}): terms = log_weights(model, guide, x, K)`` weighs the pair without
    those units of z1 whose ``keep`` is False: their factors of p(z1 | z2) and q(z1 | x, z2) are
    masked out of both densities and their values are 0 wherever z1 is read. All units are drawn, so
    the noise of the others is that of the whole pair. Stands around whole programs, outside of
    their plates.

    Args:
        active: site -> booleans (D,), True for units that stay.

    Raises:
        InputError: a mask that is not boolean or has not one entry per unit; an observed site; a
            site whose units are not independent given its parents, or cannot be 0.
    """

    def __init__(self, active: Mapping[str, Tensor | np.ndarray]) -> None:
        super().__init__()
        self.active = {name: torch.as_tensor(mask) for name, mask in active.items()}
        for name, mask in self.active.items():
            if mask.dtype != torch.bool:
                raise InputError(
                    f"the mask of site {name!r} must hold booleans, one per unit; it holds "
                    f"{str(mask.dtype).removeprefix('torch.')}"
                )
        self.met: set[str] = set()  # named sites that a program had

    def _pyro_sample(self, msg) -> None:
        site = Site(msg)
        name = site.name
        if name not in self.active:
            return
        if site.is_observed:
            raise InputError(f"site {name!r} is observed; only units of latent sites are removed")
        self.met.add(name)
        fn = site.fn
        # The mask of the site itself stays where it is.
        units, mask = units_of(Site({**msg, "mask": None}), "pair")
        keep = self._keep(name, fn.event_shape)
        if not site.is_drawn:
            msg["value"], msg["done"] = site.draw(), True
        value = site.value
        keep = keep.to(value.device)
        support = units.support
        if support is not None and not support.check(torch.zeros_like(value)).all():
            raise InputError(
                f"site {name!r} is {type(units).__name__}, which cannot be 0, the value of a unit "
                "that is removed"
            )
        msg["value"] = value.where(keep, 0)
        mask = keep if mask is None else keep & mask
        msg["fn"] = units.mask(mask).to_event(len(fn.event_shape))

    def _keep(self, name: str, event_shape: Size) -> Tensor:
        mask = self.active[name]
        units = event_shape.numel()
        if mask.shape not in (event_shape, (units,)):
            raise InputError(
                f"the mask of site {name!r} has shape {tuple(mask.shape)}; the site has {units} "
                f"units, so it must be ({units},)"
            )
        return mask.reshape(event_shape)
