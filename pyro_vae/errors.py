"""Errors that a person can act on: one line says what was wrong, where, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral


class InputError(ValueError):
    """A name, number, file or array given by the user cannot be used.

    The commands under ``experiments/`` print its one line and end with exit code 2.
    """


class InUse(InputError):
    """Another process works in this run directory."""


class TrainingDiverged(ArithmeticError):
    """Training met a number that is not finite; names step, term and last good checkpoint."""


def check_choice(what: str, value: str, allowed: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``allowed``; else raise InputError that lists what is."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise InputError(f"unknown {what} {value!r}; allowed: {', '.join(allowed)}")
    return value


def check_positive(what: str, value: float) -> float:
    """Return ``value`` if it is above zero and finite; else raise InputError."""
    if not 0 < value < math.inf:
        raise InputError(f"{what} must be positive and finite, got {value!r}")
    return value


def check_count(what: str, value: int, minimum: int = 1) -> int:
    """Return ``value`` as an int if it is whole and at least ``minimum``; else raise InputError.

    An int comes back as it is: a number of units may know how they lie (``Maps``).
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise InputError(f"{what} must be a whole number of at least {minimum}, got {value!r}")
    return value if isinstance(value, int) else int(value)


def check_data(x, num_pixels: int, what: str = "x") -> None:
    """Raise InputError unless the tensor x has shape (B, num_pixels) with B > 0."""
    if x.ndim != 2 or x.shape[1] != num_pixels or len(x) == 0:
        raise InputError(
            f"{what} has shape {tuple(x.shape)}; the model wants (B, {num_pixels}) with B >= 1"
        )
