"""Courses of training: the rows of ``metrics.csv`` of several runs in one table, and their ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from pyro_vae.errors import InputError

Metrics = Mapping[str, Sequence[float]]


def courses(runs: Iterable[tuple[str, int, Metrics]], columns: Sequence[str]) -> pd.DataFrame:
    """Held-out numbers of several runs against training steps.

    Args:
        runs: (model, seed, columns of ``metrics.csv``) of each run.
        columns: those to keep, nats per datum, such as ``kl_z2``.

    Returns:
        a row per run and epoch: model, seed, step, and the columns.

    Raises:
        InputError: no run; a run without one of the columns, or with fewer than two rows.
    """
    parts = []
    for model, seed, metrics in runs:
        for name in ("step", *columns):
            if name not in metrics:
                raise InputError(
                    f"the metrics of {model}, seed {seed}, have no column {name}; they have "
                    f"{', '.join(metrics)}"
                )
        part = pd.DataFrame({name: metrics[name] for name in ("step", *columns)})
        if len(part) < 2:
            raise InputError(
                f"the metrics of {model}, seed {seed}, have {len(part)} row(s); a curve wants 2"
            )
        parts.append(part.assign(model=model, seed=seed))
    if not parts:
        raise InputError("there is no run to draw the course of")
    return pd.concat(parts, ignore_index=True)[["model", "seed", "step", *columns]]


def ends(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Start, peak and end of each run's course (``courses``), in the unit of the column.

    Returns:
        a row per run: model, seed, start, peak, peak_step, end, end_step. Values that are not
        finite are no peak; peak and peak_step are NaN where none is finite.
    """
    rows = []
    for (model, seed), run in table.groupby(["model", "seed"], sort=False):
        run = run.sort_values("step")
        values, steps = run[column].to_numpy(float), run["step"].to_numpy()
        finite = np.isfinite(values)
        place = int(np.where(finite, values, -np.inf).argmax())
        rows.append(
            {
                "model": model,
                "seed": seed,
                "start": values[0],
                "peak": values[place] if finite.any() else np.nan,
                "peak_step": steps[place] if finite.any() else np.nan,
                "end": values[-1],
                "end_step": steps[-1],
            }
        )
    return pd.DataFrame(rows)
