"""Responses of z1 to illusory contours, with the feedback from z2 as it is and put out of action.

Stimuli are rendered as whitened images and projected on the span of the data's rows, the part that
a guide was trained on. After Csikor et al. (2022, https://arxiv.org/abs/2206.00436; 2023), who ask
how inference of z1 from occluded stimuli is shaped from above; the stimuli are those of Lee and
Nguyen (2001).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.measures.by_name import Named
from analysis.measures.illusion import CONDITIONS, ILLUSORY, ROTATED, render, units_with_room
from analysis.probes.draws import WEIGHTED_CHUNK_SIZE
from analysis.probes.inpainting import refusals
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.posterior_moments import posterior_moments
from pyro_vae.torch_state import flushed_denormals, own_generators
from pyro_vae.weights import traces
from pyro_vae.weights.handlers import SetValues

if TYPE_CHECKING:
    from analysis.reporting.study import Subject

SAMPLES = 64  # draws of z2 behind a response
MAX_UNITS = 100
WEIGHTED_WORK = 37_500  # particles that q_EW may take, for each of the settings' groups
EXAMPLES = 6


@torch.no_grad()
def response(
    guide: Callable,
    x: Tensor,
    source: Tensor | None = None,
    num_samples: int = SAMPLES,
    *,
    level: str = "z1",
    seed: int = 0,
) -> NDArray[np.float64]:
    """E[z1 | x, z_above] averaged over draws of the levels above from q(. | source): (N, U).

    With ``source`` = x, the default, that is the guide's posterior mean E_q[z1 | x]. With another
    source the encoding of x stays and the feedback is what the source would have sent. Of a guide
    whose z1 has no parents among the latents every source gives the same.

    Args:
        x: (N, D). source: (N, D), or None for x itself.
        seed: of the draws. Calls with the same seed and N use the same noise, so that differences
            between stimuli are those of the stimuli.

    Raises:
        InputError: the guide has no such level, the shapes differ, or its parameters overflow.
    """
    check_count("num_samples", num_samples)
    source = x if source is None else source
    if source.shape != x.shape:
        raise InputError(f"source has shape {tuple(source.shape)}, x {tuple(x.shape)}")
    with (
        own_generators(),
        flushed_denormals(),
        refusals("these stimuli"),
        traces.particles(num_samples),
    ):
        torch.manual_seed(seed)
        above = traces.latent_values(traces.run(guide, (source,), {}))
        if above.pop(level, None) is None:
            raise InputError(f"the guide has no level {level!r}; it has {', '.join(above)}")
        site = traces.run(guide, (x,), {}, SetValues(above))[level]
    mean = site.fn.mean.expand(num_samples, len(x), *site.value.shape[2:])
    return mean.double().mean(0).cpu().numpy()


def stimulus_rows(images: NDArray, data: Dataset) -> Tensor:
    """Whitened images (..., H, W) as rows (..., D) of the data, inside the span of its rows.

    For ``"zca"`` and ``"radial"`` data x -> V' V x, for ``"pca"`` x -> V x, with V the kept
    components; other rows are pixels as they are.

    Raises:
        InputError: the data are no standardised grey images.
    """
    whitening = data.whitening
    shape = data.image_shape if whitening is None else whitening.image_shape
    if len(shape) != 2 or not data.pixels.standardised:
        raise InputError(
            f"gratings want standardised grey images; {data.name} has {data.pixels} rows of shape "
            f"{tuple(data.image_shape)}"
        )
    rows = torch.as_tensor(images, dtype=torch.float64).reshape(*images.shape[:-2], -1)
    if whitening is not None and whitening.kind != "none":
        rows = rows @ whitening.components.T
        if whitening.subspace is not None:
            rows = rows @ whitening.subspace
    return rows.to(data.test.dtype)


def contours(subject: Subject) -> Named:
    """Responses of active, localised units to the stimuli of :mod:`analysis.measures.illusion`.

    The five stimuli of a unit share one factor, which gives the full grating the median norm of
    natural test rows. Responses are E[z1_u | stimulus] - E[z1_u | blank row], in units of z1.

    Returns:
        ``unit`` (n,) of z1; (n, 5), a column per condition: ``response``; ``response_blank`` and
        ``response_rotated``, with z2 drawn from q(z2 | blank) and q(z2 | rotated control);
        ``linear``, the stimuli times the unit's receptive field; for importance-weighted runs
        ``response_ew``, under q_EW, with ``response_ew_noise`` (5,), its Monte Carlo variance per
        unit; ``leak`` (n,), the energy that projection brings into the gap's middle, as a share of
        the full grating's there; ``examples`` (up to 6, 5, D), stimuli.

    Raises:
        InputError: rows are no standardised images, or no unit has room for inducers.
    """
    data, guide, seed = subject.natural, subject.run.guide, subject.settings.seed
    shape = data.image_shape if data.whitening is None else data.whitening.image_shape
    blank = stimulus_rows(np.zeros((1, *shape)), data)
    fits = pd.DataFrame(dict(subject.measured("gabor")))
    active = subject.measured("activity").z1_active
    units = units_with_room(fits, shape)
    units = units[active[units]]
    if len(units) == 0:
        raise InputError(
            f"none of {active.sum()} active units of {len(fits)} has a Gabor field with room for "
            "inducers"
        )
    # The best fits first, so that a cut takes the clearest; then in the units' order.
    best = np.argsort(-fits.r2.to_numpy(float)[units], kind="stable")[:MAX_UNITS]
    units = np.sort(units[best])
    images = render(fits.iloc[units], shape)
    x = stimulus_rows(images, data)  # (n, conditions, D)
    norm = data.test.norm(dim=1).median()
    x = x * (norm / x[:, :1].norm(dim=-1, keepdim=True))
    blank = blank.expand(len(units), -1)

    def own(values: NDArray) -> NDArray:
        return values[np.arange(len(units)), units]

    def answers(source: Tensor | None) -> NDArray:
        found = [response(guide, x[:, c], source, seed=seed) for c in range(len(CONDITIONS))]
        return np.stack([own(values) for values in found], axis=1)

    base = own(response(guide, blank, seed=seed))[:, None]
    receptive = torch.as_tensor(subject.measured("filters").receptive)[units].to(x)
    found = Named(
        {
            "unit": units,
            "response": answers(None) - base,
            "response_blank": answers(blank) - base,
            "response_rotated": answers(x[:, ROTATED]) - base,
            "linear": torch.einsum("ncd,nd->nc", x, receptive).double().numpy(),
            "leak": _leak(images, x, data),
            "examples": x[:EXAMPLES].numpy(),
        }
    )
    if subject.weighted:
        found.update(_weighted(subject, x, blank, own))
    return found


def _weighted(subject: Subject, x: Tensor, blank: Tensor, own: Callable) -> Named:
    """Responses under q_EW: every stimulus has its own weights, so the noise is not shared."""
    work = (len(CONDITIONS) + 1) * len(x) * subject.proposals
    wanted = subject.settings.weighted_groups
    groups = max(2, min(8 * wanted, WEIGHTED_WORK * wanted // work))
    found, noise = [], []
    for rows in (blank, *x.unbind(1)):
        moments = Named(
            posterior_moments(
                subject.run.model,
                subject.run.guide,
                rows,
                subject.proposals,
                groups,
                seed=subject.settings.seed + len(found),
                chunk_size=WEIGHTED_CHUNK_SIZE,
            )
        )
        found.append(own(moments.z1_mean).astype(float))
        noise.append(float(moments.z1_noise.mean()))
    answers = np.stack(found[1:], axis=1) - found[0][:, None]
    return Named(response_ew=answers, response_ew_noise=np.array(noise[1:]) + noise[0])


def _leak(images: NDArray, x: Tensor, data: Dataset) -> NDArray:
    """Energy of illusory rows where the rendered stimulus is blank, over that of the full ones."""
    pixels = x.double()
    if data.whitening is not None and data.whitening.kind == "pca":
        pixels = pixels @ data.whitening.components
    energy = pixels.square().numpy()
    gap = np.abs(images[:, ILLUSORY]).reshape(len(images), -1) == 0
    full = (energy[:, 0] * gap).sum(1)
    return (energy[:, ILLUSORY] * gap).sum(1) / np.maximum(full, np.finfo(float).tiny)
