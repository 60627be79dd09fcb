"""What a model generates: samples beside data, textures along units of z2, families of filters."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from analysis.pictures.image_grids import shades
from analysis.pictures.panels import panel, panels
from analysis.pictures.samples import COLUMNS, plot_beside
from analysis.pictures.textures import plot_families, plot_textures
from analysis.probes.decoder import simulate
from analysis.probes.fields import projective_fields
from analysis.probes.image_rows import as_effects, as_images, first_rows, grey_limit
from analysis.probes.textures import Traversals, family, traverse_z2
from pyro_vae.datasets import Dataset
from pyro_vae.datasets.patch_preprocessing import PatchPreprocessing
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD
from pyro_vae.torch_state import own_generators

COUNT = 5 * COLUMNS
UNITS = 5  # of z2, the most active ones
FAMILY = 8  # units of z1 whose scale grows most, and as many whose scale shrinks most
EDGE = 0.005  # share of the data's values that may be blacker than black, or whiter than white


def samples(model, data: Dataset, seed: int = 0) -> Figure:
    """Test images beside samples of the model on one grey scale, in every unit that rows have.

    A sample is E[x | z1] at a draw of the prior: the noise of the pixels, which is the same for
    every image and has no structure, is left out.
    """
    rows = first_rows(data, "test", COUNT).cpu().numpy()
    with own_generators():
        torch.manual_seed(seed)
        drawn, _ = simulate(model, COUNT)
    both = {unit_of(data): [as_images(part, data) for part in (rows, drawn)]}
    if isinstance(data.preprocessing, PatchPreprocessing):
        both["photograph units (grey levels)"] = [
            data.preprocessing.images(part) for part in (rows, drawn)
        ]
    figure, axes = panels(2 * len(both), (6, 4.3), per_row=2)
    cut = "patches" if isinstance(data.preprocessing, PatchPreprocessing) else "images"
    names = f"{len(rows)} test {cut}", f"{len(drawn)} samples, E[x | z] at z ~ p(z)"
    for place, (unit, images) in enumerate(both.items()):
        plot_beside(axes[2 * place :][:2], images, names, unit, scale_of(images[0], data))
    return figure


def unit_of(data: Dataset) -> str:
    """What the numbers of a row are."""
    if data.whitening is not None and data.whitening.kind != "none":
        return "whitened units"
    return "standardised units" if data.pixels.standardised else "grey levels"


def scale_of(images: np.ndarray, data: Dataset) -> tuple[float, float]:
    """Values of black and white: of the data, so that samples that are too strong show as such."""
    if images.ndim == 4 or not data.pixels.standardised:
        return 0.0, 1.0
    low, high = np.quantile(images, [EDGE, 1 - EDGE])
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _most_active(activity: np.ndarray | None) -> list[int]:
    """The most active units of z2, most active first; InputError where there is no z2."""
    if activity is None:
        raise InputError("the model has one level: there is no z2 to move along")
    order = np.argsort(-activity, kind="stable")[:UNITS]
    return [int(unit) for unit in order if activity[unit] > ACTIVITY_THRESHOLD]


def textures(model, data: Dataset, activity: np.ndarray | None, seed: int = 0) -> Figure:
    """Samples along the most active units of z2, those of a unit on one grey scale.

    The first unit is as a rule the contrast: on its scale the others would be grey.

    Args:
        activity: (U,), of the units of z2; None for a model of one level.

    Raises:
        InputError: one level, or no active unit.
    """
    moved = traverse_z2(model, _most_active(activity), seed=seed)
    rows, columns, count = moved.images.shape[:3]
    images = as_images(moved.images.reshape(rows * columns * count, -1), data)
    images = images.reshape(rows, columns, count, *images.shape[1:])
    limits = [grey_limit(row, data) for row in images]
    shown = [
        row if limit is None else shades(row, limit)
        for row, limit in zip(images, limits, strict=True)
    ]
    names = [
        name if limit is None else f"{name}\n±{limit:.2g}"
        for name, limit in zip(_names(moved), limits, strict=True)
    ]
    figure, ax = panel(9, 1.7 * rows + 0.9)
    plot_textures(ax, np.array(shown), names, moved.values)
    scales = "" if None in limits else "; ±: grey scale of a row"
    ax.set_title(
        f"E[x | z1] at {count} draws of z1 given z2, along its most active units\n"
        f"({unit_of(data)}{scales}; sd: of the prior)"
    )
    return figure


def families(
    model, data: Dataset, activity: np.ndarray | None, above_gap: np.ndarray | None
) -> Figure:
    """For the most active units of z2 the filters of z1 whose scale they change most.

    Args, Raises: as :func:`textures`.
        above_gap: (U,) booleans, the units of z1 to choose from; None for all.
    """
    moved = traverse_z2(model, _most_active(activity), num_samples=1)
    images = as_effects(projective_fields(model, one_sided=True).projective, data)
    chosen = np.arange(len(images)) if above_gap is None else np.flatnonzero(above_gap)
    parts = []
    for log_ratio in moved.log_ratio[:, chosen]:
        groups = family(log_ratio, FAMILY)
        parts.append([(images[chosen[group]], np.exp(log_ratio[group])) for group in groups])
    figure, ax = panel(14, 0.95 * len(parts) + 1.0)
    plot_families(ax, parts, _names(moved), ("grows most", "shrinks most"))
    low, high = moved.values[[0, -1]]
    ax.set_title(
        "Filters of the units of z1 whose standard deviation given z2 changes most, from "
        f"{low:+g} to {high:+g} prior sd of one unit of z2\n"
        "(above each filter the factor; each on its own grey scale)"
    )
    return figure


def _names(moved: Traversals) -> list[str]:
    return [f"z2[{unit}]" for unit in moved.units]
