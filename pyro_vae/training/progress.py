"""Where a training run stands, and how its rows read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Row = dict[str, float]


@dataclass
class Progress:
    """Where training stands; saved whole in every checkpoint.

    Attributes:
        epoch, batch: the next batch to train on.
        step: optimiser steps tried so far.
        sums: running sums of this epoch's training columns.
        history: one row per finished epoch; row 0 is the untrained pair.
        compiled, precision: whether the step was compiled, and the precision of its matrix
            products, which an exact resume repeats; None before that was decided.
        best_epoch, best_bound, waited: of early stopping: the epoch with the best validation bound
            and the bound, None where there is none yet; epochs without a better one since.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    compiled: bool | None = None
    precision: str | None = None
    best_epoch: int | None = None
    best_bound: float | None = None
    waited: int = 0

    def add(self, **values: float) -> None:
        """Add to this epoch's sums."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def training_columns(self, thinned: bool) -> Row:
        """Means and counts of the epoch that ends; NaN before the first step.

        ``train_objective`` is that of the data that have a bound. ``kept_share``, of ``thinned``
        runs: particles differentiated, of all.
        """
        get = self.sums.get
        judged = get("data", 1) - get("lost", 0)  # data whose bound is not -inf
        taken = get("steps", 0) - get("skipped", 0)
        columns = {
            "train_objective": get("objective", math.nan) / judged if judged else -math.inf,
            "grad_norm": get("grad_norm", 0.0) / taken if taken else math.nan,
            "clipped": int(get("clipped", 0)),
            "skipped": int(get("skipped", 0)),
        }
        if thinned:
            columns["kept_share"] = get("kept", math.nan) / get("data", 1)
        return columns


@dataclass(frozen=True)
class FitResult:
    """What ``training.fit`` returns.

    Attributes:
        history: one row (dict) per epoch, the columns of ``metrics.csv``.
        stopped: "finished", "patience" (early stopping), "interrupted" (Ctrl-C, kill) or "time"
            (``max_minutes``).
        steps: optimiser steps of the run, skipped ones included.
        minutes: how long this call trained.
        signal: number of the signal that interrupted, or None.
        compiled: whether the step ran as a compiled graph.
        precision: of its matrix products.
        best_epoch: the one whose weights the pair has, of early stopping; else None.
    """

    history: list[Row]
    stopped: str
    steps: int
    minutes: float
    signal: int | None = None
    compiled: bool = False
    precision: str = "float32"
    best_epoch: int | None = None

    @property
    def ending(self) -> str:
        """How training ended, in words."""
        how = "ended by patience" if self.stopped == "patience" else self.stopped
        best = "" if self.best_epoch is None else f", the best epoch was {self.best_epoch}"
        return f"training {how}: {self.minutes:.1f} minutes{best}"


def format_row(row: Mapping[str, float]) -> str:
    """One line for the terminal from a row of the history (nats per datum)."""
    shown = [f"epoch {row['epoch']:>4}"]
    for name, value in row.items():
        if name.startswith("beta_"):
            shown.append(f"{name} {value:.3f}")
        elif name.startswith(("elbo", "bound", "reconstruction", "kl_", "ess")):
            shown.append(f"{name} {value:.2f}")
    if row["skipped"]:
        shown.append(f"skipped steps {row['skipped']}")
    return "  ".join(shown)
