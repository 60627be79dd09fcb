"""What a (model, guide) pair must satisfy for per-datum weights; every breach names the site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.weights.site import Site, Sites


def check_reparameterised(guide_sites: Sites) -> None:
    """Refuse latents without ``rsample``: they would silently get no pathwise gradient."""
    for name, site in guide_sites.items():
        if not site.fn.has_rsample:
            raise ValueError(
                f"site {name!r} in the guide is {type(site.fn).__name__}, which has no rsample: "
                "it would get no pathwise gradient. Use a reparameterised distribution, or Pyro's "
                "Trace_ELBO."
            )


# Families whose draw is loc + scale * noise, with noise that has no parameters.
_LOCATION_SCALE = (dist.Normal, dist.Laplace, dist.Cauchy, dist.Gumbel)


def innermost(fn: dist.TorchDistribution) -> dist.TorchDistribution:
    """The distribution inside ``.to_event`` and ``.mask``."""
    while isinstance(fn, (dist.Independent, dist.MaskedDistribution)):
        fn = fn.base_dist
    return fn


def check_location_scale(name: str, fn: dist.TorchDistribution) -> Any:
    """The base distribution of a location-scale latent; thinning cannot redraw others."""
    base = innermost(fn)
    if not isinstance(base, _LOCATION_SCALE):
        known = ", ".join(family.__name__ for family in _LOCATION_SCALE)
        raise ValueError(
            f"site {name!r} in the guide is {type(base).__name__}; thinning redraws particles on "
            f"their old noise, which wants one of {known}. Train without thin"
        )
    return base


def closed_form_is_right(guide: object, guide_sites: Sites, model_sites: Sites) -> bool:
    """Whether KL(q_l || p_l) at sampled parents is, summed over levels, the KL of the pair.

    It is where the parents that the model gives a level are drawn before it in the guide. A guide
    may tell by its attribute ``analytic_kl``; else the order of its sites is taken.
    """
    known = getattr(guide, "analytic_kl", None)
    if known is not None:
        return known
    levels = [name for name in guide_sites if name in model_sites]
    return levels == [name for name in model_sites if name in levels]


def check_closed_form(guide: object, guide_sites: Sites, model_sites: Sites) -> None:
    """Refuse KL terms in closed form where they are wrong (bottom-up chains)."""
    if not closed_form_is_right(guide, guide_sites, model_sites):
        raise InputError(
            f"KL terms in closed form are wrong for {type(guide).__name__}, which draws "
            f"{', '.join(guide_sites)} in this order: the model's parents of a level may descend "
            "from it. Use the pathwise estimator, or set analytic_kl = True on a guide whose "
            "levels are independent given the data"
        )


def auxiliaries(latent: Iterable[str], guide_sites: Sites) -> dict[str, list[str]]:
    """Latent -> the guide's auxiliary sites that its value is a function of.

    ``log q(z) = log q(u) - log |dz / du|`` where z is a ``Delta`` of u that holds the second term
    as its ``log_density``: Pyro's ``AutoNormal`` and its like. The name tells the latent
    (``z_unconstrained``), or there is one ``Delta`` only.

    Raises:
        InputError: an auxiliary site that no latent is a function of. Weights p(x, z) / q(z, u)
            would be no importance weights: nothing in the model stands against q(u | z).
    """
    latent = list(latent)
    found: dict[str, list[str]] = {name: [] for name in latent}
    points = [n for n in latent if n in guide_sites and _is_point(guide_sites[n].fn)]
    for name, site in guide_sites.items():
        if name in latent or not site.is_auxiliary:
            continue
        owner = name.removesuffix("_unconstrained")
        if owner not in points:
            if len(points) != 1:
                raise InputError(_no_owner(name, site, points))
            (owner,) = points
        found[owner].append(name)
    return found


def _no_owner(name: str, site: Site, points: Sequence[str]) -> str:
    if not any(frame.dim == -1 for frame in site.plates if frame.vectorized):
        return (
            f"auxiliary site {name!r} of the guide stands in no data plate: one draw for the whole "
            "batch, as AutoDiagonalNormal and its like make it, so the weights of the data would "
            "not be independent. AutoNormal draws every latent in its plates"
        )
    return (
        f"nobody can tell which latent of the model the guide's auxiliary site {name!r} stands "
        "for; it counts where a latent is a Delta of it that holds log |du / dz| as its "
        "log_density, and is called <latent>_unconstrained. Latents here that are a Delta: "
        f"{', '.join(points) or 'none'}"
    )


def _is_point(fn: dist.TorchDistribution) -> bool:
    return isinstance(innermost(fn), dist.Delta)


def check_density(name: str, guide_site: Site, model_site: Site, auxiliary: Sequence[str]) -> None:
    """Refuse a guide that puts all on one point of a latent with a density (``AutoDelta``)."""
    if auxiliary or not _is_point(guide_site.fn) or _is_point(model_site.fn):
        return
    support = model_site.fn.support
    if support is None or not support.is_discrete:
        raise InputError(
            f"site {name!r} in the guide is Delta, which has no density to weigh that of the model "
            "by: p(x, z) at a point is no bound on log p(x). Give the latent a density; a Delta of "
            'a site with infer={"is_auxiliary": True} has one'
        )


def check_auxiliary_scales(
    auxiliary: Mapping[str, Sequence[str]], guide_sites: Sites, data_scale: float | Tensor
) -> None:
    """Auxiliary sites are scaled as the data are; a level's beta is put on the latent."""
    for names in auxiliary.values():
        for name in names:
            if not _equal(guide_sites[name].scale, data_scale):
                raise InputError(
                    f"auxiliary site {name!r} of the guide is scaled by "
                    f"{guide_sites[name].scale}, the data by {data_scale}; scale the latent"
                )


