"""Pictures of a finished run, drawn by ``analysis``, which the library itself never imports."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from pyro_vae.runs import Finished


def draw(finished: Finished, say: Callable[[str], None]) -> None:
    """Write the pictures of a finished run; says which cannot be drawn, and why."""
    drawing = importlib.import_module("analysis.figures")
    reasons = drawing.write_figures(
        finished.directory,
        finished.model,
        finished.guide,
        finished.data,
        finished.posterior,
        finished.means,
    )
    for reason in reasons:
        say(reason)
