"""Draws of the top latent, which another prior is fitted to and judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from pyro_vae.datasets import Batches
from pyro_vae.datasets.batches import draw_binary
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.weights.log_weights import guide_sites

CHUNK = 2_000  # rows encoded at once
KEPT = 8  # draws of a row that are kept at most
HELD = 2**24  # numbers in them at most: 64 MiB


@dataclass(frozen=True)
class TopDraws:
    """Draws of q(zL | x).

    Attributes:
        guide: draws every latent.
        top: name of zL.
        features: its number of units.
        binarise: how 0/1 pixels are drawn from rows of probabilities, as
            :class:`pyro_vae.datasets.Batches` has it; None where rows are what they are.
        seed: of pixels and of the order of rows.
    """

    guide: Callable
    top: str
    features: int
    binarise: str | None
    seed: int

    @torch.no_grad()
    def __call__(self, rows: Tensor, number: int) -> Tensor:
        """(number, B, features)."""
        return guide_sites(self.guide, rows, number)[self.top].value

    def of(self, rows: Tensor, what: str, number: int) -> Tensor:
        """The same for many rows, whose pixels are drawn first where that is still to be done."""
        return torch.cat([self(part, number) for part in self.pieces(rows, what)], 1)

    def pieces(self, rows: Tensor, what: str) -> Iterator[Tensor]:
        """The rows in pieces, their pixels drawn by the seed and ``what`` they are for."""
        if self.binarise not in (None, "static"):
            rows = draw_binary(rows, numpy_generator(self.seed, "refit", what))
        return iter(rows.split(CHUNK))

    def batches(self, rows: Tensor, size: int, steps: int) -> Iterator[Tensor]:
        """So many batches (B, features) with a new draw of every row in each epoch."""
        source = Batches(rows, size, seed=self.seed, binarise=self.binarise)
        epochs = -(-steps // len(source))
        kept = source.binarise is None
        drawn = self._kept(source, rows, epochs) if kept else self._anew(source, epochs)
        return islice(drawn, steps)

    def _anew(self, source: Batches, epochs: int) -> Iterator[Tensor]:
        """Encoded batch by batch: their pixels are others every time."""
        for epoch in range(epochs):
            for rows in source.epoch(epoch):
                yield self(rows, 1)[0]

    def _kept(self, source: Batches, rows: Tensor, epochs: int) -> Iterator[Tensor]:
        """Rows are encoded once for as many epochs as there may be draws in memory."""
        most = min(KEPT, max(1, HELD // (len(rows) * self.features)))
        if epochs == 1:  # perhaps a part of one
            yield from self._anew(source, epochs)
            return
        for first in range(0, epochs, most):
            draws = self.of(rows, "fitted", min(most, epochs - first))
            for epoch, z in enumerate(draws, start=first):
                for chosen in source.order(epoch).to(z.device).split(source.batch_size):
                    yield z[chosen]
