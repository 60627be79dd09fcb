"""Pictures of a prior: samples as draws and as means, paths between images, components."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from analysis.pictures.image_grids import plot_rows
from analysis.pictures.panels import panels
from analysis.pictures.samples import plot_beside
from analysis.probes.decoder import simulate
from analysis.probes.image_rows import as_images, first_rows, grey_limit
from analysis.probes.prior import components, interpolate
from analysis.reporting.generated import COUNT, scale_of, unit_of
from pyro_vae.datasets import Dataset
from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.torch_state import own_generators

PAIRS, STEPS = 5, 9  # of images, and images on the way from one to the other
COMPONENTS, DRAWS = 8, 8


def draws_and_means(model: HierarchicalVAE, data: Dataset, seed: int = 0) -> Figure:
    """Draws of p(x | z) beside E[x | z] at the same z ~ p(z), on the grey scale of the data."""
    with own_generators():
        torch.manual_seed(seed)
        means, drawn = simulate(model, COUNT)
    images = [as_images(part, data) for part in (drawn, means)]
    real = as_images(first_rows(data, "test", COUNT).cpu().numpy(), data)
    figure, axes = panels(2, (6, 4.3), per_row=2)
    names = f"{COUNT} draws of p(x | z), z ~ p(z)", "E[x | z] at the same z"
    plot_beside(axes, images, names, unit_of(data), scale_of(real, data))
    return figure


def interpolation(model: HierarchicalVAE, guide: Callable, data: Dataset, seed: int = 0) -> Figure:
    """Between pairs of test images: in z, and in the base of a flow prior."""
    with own_generators():
        found = interpolate(model, guide, first_rows(data, "test", 2 * PAIRS), STEPS, seed)
    parts = {"straight lines in z": found.in_z}
    if found.in_base is not None:
        parts["straight lines in the base of the flow"] = found.in_base
    figure, axes = panels(len(parts), (6, 0.65 * PAIRS + 0.8), per_row=2)
    for ax, (name, rows) in zip(axes, parts.items(), strict=True):
        _plot(ax, rows, [""] * PAIRS, [f"{share:.2g}" for share in np.linspace(0, 1, STEPS)], data)
        ax.set_title(f"E[x | z] on {name}")
    return figure


def used_components(model: HierarchicalVAE, guide: Callable, x: Tensor, data: Dataset, seed: int):
    """The components of a mixture prior that codes use most, with their shares and draws.

    Raises:
        InputError: a prior that is no mixture.
    """
    with own_generators():
        found = components(model, guide, x, COMPONENTS, DRAWS, seed)
    rows = np.concatenate([found.images[:, None], found.samples], 1)
    figure, axes = panels(1, (7, 0.65 * len(rows) + 0.8))
    first = "pseudo-input" if found.pseudo_inputs else "E[x | location]"
    shares = [f"{share:.3f}" for share in found.shares]
    _plot(axes[0], rows, shares, [first, *[""] * (DRAWS - 1), "E[x | z] at draws"], data)
    axes[0].set_title("components by their share of the codes")
    return figure


def _plot(ax: Axes, rows: np.ndarray, names: list[str], above: list[str], data: Dataset) -> None:
    images = as_images(rows.reshape(-1, rows.shape[-1]), data)
    shown = images.reshape(*rows.shape[:2], *images.shape[1:])
    plot_rows(ax, shown, names, above, limit=grey_limit(images, data))
