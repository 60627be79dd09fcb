"""The figures of a run directory: curves, reconstructions, samples, decoder filters, active units.

``python -m analysis.figures RUN`` draws them anew from the files of a run.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from analysis import plots
from pyro_vae.datasets import Dataset, load_dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD, PosteriorMeans, posterior_means
from pyro_vae.runs import RunDirectory, load_run
from pyro_vae.storage import write_whole
from pyro_vae.torch_state import own_generators

GRID_COLUMNS = 10
MAX_FILTERS = 100


def write_figures(
    directory: RunDirectory, model, guide, data: Dataset, idata, means: dict[str, PosteriorMeans]
) -> None:
    """Write the PNG files of ``figures/``; images are in the units the model was trained on.

    Rows that are not grey images (colour, feature tables) have no pictures of data and filters.
    """
    drawn = {"curves": curves(directory), "active_units": active_units(means)}
    if data.whitening is not None or len(data.image_shape) == 2:
        drawn["reconstructions"] = reconstructions(idata, data)
        drawn["samples"] = samples(idata, data)
        drawn["filters"] = filters(model, data, means["z1"])
    for name, figure in drawn.items():
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=120)
        write_whole(directory.figures / f"{name}.png", stream.getbuffer())


def curves(directory: RunDirectory) -> Figure:
    """Bounds, KL terms, reconstruction and effective sample size against the epoch."""
    metrics = directory.read_metrics()
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    plots.plot_bounds(axes[0], metrics)
    plots.plot_kl(axes[1], metrics)
    plots.plot_reconstruction(axes[2], metrics)
    plots.plot_effective_sample_size(axes[3], metrics)
    return figure


def reconstructions(idata, data: Dataset, count: int = GRID_COLUMNS) -> Figure:
    """Test images over the mean of their posterior-predictive draws."""
    shown = as_images(idata.observed_data["x"].values[:count], data)
    replicated = idata.posterior_predictive["x"].values[0, :, :count].mean(0)
    both = np.concatenate([shown, as_images(replicated, data)])
    figure = Figure(figsize=(10, 2.4), layout="constrained")
    ax = plots.plot_image_grid(figure.subplots(), both, len(shown), limit=grey_limit(both, data))
    ax.set_title("test data (top) and posterior-predictive mean (bottom)")
    return figure


def samples(idata, data: Dataset, count: int = 5 * GRID_COLUMNS) -> Figure:
    """Images simulated from the model."""
    drawn = as_images(idata.prior_predictive["x"].values[0, :count], data)
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    ax = plots.plot_image_grid(
        figure.subplots(), drawn, GRID_COLUMNS, limit=grey_limit(drawn, data)
    )
    ax.set_title("samples from the model")
    return figure


def filters(model, data: Dataset, means: PosteriorMeans) -> Figure:
    """What each unit of z1 adds to the image, for the units of greatest activity."""
    order = means.activity.argsort(descending=True)[:MAX_FILTERS]
    effects = unit_effects(model)[order.cpu()].numpy()
    images = as_images(effects, data)
    images = images / np.abs(images).max(axis=(1, 2), keepdims=True).clip(1e-12)
    rows = -(-len(images) // GRID_COLUMNS)
    figure = Figure(figsize=(10, rows + 0.5), layout="constrained")
    ax = plots.plot_image_grid(figure.subplots(), images, GRID_COLUMNS, limit=1.0)
    ax.set_title(f"projective fields of the {len(images)} most active units of z1, each scaled")
    return figure


def active_units(means: dict[str, PosteriorMeans]) -> Figure:
    """Sorted activity of every level."""
    figure = Figure(figsize=(5.5 * len(means), 4), layout="constrained")
    axes = figure.subplots(1, len(means), squeeze=False)[0]
    for ax, name in zip(axes, sorted(means), strict=True):
        plots.plot_activity(ax, means[name].activity.cpu().numpy(), ACTIVITY_THRESHOLD, name)
    return figure


@torch.no_grad()
def unit_effects(model, step: float = 1.0) -> torch.Tensor:
    """(E[x | z1 = step e_u] - E[x | z1 = 0]) / step per unit u, (units, D).

    For a linear decoder these are its columns exactly.
    """
    units = model.latent_sizes[0]
    like = next(model.likelihood.parameters())
    steps = step * torch.eye(units, dtype=like.dtype, device=like.device)
    base = model.likelihood(torch.zeros_like(steps[:1])).mean
    return ((model.likelihood(steps).mean - base) / step).cpu()


def as_images(rows: np.ndarray, data: Dataset) -> np.ndarray:
    """Rows (N, D) as images (N, H, W) for display."""
    return data.preprocessing.shown(rows)


def grey_limit(images: np.ndarray, data: Dataset) -> float | None:
    """Symmetric grey scale for standardised pixels, none (0 to 1) for binary ones."""
    return data.pixels.grey_limit(images)


def main(arguments: list[str] | None = None) -> int:
    """Draw the figures of each run directory anew."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run", nargs="+", type=Path, help="run directories")
    try:
        for path in parser.parse_args(arguments).run:
            _redraw(RunDirectory(path))
    except (InputError, OSError) as error:
        print(f"analysis.figures: {error}", file=sys.stderr)
        return 2
    return 0


def _redraw(directory: RunDirectory) -> None:
    import arviz

    model, guide, config = load_run(directory.path)
    data = load_dataset(**config.data_arguments)
    if not directory.posterior.is_file():
        raise InputError(f"there is no {directory.posterior}; let fit.py finish the run first")
    idata = arviz.from_netcdf(directory.posterior)
    with own_generators():
        torch.manual_seed(config.seed)
        means = posterior_means(guide, data.test[:1_000])
    write_figures(directory, model, guide, data, idata, means)
    print(f"wrote {directory.figures}")


if __name__ == "__main__":
    sys.exit(main())
