"""Finished runs side by side: latent planes, reconstructions, samples, manifolds.

After the figures of Rampersad et al. (poster) and of Arnal et al. 2021 (MLMI4 report, B.1 to B.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.measures.examples import spread_rows
from analysis.pictures.decoding import plot_plane
from analysis.pictures.image_grids import plot_manifold, plot_rows
from analysis.pictures.panels import panel, panels
from analysis.pictures.style import MAX_CLASSES, class_handles, share_limits
from analysis.probes import decoder
from analysis.probes.image_rows import as_images, check_images, grey_limit
from analysis.probes.plane import most_active_plane
from analysis.reporting.finished import FinishedRun, grey_test_rows
from analysis.reporting.over_runs import run_or_reason
from pyro_vae.datasets import Dataset
from pyro_vae.torch_state import own_generators

PICTURES = ("latent_scatter", "encode_decode", "repeated_draws", "samples", "manifold")
MIN_WIDTH = 7.5  # inches, so that titles fit
SCATTER_DATA = 2_000
COLUMNS = 10
REPEATED_DATA = 3
SAMPLES, SAMPLE_COLUMNS = 48, 8
MANIFOLD_SIDE = 15


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    return panels(count, (width, height), least=MIN_WIDTH, margin=(0.8, 0.5))


class Comparison:
    """The pictures of some runs on one data set; each method gives a figure or None.

    A run that a picture cannot show is left out of it, and ``say`` is told why.
    """

    def __init__(
        self, runs: Sequence[FinishedRun], data: Dataset, seed: int = 0, say: Callable = print
    ) -> None:
        check_images(data)
        self.runs, self.data, self.seed, self.say = runs, data, seed, say
        self.labels = None if data.labels is None else data.labels["test"].numpy()
        self.data_name = Path(data.name).name

    def latent_scatter(self) -> Figure | None:
        """Posterior means on the two most active units of z1, in the colours of the classes."""
        if self.labels is None:
            self.say(f"no latent scatter: {self.data_name} has no labels")
            return None
        classes, codes = np.unique(self.labels, return_inverse=True)
        rows = np.flatnonzero(codes < MAX_CLASSES)[:SCATTER_DATA]
        x = self.data.test[rows]
        found = self._each("latent scatter", lambda r: most_active_plane(r.guide, x))
        if not found:
            return None
        names = [self._class_name(label) for label in classes[:MAX_CLASSES]]
        figure, axes = _panels(len(found), 4.6, 5.2)
        for ax, (run, plane) in zip(axes, found, strict=True):
            plot_plane(ax, plane.points, codes[rows], names, plane.width)
            active = f"{plane.num_active} of {plane.num_units} units active"
            ax.set_title(f"{run.title}\n{active}", fontsize="medium")
            axis_names = [
                f"unit {unit} of z1 (activity {activity:.2f})"
                for unit, activity in zip(plane.units, plane.activity, strict=True)
            ]
            ax.set(xlabel=axis_names[0], ylabel=axis_names[1])
        share_limits(axes)
        figure.legend(handles=class_handles(names), loc="outside right center", title="class")
        part = f"\n(the first {len(names)} of {len(classes)} classes)"
        part = part if len(classes) > len(names) else ""
        figure.suptitle(f"Where each guide puts {len(x)} test images of {self.data_name}{part}")
        figure.supxlabel(
            "point: posterior mean E[z | x] of one image, on the two units where\n"
            "it varies most; cross: ± the average posterior standard deviation",
            fontsize="medium",
        )
        return figure

    def encode_decode(self) -> Figure:
        """Test images over their reconstructions, two rows per run."""
        rows = spread_rows(self.labels, len(self.data.test), COLUMNS)
        x = self.data.test[rows]
        names, images = ["test image"], [x.numpy()]
        for run, both in self._each(
            "encode-decode panel",
            lambda r: (
                decoder.encode_decode(r.model, r.guide, x)[0],
                decoder.decode_mean(r.model, r.guide, x),
            ),
        ):
            names += [f"{self._name(run)}\none draw of z1", f"{self._name(run)}\nmean of z1"]
            images += both
        title = (
            f"{len(rows)} test images of {self.data_name}, encoded and decoded: the mean of "
            "p(x | z1)\nat one draw z1 of the guide q(z1 | x), and at the mean of q(z1 | x)"
        )
        caption = "\n".join(
            f"{self._name(run, ' ')}, {run.training}"
            + (run.reconstruction and f": {run.reconstruction}")
            for run in self.runs
        )
        return self._sheet(np.stack(images), names, title, caption)

    def repeated_draws(self) -> Figure:
        """A few images, grey where the data set has grey levels, and several decoded draws."""
        rows = spread_rows(self.labels, len(self.data.test), REPEATED_DATA)
        x, grey = grey_test_rows(self.runs[0], self.data, rows)
        draws = COLUMNS - 1
        found = self._each(
            "repeated draws", lambda r: decoder.encode_decode(r.model, r.guide, x, draws)
        )
        images = [
            np.concatenate([x[index : index + 1].numpy(), decoded[:, index]])
            for index in range(len(rows))
            for _, decoded in found
        ]
        title = (
            f"{len(rows)} {'grey ' if grey else ''}test images of {self.data_name}, each encoded "
            f"and decoded {draws} times:\nthe mean of p(x | z1) at independent draws of q(z1 | x)"
        )
        caption = "the guides read grey levels here; they were trained on binary pixels" * grey
        names = [self._name(run) for run, _ in found] * len(rows)
        columns = ["image", *(f"draw {number}" for number in range(1, draws + 1))]
        return self._sheet(np.stack(images), names, title, caption, columns)

    def samples(self) -> Figure:
        """Images from each model: means and, below each, a draw of p(x | z1) at the same z1."""
        found = self._each("samples", lambda r: decoder.simulate(r.model, SAMPLES))
        # (run, row, mean or draw, column, pixel): every row of means over the row of its draws.
        drawn = np.stack([np.stack(both) for _, both in found])
        drawn = drawn.reshape(len(found), 2, -1, SAMPLE_COLUMNS, drawn.shape[-1]).swapaxes(1, 2)
        images = self._images(drawn.reshape(len(found), -1, *drawn.shape[-2:]))
        binary = self.data.pixels == "binary"
        names = ["mean", "binary draw" if binary else "with noise"] * (SAMPLES // SAMPLE_COLUMNS)
        figure, axes = _panels(len(found), 5.0, 7.2)
        for ax, (run, _), rows in zip(axes, found, images, strict=True):
            plot_rows(ax, rows, names, limit=grey_limit(images, self.data))
            ax.set_title(run.title, fontsize="medium")
        figure.suptitle(
            f"{SAMPLES} samples z1 of each model of {self.data_name}:\n"
            f"the mean of p(x | z1) and, below it, a draw x from p(x | z1)"
        )
        return figure

    def manifold(self) -> Figure | None:
        """Decoded means over the plane of each model whose latent has two units."""
        found = self._each("manifold", lambda r: decoder.manifold(r.model, MANIFOLD_SIDE))
        if not found:
            return None
        images = self._images(np.stack([decoded for _, (_, decoded) in found]))
        figure, axes = _panels(len(found), 6.4, 7.2)
        for ax, (run, (values, _)), shown in zip(axes, found, images, strict=True):
            plot_manifold(ax, shown, values, limit=grey_limit(images, self.data))
            ax.set_title(run.title, fontsize="medium")
        figure.suptitle(
            f"The mean of p(x | z1) over a latent of two units, {self.data_name}:\n"
            f"{MANIFOLD_SIDE} x {MANIFOLD_SIDE} images, axes in equal steps of prior probability"
        )
        return figure

    def _each(self, picture: str, compute: Callable[[FinishedRun], Any]) -> list:
        """(run, what ``compute`` gives) for the runs it can be had of; each on the same noise."""

        def seeded(run: FinishedRun) -> Any:
            with own_generators():
                torch.manual_seed(self.seed)
                return compute(run)

        found = []
        for run in self.runs:
            one, reasons = run_or_reason([run], seeded)
            found += one
            for reason in reasons.values():
                self.say(f"no {picture} of {run.path}: {reason}")
        return found

    def _sheet(
        self,
        images: np.ndarray,
        names: list[str],
        title: str,
        caption: str,
        columns: Sequence[str] = (),
    ) -> Figure:
        """Rows of images (R, C, D) with their names, over a caption."""
        drawn = self._images(images)
        size = max(MIN_WIDTH, 2.0 + 0.95 * images.shape[1]), 1.6 + 0.95 * len(images)
        figure, ax = panel(*size)
        plot_rows(ax, drawn, names, columns, limit=grey_limit(drawn, self.data))
        figure.suptitle(title)
        figure.supxlabel(caption, fontsize="medium")
        return figure

    def _images(self, rows: np.ndarray) -> np.ndarray:
        """(..., D) as (..., H, W)."""
        images = as_images(rows.reshape(-1, rows.shape[-1]), self.data)
        return images.reshape(*rows.shape[:-1], *images.shape[1:])

    def _name(self, run: FinishedRun, separator: str = "\n") -> str:
        """The run's name, with its folder where runs share the name."""
        shared = sum(other.name == run.name for other in self.runs) > 1
        return f"{run.name}{separator}({run.path.name})" if shared else run.name

    def _class_name(self, label: int) -> str:
        names = self.data.label_names
        return names[label] if 0 <= label < len(names) else str(label)
