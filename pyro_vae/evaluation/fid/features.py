"""Features of images: of a small network trained on labels, or random ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_count
from pyro_vae.torch_state import own_generators

NUM_FEATURES = 64
_BATCH, _CHUNK = 100, 1_000
_HELD_OUT = 0.1  # share of the labelled rows that the network's accuracy is told of


@dataclass(frozen=True)
class FeatureMap:
    """A map from rows to features, with what it is in words.

    Attributes:
        function: rows (n, D) -> features (n, d), tensors.
        name: printed beside every distance.
        num_features: d.
        accuracy: of the network's labels on held-out rows; None where it has none.
    """

    function: Callable[[Tensor], Tensor]
    name: str
    num_features: int
    accuracy: float | None = None

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> np.ndarray:
        """(n, D) -> (n, d), float64."""
        parts = [self.function(part).double().cpu() for part in rows.split(_CHUNK)]
        return torch.cat(parts).numpy()


def random_features(rows: Tensor, *, num_features: int = NUM_FEATURES, seed: int = 0) -> FeatureMap:
    """max(0, W x + b) with random W and b: features that nobody trained.

    W has independent normal entries and b uniform ones, as wide as the projections are, which the
    mean and scale of all pixels bring to unit scale. They see means, covariances and, by their
    kinks, some more; objects they do not see.

    Args:
        rows: (N, D), whose mean and scale are taken, such as the training rows.
    """
    check_count("num_features", num_features)
    generator = torch.Generator().manual_seed(check_count("seed", seed, minimum=0))
    wide = torch.float64
    weight = torch.randn(rows.shape[1], num_features, generator=generator, dtype=wide)
    weight = (weight / rows.shape[1] ** 0.5).to(rows)
    bias = (2 * torch.rand(num_features, generator=generator, dtype=wide) - 1).to(rows)
    mean, scale = _mean_and_scale(rows)
    return FeatureMap(
        lambda x: torch.relu((x - mean) / scale @ weight + bias),
        f"{num_features} random projections, rectified",
        num_features,
    )


def label_features(
    rows: Tensor,
    labels: Tensor,
    image_shape: Sequence[int] | None = None,
    *,
    num_features: int = NUM_FEATURES,
    steps: int = 600,
    seed: int = 0,
) -> FeatureMap:
    """The last hidden layer of a small classifier, trained here on the labels: seconds on a CPU.

    Two strided convolutions and a layer of ``num_features`` rectified units (two layers where rows
    are no images), by Adam on batches of 100. On the CPU a seed gives the same network. A tenth of
    the rows is left out of training, for its accuracy.

    Args:
        rows: (N, D). labels: (N,), whole numbers from 0. image_shape: (C, H, W) of a row, channel
            first; None for rows that are no images.

    Raises:
        InputError: labels that do not fit, or of one class.
    """
    check_count("num_features", num_features)
    check_count("steps", steps)
    labels = torch.as_tensor(labels, device=rows.device).long()
    classes = len(labels.unique()) if len(labels) else 0
    if len(labels) != len(rows) or classes < 2 or len(rows) < 2 * _BATCH:
        raise InputError(
            f"a network for features wants a label of each of at least {2 * _BATCH} rows, of two "
            f"or more classes; got {len(rows)} rows and {len(labels)} labels of {classes} classes"
        )
    mean, scale = _mean_and_scale(rows)
    rows = (rows - mean) / scale
    with own_generators():
        torch.manual_seed(check_count("seed", seed, minimum=0))
        order = torch.randperm(len(rows)).to(rows.device)
        held, kept = order[: int(_HELD_OUT * len(rows))], order[int(_HELD_OUT * len(rows)) :]
        trunk = _trunk(rows.shape[1], image_shape, num_features).to(rows)
        head = nn.Linear(num_features, int(labels.max()) + 1).to(rows)
        _train(nn.Sequential(trunk, head), rows[kept], labels[kept], steps)
    with torch.no_grad():
        hits = [
            (head(trunk(part)).argmax(1) == told).double()
            for part, told in zip(rows[held].split(_CHUNK), labels[held].split(_CHUNK), strict=True)
        ]
    accuracy = torch.cat(hits).mean().item()
    kind = "dense" if image_shape is None else "convolutional"
    return FeatureMap(
        lambda x: trunk((x - mean) / scale),
        f"{num_features} units of a small {kind} network for the labels",
        num_features,
        accuracy,
    )


def _mean_and_scale(rows: Tensor) -> tuple[Tensor, Tensor]:
    scale = rows.std()
    if not scale > 0:
        raise InputError("the rows are constant: they have no features")
    return rows.mean(), scale


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
        chosen = torch.randint(len(rows), (_BATCH,)).to(rows.device)
        loss = nn.functional.cross_entropy(network(rows[chosen]), labels[chosen])
        adam.zero_grad()
        loss.backward()
        adam.step()
    network.requires_grad_(False)
