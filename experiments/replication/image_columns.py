"""What the tables of colour images share: their data and precision, and columns in bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.replication.columns import Column, with_error
from experiments.replication.measures import DATA_SEED

# As in the tables of priors: one precision for all, which cells would choose by the clock.
SHARED: Mapping[str, Any] = {
    "model": "image",
    "guide": "topdown",
    "data_seed": DATA_SEED,
    "precision": "float32",
}
RECIPES = ("minutes-images", "srvae")


def in_bits() -> tuple[Column, ...]:
    """Of the ELBO, as papers print them, and of L_K."""
    return (
        with_error(
            "bits",
            "bits_per_dim",
            3,
            "Bits: per dimension, -ELBO / (D ln 2) of test images, +- its standard error over "
            "them; K particles: the same of L_K, K = {particles}, which is never above it on "
            "average.",
        ),
        with_error("bits, K particles", "iw_bits_per_dim", 3),
    )
