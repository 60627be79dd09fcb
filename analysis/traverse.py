"""Images along single units, runs side by side: ``python -m analysis.traverse RUN [RUN ...]``.

All runs move the units that the last one uses most, so that runs of growing capacity, each of which
goes on from the one before, show which unit comes to life when (Burgess et al. 2018,
https://arxiv.org/abs/1804.03599, figure 3).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from analysis.pictures.traversals import plot_traversal
from analysis.probes.image_rows import as_images, grey_limit
from analysis.probes.traversals import Traversal, traverse
from analysis.reporting.finished import FinishedRun, check_comparable, read_run
from analysis.reporting.run_pictures import png
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError, check_count
from pyro_vae.storage import write_whole
from pyro_vae.ticking import ticking
from pyro_vae.torch_state import own_generators

KL_DATA = 1_000
NUM_UNITS = 6
COLUMNS = 3  # runs side by side


def main(arguments: list[str] | None = None) -> int:
    """Draw what single units of finished runs do to an image."""
    parser = argparse.ArgumentParser(prog="python -m analysis.traverse", description=main.__doc__)
    parser.add_argument("run", nargs="+", type=Path, help="run directories, on the same data")
    parser.add_argument("--out", required=True, type=Path, help="the PNG file")
    parser.add_argument("--level", default="z1", help="of the units (default: z1)")
    parser.add_argument(
        "--image", default=0, type=int, help="which test image is encoded (default: 0)"
    )
    parser.add_argument(
        "--num-units",
        default=NUM_UNITS,
        type=int,
        help=f"units of largest KL in the last run (default: {NUM_UNITS})",
    )
    given = parser.parse_args(arguments)
    try:
        check_count("--num-units", given.num_units)
        runs = [read_run(path) for path in given.run]
        check_comparable(runs)
        data = runs[0].load_data()
        with ticking("drawing"):
            *_, last = _traversals([runs[-1]], data, given.level, given.image, None)
            units = last.units[: given.num_units]
            found = _traversals(runs, data, given.level, given.image, units)
            write_whole(given.out, png(_figure(runs, found, data)))
        print(f"wrote {given.out}")
    except (InputError, OSError) as error:
        print(f"analysis.traverse: {error}", file=sys.stderr)
        return 2
    return 0


def _traversals(
    runs: list[FinishedRun],
    data: Dataset,
    level: str,
    image: int,
    units: tuple[int, ...] | None,
) -> list[Traversal]:
    found = []
    for run in runs:
        with own_generators():
            torch.manual_seed(0)
            rows = data.test[:KL_DATA]
            found.append(
                traverse(run.model, run.guide, rows, image=image, level=level, units=units)
            )
    return found


def _figure(runs: list[FinishedRun], found: list[Traversal], data: Dataset) -> Figure:
    pixels = found[0].rows.shape[-1]
    images = as_images(np.stack([one.rows for one in found]).reshape(-1, pixels), data)
    shape = len(runs), *found[0].rows.shape[:2]
    columns = min(len(runs), COLUMNS)
    lines = -(-len(runs) // columns)
    figure = Figure(
        figsize=(4.3 * columns, lines * (0.38 * len(found[0].units) + 0.7)), layout="constrained"
    )
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in panels[len(runs) :]:
        ax.set_axis_off()
    limit = grey_limit(images, data)
    parts = images.reshape(*shape, *images.shape[1:])
    for ax, run, one, part in zip(panels, runs, found, parts, strict=False):
        plot_traversal(ax, part, one.units, one.kl, one.values, limit=limit)
        ax.set_title(f"{run.path.name}: KL {one.kl.sum():.1f} nats", fontsize="medium")
    return figure


if __name__ == "__main__":
    sys.exit(main())
