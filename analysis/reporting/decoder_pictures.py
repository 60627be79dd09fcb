"""The filters of a decoder, framed by the class of their Gabor fits, beside those of noise."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.pictures.filters import plot_filter_grid
from analysis.pictures.image_grids import plot_image_grid
from analysis.pictures.panels import panel, panels
from analysis.probes.fields import projective_fields
from analysis.probes.image_rows import as_effects
from pyro_vae.datasets import Dataset
from pyro_vae.evaluation.activity import PosteriorMeans
from pyro_vae.evaluation.filters.classes import CLASS
from pyro_vae.evaluation.filters.decoder_filters import Classified, DecoderFilters

COLUMNS = 25
PLAIN_COLUMNS, MAX_PLAIN = 10, 100


def filters(model, data: Dataset, means: PosteriorMeans, found: DecoderFilters | str) -> Figure:
    """Filters sorted and framed by class beside filters of noise, or by activity without classes.

    Args:
        means: of z1. found: the filters with their Gabor fits, or why there are none.
    """
    return plain_filters(model, data, means) if isinstance(found, str) else by_class(found)


def by_class(found: DecoderFilters) -> Figure:
    """Units above the gap of activity, all where there is no clear one, and filters of noise."""
    counts, chosen = found.counts(), found.above_gap
    which = "all units: no clear gap of activity" if chosen is None else "units above the gap"
    title = (
        f"{counts.localised_shown} of the {counts.shown} filters drawn are localised ({which})\n"
        f"of all {counts.units} units: {counts.localised} localised, {counts.non_localised} "
        f"non-localised, {counts.unresolved} unresolved"
    )
    rows = -(-counts.shown // COLUMNS)
    noise_columns = max(4, -(-counts.noise // rows)) if counts.noise else 0
    columns = [min(COLUMNS, counts.shown), *([noise_columns] if counts.noise else [])]
    figure, axes = panels(len(columns), (16 / len(columns), 0.43 * rows + 1.1), shares=columns)
    _plot(axes[0], found.units, chosen, columns[0], title)
    if counts.noise:
        _plot(
            axes[1],
            found.noise,
            None,
            noise_columns,
            f"noise in the same space:\n{counts.noise_localised} of {counts.noise} localised",
        )
        axes[1].get_legend().remove()  # the colours are those beside
    return figure


def _plot(ax, part: Classified, chosen: np.ndarray | None, columns: int, title: str) -> None:
    shown = np.arange(len(part.images)) if chosen is None else np.flatnonzero(chosen)
    fits = part.fits.iloc[shown]
    plot_filter_grid(
        ax,
        part.images[shown],
        fits[CLASS].to_numpy(),
        fits.r2.to_numpy(),
        columns=columns,
        title=title,
    )


def plain_filters(model, data: Dataset, means: PosteriorMeans) -> Figure:
    """What each unit of z1 adds to the image, for the units of greatest activity."""
    order = means.activity.argsort(descending=True)[:MAX_PLAIN].cpu().numpy()
    effects = projective_fields(model, one_sided=True).projective[order]
    images = as_effects(effects, data)
    pixels = tuple(range(1, images.ndim))
    images = images / np.abs(images).max(axis=pixels, keepdims=True).clip(1e-12)
    rows = -(-len(images) // PLAIN_COLUMNS)
    figure, ax = panel(10, rows + 0.5)
    plot_image_grid(ax, images, PLAIN_COLUMNS, limit=1.0)
    ax.set_title(f"projective fields of the {len(images)} most active units of z1, each scaled")
    return figure
