"""Noise that belongs to a row of data, whichever rows it is drawn beside."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.weights.preconditions import innermost
from pyro_vae.weights.site import Site


class RowNoise(Messenger):
    """Draws latent sites on noise that is a function of a seed, the row, the site and its run.

    ``with RowNoise(x, seed): log_weights(model, guide, x, K)`` gives a row the log-weights that it
    has alone, in another order or in another batch, up to the rounding of sums: what is estimated
    by Monte Carlo becomes a function of the row. Equal rows share their noise; others are
    independent. A site ``z`` is drawn as ``F^-1(u)`` with uniform u of shape (K, U) per row; sites
    whose distribution has no quantile function F^-1 in torch draw as usual.

    Args:
        x: (B, D), all rows that the programs see inside.
        seed: not negative.
    """

    def __init__(self, x: Tensor, seed: int) -> None:
        super().__init__()
        rows = np.ascontiguousarray(x.detach().cpu().numpy())
        start = blake2b(f"{seed}".encode(), digest_size=16)
        self._digests = []
        for row in rows:
            digest = start.copy()
            digest.update(row.tobytes())
            self._digests.append(digest)
        self._runs: dict[str, int] = {}  # of each site: a second pass has other particles

    def _pyro_sample(self, msg) -> None:
        site = Site(msg)
        if site.is_drawn or site.is_observed or site.is_subsample:
            return
        fn = site.fn
        shape = fn.shape()
        if len(shape) < 2 or shape[1] != len(self._digests):
            raise ValueError(
                f"site {site.name!r} is drawn with shape {tuple(shape)}, but the noise is of "
                f"{len(self._digests)} rows"
            )
        run = self._runs[site.name] = self._runs.get(site.name, -1) + 1
        base = innermost(fn)
        try:
            # float64, whose uniform numbers reach far enough into the tails.
            value = base.icdf(self._uniform(shape, f"{site.name} {run}").to(base.mean.device))
        except NotImplementedError:
            return
        msg["value"] = value.to(base.mean.dtype)
        msg["done"] = True

    def _uniform(self, shape: torch.Size, key: str) -> Tensor:
        """(K, B, ...) in (0, 1), drawn row by row."""
        drawn = np.empty(shape)
        for index, start in enumerate(self._digests):
            digest = start.copy()
            digest.update(key.encode())
            stream = np.random.Philox(key=int.from_bytes(digest.digest(), "little"))
            drawn[:, index] = np.random.Generator(stream).random((shape[0], *shape[2:]))
        return torch.from_numpy(drawn).clamp_(min=2.0**-54)
