"""Removal of latent units from a pair: the effect handler that takes them out of model and guide.

Burda's weight chopping: a removed unit has no term in log p and log q, and is 0 for everything
downstream of it. (S4's own code scores log q at 0 instead, and leaves the second level whole.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Size, Tensor

from pyro_vae.errors import InputError
from pyro_vae.unit_kl import units_of


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
        name = msg["name"]
        if name not in self.active:
            return
        if msg["is_observed"]:
            raise InputError(f"site {name!r} is observed; only units of latent sites are removed")
        self.met.add(name)
        fn = msg["fn"]
        # The mask of the site itself stays where it is.
        units, mask = units_of({**msg, "mask": None}, "pair")
        keep = self._keep(name, fn.event_shape)
        if not msg["done"]:
            msg["value"], msg["done"] = fn(*msg["args"], **msg["kwargs"]), True
        value = msg["value"]
        keep = keep.to(value.device)
        if not units.support.check(torch.zeros_like(value)).all():
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
