"""Where a pair starts from: random weights, or the data; and the registry that ``--init`` names.

A start is a class ``made(model, guide, seed=...)`` with a method ``initialise_(rows)``, which is
called once with the training rows (N, D), before training and never on a resume or load. It gives
back lines that say what was done instead where something did not fit. Its class method
``check(architecture)`` refuses, by an InputError, what it cannot start.
"""

from typing import Any

from pyro_vae.programs.start.from_data import DataStart
from pyro_vae.programs.start.random import RandomStart

STARTS: dict[str, Any] = {"random": RandomStart, "data": DataStart}

__all__ = ["STARTS", "DataStart", "RandomStart"]
