"""The comparison as tables: refits, arms trained as long, and the seeds together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.measures import seeds as over_seeds
from experiments.campaign.per_datum import Clock
from experiments.late.arms import ARMS, BASE, CONTROL, REFITS, Arm
from experiments.late.late_estimates import (
    Distances,
    PerImage,
    read_distances,
    read_per_image,
)
from experiments.late.late_runs import LATER_RATE, MINUTES, Protocol
from experiments.study.trained import pipes
from pyro_vae.evaluation.bits import mean_in_bits
from pyro_vae.evaluation.statistics import Mean
from pyro_vae.runs import RunDirectory, Summary
from pyro_vae.runs.summary import read_mean
from pyro_vae.storage import write_text

QUANTITIES = {"elbo": "ELBO", "log_likelihood": "L_K"}
FID_TOLD = (
    " FID is the mean over three seeds of features of the data's labels, its null in brackets."
)


@dataclass(frozen=True)
class Found:
    """One seed of an arm that is finished.

    Attributes:
        images: estimates of every test image. reference: the same of the arm that it is compared
            with: the control where it was trained as long, else the pair that refits start from.
        minutes: that this command spent on the run; None where it was made by hand.
    """

    arm: Arm
    seed: int
    epochs: int
    summary: Summary
    images: PerImage
    reference: PerImage | None
    distances: Distances | None
    minutes: float | None

    def bits(self, name: str) -> Mean:
        """Bits per dimension of ``elbo`` or ``log_likelihood``."""
        return self.images.mean_bits(name)

    def less(self, name: str) -> Mean | None:
        """The same less the reference's, paired over the images; None where there is none."""
        alone = self.arm in (BASE, CONTROL) or self.reference is None
        return None if alone else self.images.mean_bits(name, less=self.reference)

    def refit(self, name: str) -> Mean:
        """``gain`` or ``gain_fitted`` of a refit, nats."""
        return read_mean(self.summary.extra.get("refit").get(name))

    def columns(self) -> dict[str, Any]:
        """A row of the CSV file."""
        row = {
            "arm": self.arm.name,
            "label": self.arm.label,
            "prior": self.arm.prior,
            "seed": self.seed,
            "epochs": self.epochs,
            "test_images": len(self.images.elbo),
            "particles": self.images.num_particles,
        }
        for name in QUANTITIES:
            for what, mean in ((name, self.bits(name)), (f"{name}_less", self.less(name))):
                row |= _columns(f"{what}_bits", mean)
        if self.arm.refitted:
            row |= _columns("gain_nats", self.refit("gain"))
            row |= _columns("gain_fitted_nats", self.refit("gain_fitted"))
        row |= {"khat_above_0.7": self.images.khat_share, "minutes": self.minutes}
        if self.distances is not None:
            row |= {"fid": self.distances.mean, "fid_null": self.distances.null}
        return row


def read_found(folder: Path, arm: Arm, seed: int) -> Found | None:
    """What is known of an arm's seed, or None until it is judged. Args: folder: of the runs."""
    directory = arm.directory(folder, seed)
    images = read_per_image(directory)
    if images is None or not directory.summary.is_file():
        return None
    summary = Summary.of(directory.read_summary(), directory.summary)
    before = 0 if arm.root is arm or arm.refitted else _epochs(arm.root.directory(folder, seed))
    clock = directory.path / MINUTES
    return Found(
        arm,
        seed,
        before + summary.run.epochs,
        summary,
        images,
        read_per_image((CONTROL if arm.later else BASE).directory(folder, seed)),
        read_distances(directory),
        Clock(clock).before if clock.is_file() else None,
    )


def write_late(
    folder: Path, protocol: Protocol, seeds: Iterable[int], facts: Sequence[str]
) -> tuple[Path, Path]:
    """Write ``late_prior.md`` and ``late_prior.csv`` of what is finished; returns their paths."""
    every = (read_found(folder / "runs", arm, seed) for arm in ARMS for seed in seeds)
    found = [one for one in every if one is not None]
    markdown, comma = folder / "late_prior.md", folder / "late_prior.csv"
    table = pd.DataFrame([one.columns() for one in found])
    write_text(comma, table.to_csv(index=False, lineterminator="\n"))
    write_text(markdown, "\n".join(_markdown(found, protocol, facts)) + "\n")
    return markdown, comma


