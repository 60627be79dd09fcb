"""Figures 7.1 to 7.9 of Gatopoulos 2020 as pages of rows of images, for any runs.

Images are E[x | y1, z1], or E[x | z], at drawn parents, whose pixels carry no noise; every
representation y is a draw, as its law has it. Levels may differ in number and kind from the
paper's: each figure takes the runs that are of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from analysis.probes import steps
from analysis.probes.decoder import simulate
from analysis.probes.image_rows import as_images, first_rows
from analysis.probes.prior import interpolate
from analysis.reporting.finished import FinishedRun
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation.route_rates import route_rates
from pyro_vae.evaluation.routes import MEAN, reconstruct
from pyro_vae.programs.representations import Edges, Sketch
from pyro_vae.torch_state import own_generators

Rows = Mapping[str, np.ndarray]  # a row of images by name
Part = tuple[str, Rows]  # a panel with its title
LINES = 3  # pairs of images with a line between them


@dataclass(frozen=True)
class Shown:
    """Runs on the same images, and how much of them is shown.

    Attributes:
        count: images in a row. rated: test images behind rates. seed: of every draw.
    """

    runs: Sequence[FinishedRun]
    data: Dataset
    count: int = 10
    rated: int = 200
    seed: int = 0

    @cached_property
    def x(self) -> torch.Tensor:
        """The test images of every row."""
        return first_rows(self.data, "test", self.count)

    @property
    def plain(self) -> list[FinishedRun]:
        """Runs that make an image in one step."""
        return [run for run in self.runs if not run.model.representation_names]

    @property
    def stepwise(self) -> list[FinishedRun]:
        """Self-supervised runs."""
        return [run for run in self.runs if run.model.representation_names]

    @property
    def larger(self) -> FinishedRun:
        """The first run of one representation that is no outline: smaller, grey, coarser."""
        return self._first(lambda run: _levels(run) == 1 and not _outlined(run), "smaller image")

    @property
    def outlined(self) -> FinishedRun:
        """The first run of one representation that is a sketch, or edges."""
        return self._first(lambda run: _levels(run) == 1 and _outlined(run), "sketch or edges")

    @property
    def many(self) -> FinishedRun:
        """The first run of several representations."""
        return self._first(lambda run: _levels(run) > 1, "list of several transforms")

    @cached_property
    def rates(self) -> dict[str, pd.DataFrame]:
        """Of every run, by its name: a row for each route."""
        x = first_rows(self.data, "test", self.rated)
        found = {}
        for run in self.runs:
            rates = route_rates(run.model, run.guide, x, seed=self.seed)
            found[run.path.name] = pd.DataFrame([rate.row() for rate in rates])
        return found

    def _first(self, wanted: Callable[[FinishedRun], bool], what: str) -> FinishedRun:
        for run in self.stepwise:
            if wanted(run):
                return run
        raise InputError(f"none of the runs is a self-supervised one whose representation: {what}")


def priors(shown: Shown) -> Iterator[Part]:
    """7.1: samples, lines between images and reconstructions of every plain run."""
    if not shown.plain:
        raise InputError("none of the runs makes an image in one step (--model image)")
    for run in shown.plain:
        name = f"{run.path.name}, prior {run.config.pair.prior}"
        yield f"A. samples: {name}", _samples(shown, run)
        with own_generators():
            found = interpolate(
                run.model, run.guide, shown.data.test[: 2 * LINES], shown.count, shown.seed
            )
        lines = {f"pair {n}": as_images(one, shown.data) for n, one in enumerate(found.in_z, 1)}
        yield f"B. between the codes of two images: {name}", lines
        both = {"x": as_images(np.asarray(shown.x), shown.data), "again": _again(shown, run)}
        yield f"C. reconstructions: {name}", both


def routes(shown: Shown) -> Iterator[Part]:
    """7.2: every route of a run with one smaller image."""
    yield from _every_route(shown, shown.larger)


def two_steps(shown: Shown) -> Iterator[Part]:
    """7.3: generation in two steps, and lines between the top latents of two images."""
    yield from _generation(shown, shown.larger)


def outlines(shown: Shown) -> Iterator[Part]:
    """7.4: every route of a run with a sketch."""
    yield from _every_route(shown, shown.outlined)


def outlined_steps(shown: Shown) -> Iterator[Part]:
    """7.5: lines and generation by way of a sketch."""
    yield from _generation(shown, shown.outlined)


def many_levels(shown: Shown) -> Iterator[Part]:
    """7.6: RS1, RS2, RS3, ... and CR, and every step of generation."""
    run = shown.many
    found = _routes_of(shown, run)
    kept = {name: rows for name, rows in found.items() if not name.startswith("from")}
    yield f"reconstructions: {run.path.name}", kept
    steps_of = steps.generated_steps(run.model, shown.count, shown.seed)
    yield f"generated, step by step: {run.path.name}", steps_of


def compared(shown: Shown) -> Iterator[Part]:
    """7.7: the same images by every route of every run, with the share and the bits kept."""
    for run in shown.runs:
        found = _routes_of(shown, run)
        named = {
            f"{rate.route}: {rate.share:.2f}, {rate.bits:.0f} bits": found[rate.route]
            for rate in shown.rates[run.path.name].itertuples()
        }
        yield f"share of numbers and bits kept: {run.path.name}", {"x": found["x"], **named}


def generated(shown: Shown) -> Iterator[Part]:
    """7.8: what every run generates, step by step."""
    for run in shown.runs:
        name = f"{run.path.name}, prior {run.config.pair.prior}"
        if run.model.representation_names:
            yield name, steps.generated_steps(run.model, shown.count, shown.seed)
        else:
            yield name, _samples(shown, run)


def between_levels(shown: Shown) -> Iterator[Part]:
    """7.9: lines in u; then u kept and all else drawn, u and the next latent kept, and so on."""
    run = shown.many
    model, guide = run.model, run.guide
    top = model.latent_names[-1]
    yield f"between {top} of two images: {run.path.name}", _lines(shown, run)
    for kept in range(1, model.num_levels):
        names = model.latent_names[::-1][:kept]
        rows = steps.varied(model, guide, shown.x, names, seed=shown.seed)
        x = steps.shown_rows(model, "x", shown.x)
        yield f"{', '.join(names)} kept, all else drawn: {run.path.name}", {"x": x, **rows}
    larger = steps.super_resolved(model, guide, shown.x, seed=shown.seed, means=True)
    yield f"y1 given, z1 drawn: {run.path.name}", larger


FIGURES: dict[str, Callable[[Shown], Iterator[Part]]] = {
    "7.1": priors,
    "7.2": routes,
    "7.3": two_steps,
    "7.4": outlines,
    "7.5": outlined_steps,
    "7.6": many_levels,
    "7.7": compared,
    "7.8": generated,
    "7.9": between_levels,
}


def _every_route(shown: Shown, run: FinishedRun) -> Iterator[Part]:
    model, guide, name = run.model, run.guide, run.path.name
    found = _routes_of(shown, run)
    again = steps.represented_again(model, guide, shown.x, shown.seed)
    yield (
        f"i. y1 drawn again, and x of y1 and z1: {name}",
        {
            **again,
            "x": found["x"],
            "CR": found["CR"],
        },
    )
    beside = {f"RS of {one.path.name}": _again(shown, one) for one in shown.plain[-1:]}
    kept = {one: rows for one, rows in found.items() if one == "x" or one.startswith("RS")}
    yield f"ii. reconstructions: {name}", kept | beside
    larger = steps.super_resolved(model, guide, shown.x, seed=shown.seed, means=True)
    yield f"iii. drawn given y1: {name}", larger


def _generation(shown: Shown, run: FinishedRun) -> Iterator[Part]:
    made = steps.generated_steps(run.model, shown.count, shown.seed)
    yield f"generated, step by step: {run.path.name}", made
    top = run.model.latent_names[-1]
    yield f"between {top} of two images: {run.path.name}", _lines(shown, run)


def _lines(shown: Shown, run: FinishedRun) -> Rows:
    found = {}
    for number, pair in enumerate(shown.data.test[: 2 * LINES].split(2), start=1):
        made = steps.interpolated(run.model, run.guide, pair, shown.count, shown.seed, means=True)
        found |= {f"{name}, pair {number}": rows for name, rows in made.items()}
    return found


def _routes_of(shown: Shown, run: FinishedRun) -> Rows:
    if run.model.representation_names:
        return steps.by_every_route(run.model, run.guide, shown.x, shown.seed, means=True)
    x = as_images(np.asarray(shown.x), shown.data)
    return {"x": x, "RS": _again(shown, run)}


def _samples(shown: Shown, run: FinishedRun) -> Rows:
    with own_generators():
        torch.manual_seed(shown.seed)
        means, _ = simulate(run.model, 2 * shown.count)
    images = as_images(means, shown.data)
    return {"E[x | z]": images[: shown.count], "": images[shown.count :]}


def _again(shown: Shown, run: FinishedRun) -> np.ndarray:
    """E[x | z] at a draw of q(z | x)."""
    with own_generators():
        torch.manual_seed(shown.seed)
        made = reconstruct(run.model, run.guide, shown.x)
    return as_images(np.asarray(made.get(MEAN, made["x"])), shown.data)


def _levels(run: FinishedRun) -> int:
    return len(run.model.representation_names)


def _outlined(run: FinishedRun) -> bool:
    return isinstance(run.model.transforms[0], Sketch | Edges)
