"""Training rows that are not in memory: read when a batch wants them, by a file or a loader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from pyro_vae.datasets.ahead import ahead, spare_core
from pyro_vae.errors import InputError

IN_MEMORY = 20_000  # rows for what wants some at once: a start from the data, a refit


class FarRows(ABC):
    """Rows (N, ...) of which only those that are asked for are in memory.

    Attributes:
        shape: of all of them, (N, ...).
    """

    shape: tuple[int, ...]
    device = torch.device("cpu")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def take(self, numbers: np.ndarray) -> Tensor:
        """The rows of these numbers, in their order."""

    @abstractmethod
    def batches(self, numbers: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """``map(take, numbers)``, read ahead where that helps."""

    def __getitem__(self, rows: slice) -> Tensor:
        return self.take(np.arange(len(self))[rows])

    def some(self, most: int = IN_MEMORY) -> Tensor:
        """All rows, or ``most`` of them, evenly spaced."""
        return self.take(np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int)))

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise InputError(
            f"these {len(self)} rows are not in memory; take some of them: rows[:1000], or "
            "rows.some(1000), which are evenly spaced"
        )


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of an array (N, ...) that lies in a file, copied where they are asked for.

    As much of an array as sums by chunks want of one.

    Attributes:
        array: memory-mapped.
        numbers: (M,), ascending.
    """

    array: np.ndarray
    numbers: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.numbers), *self.array.shape[1:])

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return np.asarray(self.array[self.numbers[rows]])

    def seen_as(self, view: Callable[[np.ndarray], np.ndarray]) -> Part:
        """The same rows of a view of the array."""
        return replace(self, array=view(self.array))


class FileRows(FarRows):
    """Rows (N, D) of a file, each scaled when it is read.

    Args:
        part: (N, ...) numbers.
        scaled: such numbers as rows (n, D) float32.
    """

    def __init__(self, part: Part, scaled: Callable[[np.ndarray], Tensor]) -> None:
        self.part, self.scaled = part, scaled
        self.shape = (len(part), part.size // len(part))

    def take(self, numbers: np.ndarray) -> Tensor:
        return self.scaled(self.part[numbers])

    def batches(self, numbers: Sequence[np.ndarray]) -> Iterator[Tensor]:
        # The file is read by NumPy, which a thread beside torch's may run.
        return ahead(self.take, numbers) if spare_core() else map(self.take, numbers)


class LoaderRows(FarRows):
    """What a ``DataLoader`` of torch loads, by its workers and its collate function.

    Which rows make a batch is not the loader's to say: ``Batches`` does, from seed and epoch, so
    that a resumed run sees what an unbroken one would have.

    Args:
        loader: of a data set that has a length and gives a datum by its number. A datum, or the
            first of several things that it consists of, is what the programs read.
        convert: a batch as the programs read it.

    Raises:
        InputError: a data set that can only be gone through, or a sampler that chooses rows.
    """

    def __init__(self, loader: DataLoader, convert: Callable[[Tensor], Tensor]) -> None:
        if not (hasattr(loader.dataset, "__len__") and hasattr(loader.dataset, "__getitem__")):
            raise InputError(
                f"{type(loader.dataset).__name__} can only be gone through: fit wants a data set "
                "with a length that gives a datum by its number, so that a resume finds its place"
            )
        if not isinstance(loader.sampler, (RandomSampler, SequentialSampler)):
            raise InputError(
                f"fit draws the order of the rows itself, and would leave the loader's "
                f"{type(loader.sampler).__name__} out: give a loader without a sampler"
            )
        self.loader, self.convert = loader, convert
        one = self.take(np.zeros(1, int))
        self.shape = (len(loader.dataset), *one.shape[1:])

    def take(self, numbers: np.ndarray) -> Tensor:
        data = self.loader.dataset
        return self._first(self.loader.collate_fn([data[int(number)] for number in numbers]))

    def batches(self, numbers: Sequence[np.ndarray]) -> Iterator[Tensor]:
        loader = self.loader
        workers = loader.num_workers
        again = DataLoader(
            loader.dataset,
            batch_sampler=(batch.tolist() for batch in numbers),
            num_workers=workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=torch.Generator(),  # the loader would draw a seed from the global one
            prefetch_factor=loader.prefetch_factor if workers else None,
        )
        return map(self._first, again)

    def _first(self, batch: Any) -> Tensor:
        return self.convert(batch[0] if isinstance(batch, (tuple, list)) else batch)


def rows_of_loader(
    loader: DataLoader, batch_size: int, convert: Callable[[Tensor], Tensor]
) -> LoaderRows:
    """The rows of a loader; InputError where its batches are of another size."""
    if loader.batch_size is not None and loader.batch_size != batch_size:
        raise InputError(
            f"the loader has batches of {loader.batch_size}, fit of {batch_size}; give "
            f"batch_size={loader.batch_size}"
        )
    return LoaderRows(loader, convert)
