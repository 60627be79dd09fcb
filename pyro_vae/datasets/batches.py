"""Shuffled batches, augmented and binarised: a pure function of (seed, epoch, batch index)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.ahead import ahead, spare_core
from pyro_vae.datasets.augment import Augmentation
from pyro_vae.datasets.far_rows import FarRows
from pyro_vae.datasets.seeding import numpy_generator, torch_generator
from pyro_vae.errors import InputError, check_choice, check_count

BINARISE = ("static", "epoch", "access")


def draw_binary(probabilities: Tensor, generator: np.random.Generator) -> Tensor:
    """Draw each pixel as 0 or 1 with the given probability of 1; keeps shape, dtype and device.

    Always drawn on the CPU, so that a seed means the same pixels on every device; by NumPy, whose
    uniform numbers take half the time of torch's.
    """
    return _drawn_(probabilities.clone(), generator)


def _drawn_(probabilities: Tensor, generator: np.random.Generator) -> Tensor:
    """The same in place: a comparison into new memory and a cast take seven times as long."""
    uniform = torch.from_numpy(generator.random(tuple(probabilities.shape), dtype=np.float32))
    return probabilities.gt_(uniform.to(probabilities.device, non_blocking=True))


class Batches:
    """Batches of rows in a fresh order each epoch.

    No state is kept between calls and the global generator is never touched: batch ``i`` of epoch
    ``e`` is the same whenever and however often it is asked for. Hence ``epoch(e, start)`` gives
    exactly the tail of ``epoch(e)``, which is what makes a resumed run equal an unbroken one.

    Args:
        data: (N, D) rows; probabilities in [0, 1] where ``binarise`` draws from them. Of rows that
            are not in memory each batch is read when it is wanted.
        batch_size: rows in a batch; the last one of an epoch may be smaller and is kept.
        seed: whole number, not negative.
        binarise: ``"access"`` draws 0/1 pixels anew for each batch (Burda et al.), ``"epoch"``
            draws the whole set anew at the start of each epoch, None or ``"static"`` gives the
            rows as they are.
        augment: flips and shifts the images of each batch anew, before pixels are drawn for it.

    Raises:
        InputError: no rows, a batch size below 1, a negative seed, an unknown ``binarise``, rows
            that are not probabilities although ``binarise`` should draw from them, or that are not
            the images of ``augment``.
    """

    def __init__(
        self,
        data: Tensor | FarRows,
        batch_size: int,
        *,
        seed: int,
        binarise: str | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        if data.ndim < 1 or len(data) == 0:
            raise InputError(f"no rows to make batches of: data has shape {tuple(data.shape)}")
        self.data = data
        self.batch_size = check_count("batch_size", batch_size)
        self.seed = check_count("seed", seed, minimum=0)
        if binarise is not None:
            check_choice("binarise", binarise, BINARISE)
        self.binarise = None if binarise == "static" else binarise
        if self.binarise == "epoch" and isinstance(data, FarRows):
            raise InputError("binarise='epoch' draws all rows at once; of rows in a file: 'access'")
        if self.binarise is not None and not isinstance(data, FarRows):
            self._check_probabilities(data)

        self.augment = augment
        if augment is not None and (
            augment.image_shape is None or data.shape[1:] != (augment.num_pixels,)
        ):
            raise InputError(
                f"augmentation {augment} is of images of shape {augment.image_shape}, which rows "
                f"of shape {tuple(data.shape[1:])} are not; Augmentation.of(image_shape) says which"
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.data) // self.batch_size)

    def order(self, epoch: int) -> Tensor:
        """Numbers of the rows in the order of this epoch, (N,)."""
        generator = torch_generator(self.seed, "order", epoch)
        return torch.randperm(len(self.data), generator=generator)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Yield batches ``start``, ``start + 1``, ... of this epoch, each of shape (<= B, D).

        Raises:
            InputError: a negative epoch, or a start outside 0 .. ``len(self)``.
        """
        check_count("epoch", epoch, minimum=0)
        check_count("start", start, minimum=0)
        if start > len(self):
            raise InputError(f"start must be at most {len(self)} (batches per epoch), got {start}")
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Tensor]:
        order = self.order(epoch).to(self.data.device)
        data = self.data
        indices = range(start, len(self))
        if isinstance(data, FarRows):
            numbers = [order[self._rows(index)].numpy() for index in indices]
            for index, batch in zip(indices, data.batches(numbers), strict=True):
                if self.binarise is not None:
                    self._check_probabilities(batch)
                yield self._changed_(batch, epoch, index)
            return
        if self.binarise == "epoch":
            data = draw_binary(data, numpy_generator(self.seed, "binarise", epoch))
        on_host = data.device.type == "cpu" and self.augment is None
        if self.binarise == "access" and on_host and spare_core():
            make = partial(self._drawn, data.numpy(), order.numpy(), epoch)
            yield from map(torch.from_numpy, ahead(make, indices))
            return
        for index in indices:
            batch = data.index_select(0, order[self._rows(index)])  # a fifth of the time of data[]
            yield self._changed_(batch, epoch, index)

    def _changed_(self, batch: Tensor, epoch: int, index: int) -> Tensor:
        """A batch augmented and drawn, as far as that is asked for; its memory may be reused."""
        if self.augment is not None:
            batch = self.augment(batch, numpy_generator(self.seed, "augment", epoch, index))
        if self.binarise == "access":
            batch = _drawn_(batch, numpy_generator(self.seed, "binarise", epoch, index))
        return batch

    def _check_probabilities(self, rows: Tensor) -> None:
        low, high = rows.min().item(), rows.max().item()
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"binarise={self.binarise!r} needs pixels in [0, 1], got {low:g} to {high:g}"
            )

    def _rows(self, index: int) -> slice:
        return slice(index * self.batch_size, (index + 1) * self.batch_size)

    def _drawn(self, data: np.ndarray, order: np.ndarray, epoch: int, index: int) -> np.ndarray:
        """A batch of drawn pixels by NumPy alone, which a thread beside torch's may run."""
        batch = data[order[self._rows(index)]]
        generator = numpy_generator(self.seed, "binarise", epoch, index)
        return np.less(generator.random(batch.shape, dtype=np.float32), batch, out=batch)
