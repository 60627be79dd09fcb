"""Fields of the units of z1 in the space of the data: what they add to x, and what drives them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from analysis.measures.by_name import Named
from analysis.probes.decoder import expected_x
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError, check_count, check_positive
from pyro_vae.evaluation.activity import posterior_means
from pyro_vae.torch_state import own_generators

NUM_IMAGES = 8_000
NUM_SAMPLES = (
    8  # of z2 behind each response: what it leaves of their noise averages out over images
)


@torch.no_grad()
def projective_fields(
    model,
    step: float = 1.0,
    base: Tensor | np.ndarray | None = None,
    *,
    one_sided: bool = False,
) -> Named:
    """Latent traversal of every unit u of z1 (Vas 2024, section 5.4 and Figure 5.19).

        ( E[x | z1 = base + step e_u] - E[x | z1 = base - step e_u] ) / (2 step)

    Of a linear decoder these are its columns, whatever step and base are. Of any other they are
    the mean slope of E[x | z1] over the traversed interval and depend on both.

    Args:
        model: hierarchical VAE whose ``likelihood`` gives p(x | z1).
        step: half the traversed interval, in units of z1. base: (U,), by default 0.
        one_sided: traverse from the base upward only,
            (E[x | base + step e_u] - E[x | base]) / step.

    Returns:
        ``projective`` (U, D), in units of x per unit of z1.

    Raises:
        InputError: a step that is not positive and finite, or a base of another shape.
    """
    check_positive("step", step)
    units = model.latent_sizes[0]
    like = next(model.likelihood.parameters())
    centre = torch.zeros(units).to(like) if base is None else torch.as_tensor(base).to(like)
    if centre.shape != (units,):
        raise InputError(f"base has shape {tuple(centre.shape)}, z1 has ({units},)")
    steps = step * torch.eye(units).to(like)
    above = expected_x(model, {"z1": centre + steps})
    below = expected_x(model, {"z1": centre[None] if one_sided else centre - steps})
    width = step if one_sided else 2 * step
    return Named(projective=((above - below) / width).cpu().numpy())


def receptive_fields(
    guide: Callable,
    num_pixels: int,
    *,
    basis: np.ndarray | None = None,
    scale: float | None = None,
    num_images: int = NUM_IMAGES,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
) -> Named:
    """Receptive field of every unit of z1 by reverse correlation with Gaussian white noise.

    With noise images x_n and responses r_n = E_q[z1 | x_n], the spike-triggered average of
    neurophysiology is, for graded responses,

        sum_n (r_n - mean r) x_n / ( (N - 1) scale^2 )

    whose expectation is E[dr / dx], the slope of the response averaged over the noise (Stein's
    lemma): the weights themselves, where the response is linear.

    Rows whitened with a low-pass cut fill a subspace, and what lies outside never reached the guide
    in training. Given its ``basis`` the noise stays inside: x = scale * basis' e, e standard
    normal. The default scale then gives pixels the mean square 1 that training rows have, and the
    noise has exactly the covariance of ZCA's rows; of filtered photographs, whose spectrum is white
    in the middle of the band only, about that. Without a basis every entry of the row is noise of
    standard deviation ``scale``.

    Args:
        guide: Pyro program with a site ``z1``. num_pixels: D, of its rows.
        basis: (n, D), orthonormal rows; see :func:`noise_basis`.
        scale: standard deviation along each direction; sqrt(D / n) by default, 1 without a basis.
        num_images: N. num_samples: draws of the parents of z1 behind each response.
        seed: of images and draws.

    Returns:
        ``receptive`` (U, D), units of z1 per unit of x, and ``receptive_se`` (U, D), its standard
        errors, from the spread over images.

    Raises:
        InputError: fewer than 2 images, a basis that is not orthonormal rows of D entries, a scale
            that is not positive, or responses that are not finite.
    """
    check_count("num_images", num_images, minimum=2)
    directions = _directions(basis, num_pixels)
    scale = float(np.sqrt(num_pixels / len(directions))) if scale is None else scale
    check_positive("scale", scale)
    rng = np.random.default_rng(seed)
    x = scale * rng.standard_normal((num_images, len(directions)))
    x = x if basis is None else x @ directions
    like = next(guide.parameters()) if isinstance(guide, nn.Module) else torch.empty(0)
    with own_generators():
        torch.manual_seed(seed)
        means = posterior_means(guide, torch.as_tensor(x).to(like), num_samples=num_samples)
    responses = means["z1"].mean.cpu().numpy()
    if not np.isfinite(responses).all():
        raise InputError("the guide's responses to white noise are not finite")
    responses = responses - responses.mean(axis=0)
    field = responses.T @ x / ((num_images - 1) * scale**2)
    square = (responses**2).T @ x**2 / (num_images * scale**4)
    error = np.sqrt(np.maximum(square - field**2, 0) / num_images)
    return Named(receptive=field, receptive_se=error)


def noise_basis(data: Dataset) -> np.ndarray | None:
    """Orthonormal rows that span the data's own subspace; None where that is the whole space."""
    subspace = None if data.whitening is None else data.whitening.subspace
    if subspace is None or len(subspace) == subspace.shape[1]:
        return None
    return subspace.numpy()


def _directions(basis: np.ndarray | None, num_pixels: int) -> np.ndarray:
    if basis is None:
        return np.eye(check_count("num_pixels", num_pixels))
    basis = np.asarray(basis, dtype=float)
    if basis.ndim != 2 or basis.shape[1] != num_pixels or not len(basis):
        raise InputError(f"basis must have shape (n, {num_pixels}), got {basis.shape}")
    if np.abs(basis @ basis.T - np.eye(len(basis))).max() > 1e-4:
        raise InputError("the rows of basis must be orthonormal")
    return basis
