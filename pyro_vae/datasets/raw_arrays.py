"""Arrays as read from files, and the checks that they pass before they are split and scaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pyro_vae.datasets.moments import CHUNK, chunks, pieces
from pyro_vae.datasets.pixel_space import PixelSpace
from pyro_vae.datasets.reading import printable
from pyro_vae.datasets.shapes import image_shape
from pyro_vae.errors import InputError, check_count

# A standard error wants two values: held-out splits of fewer rows end without one.
MIN_HELD_OUT = 2
MIN_ROWS = 10
# Of arrays that stay in their file; more would be much memory and is never judged.
MOST_HELD_OUT = 10_000


@dataclass(frozen=True, eq=False)
class RawArrays:
    """What files hold, before splitting and scaling.

    Attributes:
        origin: the file or folder, named at the start of every error.
        train: (N, ...) numbers; all of them, where ``test`` is None.
        test: (M, ...) numbers of the same row shape, or None.
        train_labels, test_labels: (N,) and (M,), or None.
    """

    origin: str
    train: np.ndarray
    test: np.ndarray | None = None
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None

    @property
    def in_file(self) -> bool:
        """Whether the rows stay in their file, see ``files.read_npy``."""
        return isinstance(self.train, np.memmap)

    def check_numbers(self) -> RawArrays:
        """Return self if all arrays are finite numbers of matching shapes.

        Raises:
            InputError: names the file and what is wrong.
        """
        if self.test is None:
            _check_rows(self.origin, self.train)
        else:
            _check_rows(f"{self.origin} (train)", self.train)
            _check_rows(f"{self.origin} (test)", self.test)
        if self.test is not None and self.test.shape[1:] != self.train.shape[1:]:
            raise InputError(
                f"{self.origin}: train rows have shape {self.train.shape[1:]}, "
                f"test rows {self.test.shape[1:]}"
            )
        return self

    def check(self) -> RawArrays:
        """As :meth:`check_numbers`, and rows enough to train, to validate and to test."""
        self.check_numbers()
        for rows, least, where in (
            (self.train, MIN_ROWS, self.origin if self.test is None else f"{self.origin} (train)"),
            (self.test, MIN_HELD_OUT, f"{self.origin} (test)"),
        ):
            if rows is not None and len(rows) < least:
                raise InputError(
                    f"{where}: at least {least} rows are needed, got {len(rows)}: standard errors "
                    f"want {MIN_HELD_OUT} rows each for valid and test, training the rest"
                )
        return self

    def check_pixels(self, space: PixelSpace) -> RawArrays:
        """Return self if the numbers are those of ``space``; levels are told by their place here.

        Raises:
            InputError: numbers outside the interval, or levels that are not whole.
        """
        if space.whole:
            named = {self.origin if self.test is None else f"{self.origin} (train)": self.train}
            if self.test is not None:
                named[f"{self.origin} (test)"] = self.test
            white = space.white(self.origin, list(named.values()))
            for origin, images in named.items():
                for number, part in enumerate(chunks(images)):
                    space.rounded(origin, part / white, number * CHUNK)
        return self

    def shaped(self, shape: Sequence[int] | None) -> RawArrays:
        """Flat rows (N, D) as images (N, *shape); None leaves all as it is.

        Raises:
            InputError: a shape of another number of values, or rows that are images of another one.
        """
        if shape is None:
            return self
        shape = tuple(check_count("image_shape", length) for length in shape)
        own = image_shape(self.train.shape[1:])
        flat = len(own) == 1 and math.prod(shape) == own[0]
        if len(shape) not in (2, 3) or not (flat or shape == own):
            raise InputError(
                f"image_shape must be H W, or H W 3 of colour, of {math.prod(own)} values in all "
                f"for rows of shape {own} in {self.origin}, got {shape}"
            )
        test = None if self.test is None else self.test.reshape(len(self.test), *shape)
        return replace(self, train=self.train.reshape(len(self.train), *shape), test=test)


def raw_from_named(
    path: Path, names: Sequence[str], read: Callable[[str], np.ndarray], array: str | None
) -> RawArrays:
    """The chosen one of a file's arrays, or its only one, or ``x_train`` with ``x_test``.

    ``y_train`` and ``y_test`` become the labels of the latter.

    Raises:
        InputError: no such array, or several of which none is chosen.
    """
    origin = printable(path)
    if array is not None:
        if array not in names:
            raise InputError(f"{origin} has no array {array!r}; it has {', '.join(names)}")
        return RawArrays(f"{origin}:{array}", read(array))
    if {"x_train", "x_test"} <= set(names):
        labels = (read(y) if y in names else None for y in ("y_train", "y_test"))
        return RawArrays(origin, read("x_train"), read("x_test"), *labels)
    if len(names) == 1:
        return RawArrays(origin, read(names[0]))
    raise InputError(
        f"{origin} holds {len(names)} arrays ({', '.join(names)}): choose one as {path.name}:NAME, "
        "or name two x_train and x_test"
    )


def _check_rows(origin: str, rows: np.ndarray) -> None:
    if rows.dtype.kind not in "buif":
        raise InputError(f"{origin}: values must be numbers, got dtype {rows.dtype}")
    if not 2 <= rows.ndim <= 4:
        raise InputError(
            f"{origin}: rows (N, D) or images (N, H, W) or (N, H, W, C) are needed, "
            f"got shape {rows.shape}"
        )
    if rows.size == 0:
        raise InputError(f"{origin}: empty, shape {rows.shape}")
    if rows.dtype.kind == "f":
        bad = 0
        with np.errstate(over="ignore"):
            for part in pieces(rows):
                bad += int((~np.isfinite(part.astype(np.float32, copy=False))).sum())
        if bad:
            raise InputError(
                f"{origin}: {bad} of {rows.size} values are NaN, infinite or beyond float32"
            )
