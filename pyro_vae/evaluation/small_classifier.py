"""A small network that tells classes of rows apart, trained in seconds where it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError

BATCH = 100
_CHUNK = 1_000


@dataclass(frozen=True)
class Scaling:
    """One mean and one scale of all pixels of some rows."""

    mean: Tensor
    scale: Tensor

    @staticmethod
    def of(rows: Tensor) -> Scaling:
        """Raises InputError where the rows are constant."""
        scale = rows.std()
        if not scale > 0:
            raise InputError("the rows are constant: they have no features")
        return Scaling(rows.mean(), scale)

    def __call__(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.scale


@dataclass(frozen=True)
class SmallClassifier:
    """A trained network: rows (n, D) -> features (n, d) by ``features``, -> classes by ``hits``."""

    scaling: Scaling
    trunk: nn.Module
    head: nn.Module

    def features(self, rows: Tensor) -> Tensor:
        """The last hidden layer, rectified."""
        return self.trunk(self.scaling(rows))

    @torch.no_grad()
    def hits(self, rows: Tensor, labels: Tensor) -> Tensor:
        """1 where the likeliest class is the label, else 0, (n,) float64."""
        parts = zip(rows.split(_CHUNK), labels.split(_CHUNK), strict=True)
        found = [self.head(self.features(part)).argmax(1) == told for part, told in parts]
        return torch.cat(found).double()


def small_classifier(
    rows: Tensor,
    labels: Tensor,
    image_shape: Sequence[int] | None,
    scaling: Scaling,
    *,
    num_features: int,
    steps: int,
) -> SmallClassifier:
    """Trains two strided convolutions and a layer of ``num_features`` rectified units on labels.

    Two dense layers where rows are no images; by Adam on batches of 100. Weights and batches are
    drawn from torch's generator.

    Args:
        rows: (N, D).
        labels: (N,), whole numbers from 0.
        image_shape: (C, H, W) of a row, channel first; None for rows that are no images.
    """
    trunk = _trunk(rows.shape[1], image_shape, num_features).to(rows)
    head = nn.Linear(num_features, int(labels.max()) + 1).to(rows)
    _train(nn.Sequential(trunk, head), scaling(rows), labels, steps)
    return SmallClassifier(scaling, trunk, head)


def _trunk(num_pixels: int, image_shape: Sequence[int] | None, num_features: int) -> nn.Module:
    if image_shape is None:
        return nn.Sequential(
            nn.Linear(num_pixels, 128), nn.ReLU(), nn.Linear(128, num_features), nn.ReLU()
        )
    channels, height, width = image_shape
    places = -(-height // 4) * -(-width // 4)  # after two halvings, rounded up
    return nn.Sequential(
        nn.Unflatten(1, (channels, height, width)),
        nn.Conv2d(channels, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * places, num_features),
        nn.ReLU(),
    )


def _train(network: nn.Module, rows: Tensor, labels: Tensor, steps: int) -> None:
    adam = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(steps):
        chosen = torch.randint(len(rows), (BATCH,)).to(rows.device)
        loss = nn.functional.cross_entropy(network(rows[chosen]), labels[chosen])
        adam.zero_grad()
        loss.backward()
        adam.step()
    network.requires_grad_(False)
