"""Generated images against real ones, beside what two sets of real ones are apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.seeding import torch_generator
from pyro_vae.errors import InputError
from pyro_vae.evaluation.fid.features import FeatureMap
from pyro_vae.evaluation.fid.gaussians import frechet_distance


@dataclass(frozen=True)
class FrechetDistances:
    """Distances of generated images from real ones, one per feature seed, and their nulls.

    Attributes:
        values: (S,), between n generated and n real images.
        nulls: (S,), between the same n real images and n others: what ``values`` are for a model
            that is perfect.
        seeds: of the features, and of which real images are taken.
        features: their name.
        num_features: d.
        accuracy: of their networks' labels, (S,), or None.
        num_images: n.
    """

    values: np.ndarray
    nulls: np.ndarray
    seeds: tuple[int, ...]
    features: str
    num_features: int
    num_images: int
    accuracy: np.ndarray | None = None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(self.values.mean())

    @property
    def null(self) -> float:
        """Mean of the nulls over the seeds."""
        return float(self.nulls.mean())

    def entries(self) -> dict[str, Any]:
        """As JSON has them."""
        known = None if self.accuracy is None else self.accuracy.tolist()
        return {
            "distances": self.values.tolist(),
            "nulls": self.nulls.tolist(),
            "mean": self.mean,
            "null": self.null,
            "seeds": list(self.seeds),
            "features": self.features,
            "num_features": self.num_features,
            "num_images": self.num_images,
            "accuracy": known,
        }

    def lines(self) -> Iterator[str]:
        """What is printed: never a distance without its features, its null and its spread."""
        known = "" if self.accuracy is None else f", accuracy {self.accuracy.mean():.2f}"
        yield f"Frechet distance of {self.num_images} generated images from as many real ones"
        yield f"features: {self.features}{known}; seeds {_listed(self.seeds)}"
        yield f"distance {_numbers(self.values)}, mean {self.mean:.3f}"
        yield f"null     {_numbers(self.nulls)}, mean {self.null:.3f} (two sets of real images)"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _numbers(values: np.ndarray) -> str:
    return "  ".join(f"{value:.3f}" for value in values)


def fid(
    real: Tensor,
    generated: Tensor,
    features: FeatureMap | Callable[[int], FeatureMap],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    on_seed: Callable[[], object] = lambda: None,
) -> FrechetDistances:
    """Frechet distance between generated and real images (Heusel et al. 2017), with its null.

    The published FID takes the features of a network for photographs; those here are made for the
    data at hand, so its values compare with each other and not with published ones. Distances are
    biased by (d^2 + 5 d) / (2 n) or so (``frechet_distance``), and so is the null, which has the
    same n and the same d.

    Args:
        real: (N, D) with N at least 2 n.
        generated: (n, D), rows of the same kind.
        features: for each seed a map, such as ``lambda seed: label_features(x, y, seed=seed)``; or
            one map for all seeds, which then choose the real images alone.
        seeds: at least one.
        on_seed: called after each.

    Raises:
        InputError: no seeds, fewer images than features, or fewer real ones than twice the
            generated ones.
    """
    count = len(generated)
    if not len(seeds):
        raise InputError("the distance wants at least one seed")
    if len(real) < 2 * count:
        raise InputError(
            f"{count} generated images want {2 * count} real ones, half of them for the null; "
            f"there are {len(real)}"
        )
    found = []
    for seed in seeds:
        found.append(_of_seed(real, generated, features, seed))
        on_seed()
    maps = [features for _, _, features in found]
    known = [one.accuracy for one in maps if one.accuracy is not None]
    return FrechetDistances(
        values=np.array([value for value, _, _ in found]),
        nulls=np.array([null for _, null, _ in found]),
        seeds=tuple(seeds),
        features=maps[0].name,
        num_features=maps[0].num_features,
        num_images=count,
        accuracy=np.array(known) if known else None,
    )


def _of_seed(
    real: Tensor,
    generated: Tensor,
    features: FeatureMap | Callable[[int], FeatureMap],
    seed: int,
) -> tuple[float, float, FeatureMap]:
    """Distance, null and features of one seed."""
    count = len(generated)
    made = features if isinstance(features, FeatureMap) else features(seed)
    if count <= made.num_features:
        raise InputError(
            f"{count} images are too few for the covariance of {made.num_features} features: at "
            f"least {made.num_features + 1}, and many more for a small null"
        )
    order = torch.randperm(len(real), generator=torch_generator(seed, "fid", "real"))
    first, second = (real[part.to(real.device)] for part in order[: 2 * count].split(count))
    reference = made(first)
    distance = frechet_distance(reference, made(generated))
    null = frechet_distance(reference, made(second))
    return distance, null, made
