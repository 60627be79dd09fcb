"""The pictures of one run: which there are, how they are written, and why one cannot be drawn."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis.pictures import epochs
from analysis.pictures.image_grids import plot_image_grid
from analysis.pictures.panels import panel, panels
from analysis.pictures.units import plot_activity
from analysis.probes.image_rows import as_images, check_images, grey_limit
from analysis.reporting import generated
from analysis.reporting.decoder_pictures import filters
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD, PosteriorMeans
from pyro_vae.evaluation.activity_gap import above_clear_gap
from pyro_vae.evaluation.filters.decoder_filters import DecoderFilters
from pyro_vae.programs.models import Generative
from pyro_vae.runs import RunDirectory
from pyro_vae.storage import write_whole

GRID_COLUMNS = 10


@dataclass(frozen=True)
class Shown:
    """What the pictures of a run are drawn from.

    Attributes:
        directory: of the run, whose configuration, metrics and seed are read.
        idata: of ``posterior.nc``. means: of every level on test data.
        filters: of the decoder with their Gabor fits, or why there are none.
    """

    directory: RunDirectory
    model: Generative
    data: Dataset
    idata: object
    means: dict[str, PosteriorMeans]
    filters: DecoderFilters | str


def write_figures(shown: Shown) -> list[str]:
    """Write the PNG files of ``figures/``.

    Returns:
        a line for each picture that cannot be drawn, or not in full, with the reason.
    """
    model, data, means = shown.model, shown.data, shown.means
    seed = shown.directory.read_config().seed
    activity = {name: level.activity.cpu().numpy() for name, level in means.items()}
    z2, gap = activity.get("z2"), above_clear_gap(activity["z1"])
    drawn = {"curves": curves(shown.directory), "active_units": active_units(means)}
    of_images: dict[str, Callable[[], Figure]] = {
        "reconstructions": lambda: reconstructions(shown.idata, data),
        "samples": lambda: generated.samples(model, data, seed),
        "filters": lambda: filters(model, data, means["z1"], shown.filters),
        "textures": lambda: generated.textures(model, data, z2, seed),
        "families": lambda: generated.families(model, data, z2, gap),
    }
    reasons: dict[str, list[str]] = {}
    for name, draw in of_images.items():
        try:
            check_images(data)
            drawn[name] = draw()
        except InputError as error:
            reasons.setdefault(str(error), []).append(name)
    for name, figure in drawn.items():
        write_whole(shown.directory.figures / f"{name}.png", png(figure))
    lines = [f"no picture of {', '.join(names)}: {why}" for why, names in reasons.items()]
    if isinstance(shown.filters, str) and "filters" in drawn:
        lines.append(f"filters are drawn without their classes: {shown.filters}")
    return lines


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def image_grid(images: np.ndarray, columns: int = GRID_COLUMNS) -> bytes:
    """Images (N, H, W) or (N, H, W, 3) side by side as a PNG file, on one scale from 0 to 1."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns, rows + 0.2), layout="constrained")
    plot_image_grid(figure.subplots(), images.clip(0, 1), columns)
    return png(figure)


def curves(directory: RunDirectory) -> Figure:
    """Bounds, KL terms, reconstruction and effective sample size against the epoch.

    What the run started from is marked; runs of versions that did not look start from random
    weights.
    """
    metrics = directory.read_metrics()
    init = directory.read_config().facts.start.get("init", "random")
    figure, axes = panels(4, (5.5, 3.5), per_row=2)
    epochs.plot_bounds(axes[0], metrics)
    epochs.mark_start(axes[0], metrics, ["elbo"], init)
    epochs.plot_kl(axes[1], metrics)
    levels = sorted(name for name in metrics if name.startswith("kl_"))
    epochs.mark_start(axes[1], metrics, levels, init, loc="center right")
    epochs.plot_reconstruction(axes[2], metrics)
    epochs.mark_start(axes[2], metrics, ["reconstruction"], init)
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


def active_units(means: dict[str, PosteriorMeans]) -> Figure:
    """Sorted activity of every level."""
    figure, axes = panels(len(means), (5.5, 4), per_row=len(means))
    for ax, name in zip(axes, sorted(means), strict=True):
        plot_activity(ax, means[name].activity.cpu().numpy(), ACTIVITY_THRESHOLD, name)
    return figure
