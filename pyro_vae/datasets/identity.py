"""Whether two datasets are the same, and in what they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.far_rows import FarRows
from pyro_vae.datasets.moments import CHUNK
from pyro_vae.datasets.seeding import numpy_generator

# Rows that another processor, or another number of threads, made of the same photographs differ in
# the last digit of one number in some ten thousand, since whitening is linear algebra. This share
# of the norm is five standard errors of the sketch of rows whose last digits all differ at random,
# and less than what one row contributes.
ROUNDING = 2e-6


@dataclass(frozen=True)
class Fingerprint:
    """What tells whether other rows are these, to be kept where the rows themselves are not.

    Attributes:
        checksum: hexadecimal digest of the splits' names, shapes, dtypes and values in their order.
        sketch: for each split the norm of its rows X (N, D) and u' X v with fixed vectors u and v,
            which differ from entry to entry: the same to rounding where the rows are.
    """

    checksum: str
    sketch: tuple[float, ...]

    def agrees(self, other: Fingerprint) -> bool:
        """Whether the rows are equal, or equal but for rounding on another machine."""
        if self.checksum == other.checksum:
            return True
        if len(self.sketch) != len(other.sketch):
            return False
        ours, theirs = (np.reshape(part.sketch, (-1, 2)) for part in (self, other))
        return bool((np.abs(ours - theirs) <= ROUNDING * np.maximum(ours, theirs)[:, :1]).all())


def fingerprint(splits: Mapping[str, Tensor | FarRows]) -> Fingerprint:
    """The fingerprint of rows (N, D) by split."""
    digest = hashlib.sha256()
    sketch: list[float] = []
    for name, rows in splits.items():
        shape = tuple(rows.shape)
        # Of rows that stay in their file as many as a chunk has, from all over it.
        rows = rows.some(CHUNK) if isinstance(rows, FarRows) else rows.detach().cpu().contiguous()
        digest.update(f"{name} {rows.dtype} {shape} ".encode())
        digest.update(rows.numpy().data)
        sketch += _sketch(rows)
    return Fingerprint(digest.hexdigest(), tuple(sketch))


def _sketch(rows: Tensor) -> tuple[float, float]:
    weights, columns = (
        _weights(name, length) for name, length in zip(("rows", "columns"), rows.shape, strict=True)
    )
    norm = product = 0.0
    for part, share in zip(rows.split(CHUNK), weights.split(CHUNK), strict=True):
        part = part.double()
        norm += float(part.square().sum())
        product += float(share @ (part @ columns))
    return norm**0.5, product


def _weights(name: str, length: int) -> Tensor:
    """Numbers of both signs, none near zero and no two alike."""
    generator = numpy_generator(0, "sketch", name)
    signs = generator.integers(2, size=length) * 2 - 1
    return torch.from_numpy(signs * generator.uniform(1.0, 2.0, size=length))


def describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what differs between the ``info`` of two datasets whose fingerprints do not agree."""
    for path, what in _COMPARED:
        before, after = _entry(old, path), _entry(new, path)
        if before != after:
            return f"{what}: {_shortly(before, after)}"
    return "the values, or their order"


_COMPARED = (
    (("counts",), "rows in each split"),
    (("row_shape",), "shape of a row"),
    (("photographs", "train"), "training photographs"),
    (("photographs", "valid"), "validation photographs"),
    (("photographs", "test"), "test photographs"),
    (("settings",), "settings"),
    (("sizing",), "size and crop of the images"),
    (("binarise",), "binarise"),
    (("seed",), "seed"),
    (("scale",), "scale"),
    (("mean",), "mean"),
    (("min_contrast",), "contrast of the training patches"),
    (("origin",), "origin"),
)


def _entry(info: Mapping[str, Any], path: Iterable[str]) -> Any:
    found: Any = info
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return list(found) if isinstance(found, tuple) else found


def _shortly(before: Any, after: Any) -> str:
    """``A, now B``; of lists of names what was added and what is gone, of tables what changed."""
    if (
        isinstance(before, list)
        and isinstance(after, list)
        and {*map(type, before + after)} <= {str}
    ):
        gone = [name for name in before if name not in after]
        added = [name for name in after if name not in before]
        told = [
            f"{', '.join(names[:5])}{' ...' * (len(names) > 5)} {what}"
            for names, what in ((gone, "gone"), (added, "added"))
            if names
        ]
        return "; ".join(told) or "in another order"
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return ", ".join(f"{name} {before.get(name)}, now {after.get(name)}" for name in names)
    if isinstance(before, float) and isinstance(after, float) and f"{before:g}" != f"{after:g}":
        return f"{before:g}, now {after:g}"
    return f"{before}, now {after}"
