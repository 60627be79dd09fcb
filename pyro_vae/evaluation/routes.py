"""Images by any route through a model: some sites kept from an image, some given, the rest drawn.

Gatopoulos 2020 (sections 5.2.3 and 7.2) names these for a self-supervised VAE with K = 1, u = z2:

=============================  =====================================================
generation                     ``generate(model, n)``
reconstruction RS1             ``keep=("z2",)``
reconstruction RS2             ``keep=("z2", "z1")``
conditional reconstruction CR  ``keep=("z1",)``, ``given=("y1",)``
conditional generation, SR     ``keep=("z2",)``, ``given=("y1",)``
=============================  =====================================================

Every other subset is a route too, and every hierarchical VAE has those of its latents.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.errors import InputError, check_count
from pyro_vae.programs.guides import Guide
from pyro_vae.programs.models import Generative
from pyro_vae.torch_state import evaluating
from pyro_vae.weights import traces
from pyro_vae.weights.levels import guide_levels

Sites = dict[str, Tensor]
MEAN = "x:mean"


@torch.no_grad()
def generate(model: Generative, n: int, given: Mapping[str, Tensor] | None = None) -> Sites:
    """n draws of every site of the model, some of which are given: site -> (n, width).

    Sites below a given one follow it, sites above it are drawn from the model without it: what
    they were given it is a question to the guide (:func:`reconstruct`). "x:mean" is E[x | .] at the
    drawn parents, in the units of the data; a likelihood without a closed mean has none.

    Args:
        given: site -> values (n, width), or (width,) for all.

    Raises:
        InputError: a name that is no site of the model, or values of another shape.
    """
    check_count("n", n)
    given = given or {}
    sizes = _sizes(model)
    check_names("given", given, sizes)
    values = {name: _rows(name, value, (n, sizes[name])) for name, value in given.items()}
    with evaluating(model):
        program = poutine.condition(model, data=values) if values else model
        sites = traces.sample_sites(traces.run(program, (None,), {"num_data": n}, score=False))
    drawn = {name: site.value for name, site in sites.items()}
    with contextlib.suppress(NotImplementedError):
        drawn[MEAN] = sites["x"].fn.mean
    return drawn


@torch.no_grad()
def reconstruct(
    model: Generative,
    guide: Guide,
    x: Tensor,
    keep: Sequence[str] | None = None,
    given: Sequence[str] | Mapping[str, Tensor] = (),
) -> Sites:
    """Images made from what is kept of x: site -> (B, width), "x:mean" among them.

    Latents of ``keep`` are draws of q(z | x); representations of ``given`` are those of x, or other
    ones, by name; all other sites are drawn from the model. With every latent kept this is the
    usual reconstruction, with none it is generation.

    Args:
        x: (B, D).
        keep: latents; all of them by default.
        given: names of representations (y1, ...), or name -> rows of another image's.

    Raises:
        InputError: a kept name that is no latent, a given one that is no representation.
    """
    latents = model.latent_names
    keep = latents if keep is None else tuple(keep)
    check_names("kept", keep, latents, "latents")
    own = model.representation_names
    check_names("given", given, own, "representations")
    with evaluating(model, guide):
        drawn = {name: level.draws[0] for name, level in guide_levels(guide, x, 1).items()}
    values = {name: drawn[name] for name in keep}
    if isinstance(given, Mapping):
        values |= dict(given)
    elif given:
        made = dict(zip(own, model.represent(x), strict=True))
        values |= {name: made[name] for name in given}
    return generate(model, len(x), values)


def _sizes(model: Generative) -> dict[str, int]:
    """Site -> width of its rows."""
    sizes = dict(zip(model.latent_names, model.latent_sizes, strict=True))
    transforms = getattr(model, "transforms", ())
    sizes |= {f"y{number}": one.features for number, one in enumerate(transforms, start=1)}
    return sizes | {"x": model.num_pixels}


def check_names(
    what: str, names: Iterable[str], allowed: Iterable[str], kind: str = "sites"
) -> None:
    """InputError where a name is none of those that can be kept, or given."""
    for name in names:
        if name not in allowed:
            raise InputError(
                f"{name!r} cannot be {what}; the model's {kind}: {', '.join(allowed) or 'none'}"
            )


def _rows(name: str, value: Tensor, shape: tuple[int, int]) -> Tensor:
    value = torch.as_tensor(value)
    value = value.expand(shape[0], -1) if value.ndim == 1 else value
    if value.shape != shape:
        raise InputError(f"given {name} has shape {tuple(value.shape)}, not {shape}")
    return value
