"""Arrays split and scaled into a ``Dataset``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.dataset import SPLITS, Dataset
from pyro_vae.datasets.factors import Factors
from pyro_vae.datasets.far_rows import FileRows, Part
from pyro_vae.datasets.moments import low_and_high, mean_and_scale, only_value
from pyro_vae.datasets.pixel_space import STANDARDISED, PixelSpace
from pyro_vae.datasets.preprocessing import ArrayPreprocessing
from pyro_vae.datasets.raw_arrays import MIN_HELD_OUT, MOST_HELD_OUT, RawArrays
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.datasets.shapes import channels_first, image_shape, picture_shape
from pyro_vae.datasets.sizing import Sizing
from pyro_vae.errors import InputError

MIN_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class SplitArrays:
    """Rows (N, ...) and, where given, labels (N,) of each split.

    Attributes:
        train: where they stay in their file, a :class:`Part` of it.
        colour_first: whether colour images are known to be (N, 3, H, W).
        caveat: a sentence, why numbers on these rows may not be compared with others.
        sizing: what brought the images to one size.
        factors: what the images were made from, where that is known.
    """

    origin: str
    train: np.ndarray | Part
    valid: np.ndarray
    test: np.ndarray
    labels: dict[str, Tensor] | None
    label_names: tuple[str, ...]
    colour_first: bool = False
    caveat: str | None = None
    sizing: Sizing | None = None
    factors: Factors | None = None

    @property
    def tables(self) -> list[np.ndarray | Part]:
        """The rows of all splits."""
        return [self.train, self.valid, self.test]

    def channels_first(self) -> SplitArrays:
        """The same with colour images as (N, 3, H, W)."""
        if self.colour_first:
            return self
        train = self.train
        return replace(
            self,
            train=train.seen_as(channels_first)
            if isinstance(train, Part)
            else channels_first(train),
            valid=channels_first(self.valid),
            test=channels_first(self.test),
            colour_first=True,
        )

    def sized(self, sizing: Sizing) -> SplitArrays:
        """The same with images cut and reduced, colours first.

        Raises:
            InputError: rows that are no 8-bit images, or images smaller than is asked for.
        """
        if not sizing.wanted:
            return self
        first = self.channels_first()
        if isinstance(first.train, Part):
            raise InputError(
                f"{self.origin} is read in place, and its images are taken as they are: cut and "
                "reduce them beforehand"
            )
        shape = image_shape(first.train.shape[1:])
        if first.train.dtype != np.uint8 or picture_shape(shape) is None:
            raise InputError(
                f"{self.origin}: only 8-bit images (N, H, W) or (N, H, W, 3) are cut or reduced, "
                f"got {self.train.dtype} {self.train.shape}"
            )
        train, valid, test = (
            sizing.applied(self.origin, images.reshape(-1, *shape))
            for images in (first.train, first.valid, first.test)
        )
        return replace(first, train=train, valid=valid, test=test, sizing=sizing)


def split_rows(raw: RawArrays, valid: np.ndarray, test: np.ndarray | None = None) -> SplitArrays:
    """Hold out rows of ``raw.train``, given by index, as valid and (where raw has none) test.

    Raises:
        InputError: constant training rows, or labels that do not fit the rows.
    """
    held_out = valid if test is None else np.concatenate([valid, test])
    train = np.setdiff1d(np.arange(len(raw.train)), held_out)
    rows = Part(raw.train, train) if raw.in_file else raw.train[train]
    test_rows = raw.test if test is None else np.asarray(raw.train[test])
    assert test_rows is not None  # one of the two is given
    splits = rows, np.asarray(raw.train[valid]), test_rows
    value = only_value(rows)
    if value is not None:
        raise InputError(f"{raw.origin}: all training values are {value}: zero variance")
    if raw.train_labels is None or (test is None and raw.test_labels is None):
        return SplitArrays(raw.origin, *splits, None, ())
    given, wanted = [raw.train_labels], [len(raw.train)]
    if test is None and raw.test is not None and raw.test_labels is not None:
        given.append(raw.test_labels)
        wanted.append(len(raw.test))
    codes, names = _encode_labels(raw.origin, given, wanted)
    labels = {"train": codes[0][train], "valid": codes[0][valid]}
    labels["test"] = codes[1] if test is None else codes[0][test]
    return SplitArrays(raw.origin, *splits, labels, names)


def split_at_random(raw: RawArrays, seed: int) -> SplitArrays:
    """Hold out a seeded tenth as valid and, where the file has no test set, another as test.

    At most ``MOST_HELD_OUT`` rows each of an array that stays in its file.
    """
    order = numpy_generator(seed, "split").permutation(len(raw.train))
    tenth = max(MIN_HELD_OUT, len(raw.train) // 10)
    if raw.in_file:
        tenth = min(tenth, MOST_HELD_OUT)
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
        white = _white(arrays.tables)
        how = ArrayPreprocessing(pixels, shape, mean, scale, white, seed, arrays.sizing)
        return _assemble(name, arrays, how, {"mean": mean, "scale": scale})
    white = pixels.white(arrays.origin, arrays.tables)
    how = ArrayPreprocessing(pixels, shape, 0.0, white, white, seed, arrays.sizing)
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
    def in_memory(split: str, images: np.ndarray) -> Tensor:
        rows = preprocessing.scaled(images, f"{arrays.origin} ({split})")
        return preprocessing.draw(rows, split) if split in drawn else rows

    train: Tensor | FileRows
    if not isinstance(arrays.train, Part):
        train = in_memory("train", arrays.train)
    elif "train" in drawn:
        raise InputError(f"{arrays.origin} is read in place: its pixels are drawn per access only")
    else:
        train = FileRows(arrays.train, preprocessing.scaled)
    valid, test = in_memory("valid", arrays.valid), in_memory("test", arrays.test)
    info = {
        "origin": arrays.origin,
        "counts": {"train": len(train), "valid": len(valid), "test": len(test)},
        "row_shape": list(arrays.train.shape[1:]),
        **scaling,
    }
    if arrays.caveat is not None:
        info["caveat"] = arrays.caveat
    if arrays.sizing is not None:
        info["sizing"] = asdict(arrays.sizing)
    if arrays.factors is not None:
        info["factors"] = {factor.name: factor.size for factor in arrays.factors.described}
    return Dataset(
        name,
        train,
        valid,
        test,
        image_shape=preprocessing.image_shape,
        pixels=preprocessing.pixels,
        labels=arrays.labels,
        label_names=arrays.label_names,
        factors=arrays.factors,
        preprocessing=preprocessing,
        info=info,
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


def _white(tables: Sequence[np.ndarray | Part]) -> float | None:
    """The value of white where the numbers are bytes or fractions; None where they are others."""
    low, high = low_and_high(tables)
    if low >= 0 and high <= 1:
        return 1.0
    return 255.0 if tables[0].dtype.kind in "ui" and low >= 0 and high <= 255 else None