def _markdown(found: Sequence[Found], protocol: Protocol, facts: Sequence[str]) -> Iterator[str]:
    first, more = protocol.epochs, protocol.later_epochs
    yield f"# Another prior late: {Path(protocol.dataset).name}"
    if not found:
        yield from ("", "No arm is finished.")
        return
    images = found[0].images
    with_fid = any(one.distances is not None for one in found)
    yield from (
        "",
        f"Bits per dimension of {len(images.elbo)} test images: the ELBO and "
        f"L_{images.num_particles}, mean ± standard error over images. Differences are paired over "
        f"images; below 0 is better.{FID_TOLD if with_fid else ''}",
        "",
        f"## Refitted: the prior alone, on the pair of {first} epochs",
        "",
        *pipes(
            ["prior", "seed", "gain, nats", "gain / error", "bits", "on training rows, nats"],
            [_refit_row(one) for one in found if one.arm in REFITS],
        ),
        "",
        "Gains of the ELBO on all test images, which the prior was not fitted to.",
    )
    for title, arms in (
        (f"After {first} epochs", [arm for arm in ARMS if not arm.later]),
        (f"After {first} + {more} epochs", [arm for arm in ARMS if arm.later]),
    ):
        against = (CONTROL if arms[-1].later else BASE).label
        head = ["prior", "seed", *_head(images.num_particles, against), "k-hat > 0.7", "minutes"]
        head += ["FID"] * with_fid
        rows = [_row(one, with_fid) for one in found if one.arm in arms]
        yield from ("", f"## {title}", "", *pipes(head, rows))
    yield from ("", "## All seeds", "", *_together(found))
    yield from (
        "",
        "## How it was made",
        "",
        f"- the further {more} epochs: Adam anew in every arm, learning rate {LATER_RATE:g} along "
        "the shape of the first ones; batches and noise of q(z | x) of a seed are the same in "
        "every arm",
        *(f"- {fact}" for fact in facts),
    )


def _head(particles: int, against: str) -> Iterator[str]:
    for label in QUANTITIES.values():
        name = label.replace("_K", f"_{particles}")
        yield from (name, f"{name} less {against}")


def _refit_row(one: Found) -> list[str]:
    gain = one.refit("gain")
    return [
        one.arm.label,
        str(one.seed),
        _told(gain, 2),
        f"{gain.mean / gain.standard_error:.0f}",
        _told(mean_in_bits(gain, one.images.num_pixels), 4),
        _told(one.refit("gain_fitted"), 2),
    ]


def _row(one: Found, with_fid: bool) -> list[str]:
    cells = [one.arm.label, str(one.seed)]
    for name in QUANTITIES:
        cells += [_told(one.bits(name), 3), _told(one.less(name), 4)]
    cells.append(f"{one.images.khat_share:.0%}")
    cells.append("" if one.minutes is None else f"{one.minutes:.1f}")
    if with_fid:
        away = one.distances
        cells.append("" if away is None else f"{away.mean:.2f} ({away.null:.2f})")
    return cells


def _together(found: Sequence[Found]) -> list[str]:
    """Differences over the seeds."""
    rows = []
    for arm in ARMS:
        mine = [one for one in found if one.arm is arm and one.less("elbo") is not None]
        if not mine:
            continue
        cells = [arm.label, f"{mine[0].epochs}", str(len(mine))]
        for name in QUANTITIES:
            numbers = np.array([one.less(name).mean for one in mine])
            mean, sd, _ = over_seeds.spread(numbers)
            cells.append(over_seeds.mean_and_spread(mean, sd, digits=4))
            cells.append(f"{numbers.min():.4f} to {numbers.max():.4f}")
        rows.append(cells)
    head = ["prior", "epochs", "seeds"]
    for label in QUANTITIES.values():
        head += [f"{label} less standard normal, mean ± sd over seeds", "range"]
    return pipes(head, rows)


def _told(mean: Mean | None, digits: int) -> str:
    if mean is None:
        return ""
    return f"{mean.mean:.{digits}f} ± {mean.standard_error:.{digits}f}"


def _columns(name: str, mean: Mean | None) -> dict[str, float]:
    return {} if mean is None else {name: mean.mean, f"{name}_error": mean.standard_error}


def _epochs(directory: RunDirectory) -> int:
    return Summary.of(directory.read_summary(), directory.summary).run.epochs
