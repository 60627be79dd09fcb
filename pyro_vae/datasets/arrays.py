"""Arrays as read from files, checked, split and scaled into a ``Dataset``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.dataset import SPLITS, Dataset
from pyro_vae.datasets.moments import CHUNK, chunks, mean_and_scale
from pyro_vae.datasets.pixel_space import STANDARDISED, PixelSpace
from pyro_vae.datasets.preprocessing import ArrayPreprocessing
from pyro_vae.datasets.reading import printable
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.datasets.shapes import channels_first, image_shape
from pyro_vae.errors import InputError, check_count

# A standard error wants two values: held-out splits of fewer rows end without one.
MIN_HELD_OUT = 2
MIN_ROWS = 10
MIN_SCALE = float(np.finfo(np.float32).tiny)


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


@dataclass(frozen=True, eq=False)
class SplitArrays:
    """Rows (N, ...) and, where given, labels (N,) of each split."""

    origin: str
    images: dict[str, np.ndarray]
    labels: dict[str, Tensor] | None
    label_names: tuple[str, ...]

    @property
    def train(self) -> np.ndarray:
        """Rows of the training split, (N, ...)."""
        return self.images["train"]

    def channels_first(self) -> SplitArrays:
        """The same with colour images as (N, 3, H, W)."""
        images = {split: channels_first(images) for split, images in self.images.items()}
        return replace(self, images=images)


def split_rows(raw: RawArrays, valid: np.ndarray, test: np.ndarray | None = None) -> SplitArrays:
    """Hold out rows of ``raw.train``, given by index, as valid and (where raw has none) test.

    Raises:
        InputError: constant training rows, or labels that do not fit the rows.
    """
    held_out = valid if test is None else np.concatenate([valid, test])
    train = np.setdiff1d(np.arange(len(raw.train)), held_out)
    rows = raw.train[train]
    images = {"train": rows, "valid": raw.train[valid]}
    images["test"] = raw.test if test is None else raw.train[test]
    if rows.min() == rows.max():
        value = rows.flat[0]
        raise InputError(f"{raw.origin}: all training values are {value}: zero variance")
    if raw.train_labels is None or (test is None and raw.test_labels is None):
        return SplitArrays(raw.origin, images, None, ())
    given = [raw.train_labels] + ([raw.test_labels] if test is None else [])
    wanted = [len(raw.train)] + ([len(raw.test)] if test is None else [])
    codes, names = _encode_labels(raw.origin, given, wanted)
    labels = {"train": codes[0][train], "valid": codes[0][valid]}
    labels["test"] = codes[1] if test is None else codes[0][test]
    return SplitArrays(raw.origin, images, labels, names)


def split_at_random(raw: RawArrays, seed: int) -> SplitArrays:
    """Hold out a seeded tenth as valid and, where the file has no test set, another as test."""
    order = numpy_generator(seed, "split").permutation(len(raw.train))
    tenth = max(MIN_HELD_OUT, len(raw.train) // 10)
    test = order[tenth : 2 * tenth] if raw.test is None else None
    return split_rows(raw, order[:tenth], test)


def dataset_from_arrays(
    name: str, arrays: SplitArrays, *, pixels: PixelSpace, binarise: str, seed: int
) -> Dataset:
    """Flatten and scale split arrays as ``load_dataset`` says for ``pixels`` and ``binarise``.

    Raises:
        InputError: values outside the interval of ``pixels``, or hardly any variance.
    """
    if pixels.whole:
        arrays = arrays.channels_first()
    shape = image_shape(arrays.train.shape[1:])
    if pixels.standardised:
        mean, scale = mean_and_scale(arrays.train)
        if scale < MIN_SCALE:
            raise InputError(
                f"{arrays.origin}: training values vary by {scale:g} only: zero variance"
            )
        white = _white(list(arrays.images.values()))
        how = ArrayPreprocessing(pixels, shape, mean, scale, white, seed)
        return _assemble(name, arrays, how, {"mean": mean, "scale": scale})
    white = pixels.white(arrays.origin, list(arrays.images.values()))
    how = ArrayPreprocessing(pixels, shape, 0.0, white, white, seed)
    if not pixels.drawn:
        return _assemble(name, arrays, how, {"scale": white})
    drawn = ("valid", "test") if binarise != "static" else SPLITS
    return _assemble(name, arrays, how, {"binarise": binarise, "seed": seed}, drawn)


def dataset_as_is(name: str, arrays: SplitArrays) -> Dataset:
    """Split rows, already whitened and standardised by whoever wrote the file, unchanged."""
    shape = image_shape(arrays.train.shape[1:])
    return _assemble(name, arrays, ArrayPreprocessing(STANDARDISED, shape, 0.0, 1.0), {})


def _assemble(
    name: str,
    arrays: SplitArrays,
    preprocessing: ArrayPreprocessing,
    scaling: dict,
    drawn: Sequence[str] = (),
) -> Dataset:
    rows = {
        split: preprocessing.scaled(images, f"{arrays.origin} ({split})")
        for split, images in arrays.images.items()
    }
    for split in drawn:
        rows[split] = preprocessing.draw(rows[split], split)
    info = {
        "origin": arrays.origin,
        "counts": {split: len(rows[split]) for split in rows},
        "row_shape": list(arrays.train.shape[1:]),
        **scaling,
    }
    return Dataset(
        name,
        **rows,
        image_shape=preprocessing.image_shape,
        pixels=preprocessing.pixels,
        labels=arrays.labels,
        label_names=arrays.label_names,
        preprocessing=preprocessing,
        info=info,
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
        with np.errstate(over="ignore"):
            finite = np.isfinite(rows.astype(np.float32, copy=False))
        if not finite.all():
            bad = rows.size - int(finite.sum())
            raise InputError(
                f"{origin}: {bad} of {rows.size} values are NaN, infinite or beyond float32"
            )


def _encode_labels(
    origin: str, given: list[np.ndarray], wanted: list[int]
) -> tuple[list[Tensor], tuple[str, ...]]:
    """Labels as int64: whole numbers as they are, text as the index into the sorted names."""
    flat = [_flat_labels(origin, *pair) for pair in zip(given, wanted, strict=True)]
    if all(labels.dtype.kind in "US" for labels in flat):
        names, codes = np.unique(np.concatenate([f.astype(str) for f in flat]), return_inverse=True)
        parts = np.split(codes, np.cumsum(wanted)[:-1])
        return [torch.from_numpy(part.astype(np.int64)) for part in parts], tuple(map(str, names))
    for labels in flat:
        whole = labels.dtype.kind == "f" and np.array_equal(labels, np.floor(labels))
        if labels.dtype.kind not in "bui" and not whole:
            raise InputError(f"{origin}: labels must be whole numbers or text, got {labels.dtype}")
    return [torch.from_numpy(labels.astype(np.int64)) for labels in flat], ()


def _flat_labels(origin: str, labels: np.ndarray, rows: int) -> np.ndarray:
    """Labels (N,) from (N,), (N, 1) or one-hot (N, classes)."""
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "buif":
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        labels = labels.argmax(axis=1) if one_hot else labels
    if labels.shape not in ((rows,), (rows, 1)):
        raise InputError(f"{origin}: labels of shape {labels.shape} for {rows} rows")
    return labels.reshape(-1)


def _white(tables: list[np.ndarray]) -> float | None:
    """The value of white where the numbers are bytes or fractions; None where they are others."""
    low, high = min(t.min() for t in tables), max(t.max() for t in tables)
    if low >= 0 and high <= 1:
        return 1.0
    return 255.0 if tables[0].dtype.kind in "ui" and low >= 0 and high <= 255 else None
