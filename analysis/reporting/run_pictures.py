"""The pictures of one run: curves, reconstructions, samples, decoder filters, active units."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure

from analysis.pictures import epochs
from analysis.pictures.image_grids import plot_image_grid
from analysis.pictures.panels import panel, panels
from analysis.pictures.units import plot_activity
from analysis.probes.fields import projective_fields
from analysis.probes.image_rows import as_effects, as_images, grey_limit
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD, PosteriorMeans
from pyro_vae.runs import RunDirectory
from pyro_vae.storage import write_whole

GRID_COLUMNS = 10
MAX_FILTERS = 100


def write_figures(
    directory: RunDirectory, model, guide, data: Dataset, idata, means: dict[str, PosteriorMeans]
) -> list[str]:
    """Write the PNG files of ``figures/``; images are in the units the model was trained on.

    Returns:
        a line for each picture that cannot be drawn, with the reason.
    """
    drawn = {"curves": curves(directory), "active_units": active_units(means)}
    of_images = {
        "reconstructions": lambda: reconstructions(idata, data),
        "samples": lambda: samples(idata, data),
        "filters": lambda: filters(model, data, means["z1"]),
    }
    reasons: dict[str, list[str]] = {}
    for name, draw in of_images.items():
        try:
            drawn[name] = draw()
        except InputError as error:
            reasons.setdefault(str(error), []).append(name)
    for name, figure in drawn.items():
        write_whole(directory.figures / f"{name}.png", png(figure))
    return [f"no picture of {', '.join(names)}: {why}" for why, names in reasons.items()]


def png(figure: Figure) -> memoryview:
    """The figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getbuffer()


def image_grid(images: np.ndarray, columns: int = GRID_COLUMNS) -> memoryview:
    """Images (N, H, W) or (N, H, W, 3) side by side as a PNG file, on one scale from 0 to 1."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns, rows + 0.2), layout="constrained")
    plot_image_grid(figure.subplots(), images.clip(0, 1), columns)
    return png(figure)


def curves(directory: RunDirectory) -> Figure:
    """Bounds, KL terms, reconstruction and effective sample size against the epoch."""
    metrics = directory.read_metrics()
    figure, axes = panels(4, (5.5, 3.5), per_row=2)
    epochs.plot_bounds(axes[0], metrics)
    epochs.plot_kl(axes[1], metrics)
    epochs.plot_reconstruction(axes[2], metrics)
    epochs.plot_effective_sample_size(axes[3], metrics)
    return figure


def reconstructions(idata, data: Dataset, count: int = GRID_COLUMNS) -> Figure:
    """Test images over the mean of their posterior-predictive draws."""
    shown = as_images(idata.observed_data.x.values[:count], data)
    replicated = idata.posterior_predictive.x.values[0, :, :count].mean(0)
    both = np.concatenate([shown, as_images(replicated, data)])
    figure, ax = panel(10, 2.4)
    plot_image_grid(ax, both, len(shown), limit=grey_limit(both, data))
    ax.set_title("test data (top) and posterior-predictive mean (bottom)")
    return figure


def samples(idata, data: Dataset, count: int = 5 * GRID_COLUMNS) -> Figure:
    """Images simulated from the model."""
    drawn = as_images(idata.prior_predictive.x.values[0, :count], data)
    figure, ax = panel(10, 5.4)
    plot_image_grid(ax, drawn, GRID_COLUMNS, limit=grey_limit(drawn, data))
    ax.set_title("samples from the model")
    return figure


def filters(model, data: Dataset, means: PosteriorMeans) -> Figure:
    """What each unit of z1 adds to the image, for the units of greatest activity."""
    order = means.activity.argsort(descending=True)[:MAX_FILTERS].cpu().numpy()
    effects = projective_fields(model, one_sided=True)["projective"][order]
    images = as_effects(effects, data)
    pixels = tuple(range(1, images.ndim))
    images = images / np.abs(images).max(axis=pixels, keepdims=True).clip(1e-12)
    rows = -(-len(images) // GRID_COLUMNS)
    figure, ax = panel(10, rows + 0.5)
    plot_image_grid(ax, images, GRID_COLUMNS, limit=1.0)
    ax.set_title(f"projective fields of the {len(images)} most active units of z1, each scaled")
    return figure


def active_units(means: dict[str, PosteriorMeans]) -> Figure:
    """Sorted activity of every level."""
    figure, axes = panels(len(means), (5.5, 4), per_row=len(means))
    for ax, name in zip(axes, sorted(means), strict=True):
        plot_activity(ax, means[name].activity.cpu().numpy(), ACTIVITY_THRESHOLD, name)
    return figure