def check_same_latents(latent: Sequence[str], guide_sites: Sites) -> None:
    """The guide must draw every latent of the model, and beside auxiliary sites nothing else."""
    drawn = [name for name, site in guide_sites.items() if name in latent or not site.is_auxiliary]
    for name in latent:
        if name not in drawn:
            raise ValueError(
                f"site {name!r} of the model is neither observed nor drawn by the guide; the guide "
                f"draws: {', '.join(drawn) or 'nothing'}"
            )
    for name in drawn:
        if name not in latent:
            raise ValueError(
                f"site {name!r} of the guide is no latent of the model; the model's latents: "
                f"{', '.join(latent) or 'none'}"
            )


def check_log_prob(name: str, site: Site, log_prob: Tensor, program: str, particles: str) -> None:
    """The site stands in one data plate at dim -1, with one number per particle and datum.

    Inside, a datum may be run through by a sequential plate (``for i in pyro.plate``), if whole.
    """
    for frame in site.plates:
        if not frame.vectorized and frame.size != frame.full_size:
            raise InputError(
                f"site {name!r} in the {program} stands in the sequential plate {frame.name!r}, "
                f"which takes {frame.size} of {frame.full_size}: weights would be of parts of the "
                "data. Only the data plate may subsample"
            )
    frames = _data_frames(site, particles)
    if len(frames) != 1 or frames[0].dim != -1:
        plates = ", ".join(f"{f.name!r} (dim {f.dim})" for f in frames) or "none"
        if not frames:
            reason = "Its weights would be joint over the batch"
        elif len(frames) == 1:
            reason = "The particles' plate takes dim=-2, and data are the last dimension"
        else:
            reason = "Declare the dimensions of one datum with .to_event"
        raise ValueError(
            f"site {name!r} in the {program} must stand in exactly one data plate at dim=-1, but "
            f"its plates are: {plates}. {reason}"
        )
    (particle_frame,) = (f for f in site.plates if f.name == particles)
    wanted = (particle_frame.size, frames[0].size)
    if log_prob.shape != wanted:
        raise ValueError(
            f"site {name!r} in the {program} has log-probabilities of shape "
            f"{tuple(log_prob.shape)}, not (particles, data) = {wanted}; declare the dimensions of "
            "one datum with .to_event, and let layers broadcast over the particles"
        )


def _data_frames(site: Site, particles: str) -> list:
    return [f for f in site.plates if f.name != particles and f.vectorized]


def check_all_rows(weighed: int, rows: int) -> None:
    """Numbers per datum want the weights of every row, which a subsampling plate does not give."""
    if weighed != rows:
        raise ValueError(
            f"the programs weigh {weighed} of {rows} rows: their data plate subsamples. Train with "
            "it, but evaluate and resample with a plate as large as the data"
        )


def check_one_data_plate(model_sites: Sites, guide_sites: Sites, particles: str) -> None:
    """Model and guide must share one data plate (same name, same size)."""
    plates: dict = {}
    for sites in (model_sites, guide_sites):
        for name, site in sites.items():
            (frame,) = _data_frames(site, particles)
            plates.setdefault((frame.name, frame.size), name)
    if len(plates) > 1:
        found = ", ".join(
            f"{site!r} in {key[0]!r} of size {key[1]}" for key, site in plates.items()
        )
        raise ValueError(f"all sites must share one data plate, but: {found}")


def common_scale(observed: Sites) -> float | Tensor:
    """The scale that all observed sites share: it multiplies each datum's finished bound."""
    (first, site), *rest = observed.items()
    for name, other in rest:
        if not _equal(other.scale, site.scale):
            raise ValueError(
                f"observed sites {first!r} and {name!r} are scaled by {site.scale} and "
                f"{other.scale}; their common scale multiplies the bound, so it must be one"
            )
    if _equal(site.scale, 0.0):
        raise ValueError(f"observed site {first!r} is scaled by 0; there is no bound left")
    return site.scale


def latent_beta(
    name: str, model_site: Site, guide_site: Site, data_scale: float | Tensor
) -> float | Tensor:
    """The factor on a level beyond the common scale; model and guide must agree on it."""
    if not _equal(model_site.scale, guide_site.scale):
        raise ValueError(
            f"site {name!r} is scaled by {model_site.scale} in the model and by "
            f"{guide_site.scale} in the guide; both must be equal (pyro_vae.anneal "
            "scales both)"
        )
    if torch.is_tensor(model_site.scale) != torch.is_tensor(data_scale):
        # A beta that is a tensor, the input of a compiled graph: its value decides nothing here.
        return model_site.scale / data_scale
    if _equal(model_site.scale, data_scale):
        return 1.0
    return model_site.scale / data_scale


def _equal(a: float | Tensor, b: float | Tensor) -> bool:
    if a is b:
        return True
    if torch.is_tensor(a) or torch.is_tensor(b):
        return bool(torch.all(torch.as_tensor(a) == torch.as_tensor(b)))
    return a == b
