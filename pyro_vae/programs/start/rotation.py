"""The orthogonal rotation of white rows into independent sources, by small batches.

All rows at every step, as in FastICA, need some 200 steps for 314 sources of photographs (BSDS500);
batches of 1000 come about as far in a fifth of the time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BATCH = 1000
STEPS, FIRST, LAST, MOMENTUM = 800, 0.3, 0.02, 0.7
WHOLE_STEPS = 5  # on all rows, where the batches end
# Of 1 - |cosine| between a source's weights before and after the last step on all rows: the
# rotation has settled where nine in ten are below. A few sources next to normal go round for long.
SETTLED = 1e-3
MIN_CURVATURE = 1e-2  # nats; a normal source has none, and no rotation of two is better


def independent_rotation(white: np.ndarray, *, seed: int) -> tuple[np.ndarray, bool]:
    """W (r, r), orthogonal, such that the columns of white W' are independent; has it settled?

    With y = W z, f = tanh, kappa_i = E[1 - f(y_i)^2] - E[f(y_i) y_i], positive for a source more
    peaked than a normal one, and s_i its sign, the objective sum_i s_i E[log cosh y_i] goes down
    along the relative gradient's antisymmetric part,

        G_ij = s_i E[f(y_i) y_j],   W <- W - eta (G - G') / (|kappa_i| + |kappa_j|) W,

    with momentum, the step eta falling from 0.3 to 0.02, and the nearest orthogonal matrix taken
    after each step (Cardoso and Laheld 1996, https://doi.org/10.1109/78.553476; the scaling is the
    Hessian's at independent sources, Ablin, Cardoso and Gramfort 2018,
    https://arxiv.org/abs/1711.10873). Five steps of FastICA on all rows follow, which share the
    fixed points (Hyvarinen and Oja 2000, section 6). Products are float32, W float64 at the end.
    The same seed gives the same bits with the same number of threads.

    Args:
        white: (N, r), of covariance 1.
        seed: of the first W, uniform over the orthogonal matrices, and of the batches.
    """
    rows = torch.as_tensor(white, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    rotation = _uniform(rows.shape[1], generator)
    if rows.shape[1] > 1:
        rotation = _by_batches(rows, rotation, generator)
    for _ in range(WHOLE_STEPS):
        before, rotation = rotation, _fixed_point_step(rows, rotation)
    moved = 1 - (before * rotation).sum(dim=1).abs()
    return rotation.numpy(), bool(moved.quantile(0.9) < SETTLED)


def _uniform(size: int, generator: torch.Generator) -> Tensor:
    normal = torch.randn(size, size, generator=generator, dtype=torch.float64)
    orthogonal, triangle = torch.linalg.qr(normal)
    return orthogonal * triangle.diagonal().sign()


def _by_batches(rows: Tensor, rotation: Tensor, generator: torch.Generator) -> Tensor:
    number, batch = len(rows), min(BATCH, len(rows))
    rotation, order = rotation.float(), torch.empty(0, dtype=torch.long)
    velocity, kappa = torch.zeros_like(rotation), None
    for step in range(STEPS):
        if len(order) < batch:
            order = torch.randperm(number, generator=generator)
        chosen, order = order[:batch], order[batch:]
        products, curvature = _moments(rows[chosen], rotation)
        kappa = curvature if kappa is None else torch.lerp(kappa, curvature, 0.1)
        gradient = _signs(kappa) * (products @ rotation.T)
        scale = (kappa.abs()[:, None] + kappa.abs()).clamp_min(2 * MIN_CURVATURE)
        eta = FIRST * (LAST / FIRST) ** (step / STEPS)
        velocity = MOMENTUM * velocity - eta * (gradient - gradient.T) / scale
        moved = rotation + velocity @ rotation
        for _ in range(2):  # Newton's and Schulz's iteration, from nearby
            moved = 1.5 * moved - 0.5 * (moved @ moved.T) @ moved
        rotation = moved
    return rotation.double()


def _fixed_point_step(rows: Tensor, rotation: Tensor) -> Tensor:
    """w_i <- E[z f(w_i' z)] - E[f'(w_i' z)] w_i, and the nearest orthogonal matrix, signs kept."""
    products, kappa = _moments(rows, rotation.float())
    products, kappa = products.double(), kappa.double()
    weights = (products @ rotation.T).diagonal() + kappa  # E[f'(y_i)]
    moved = _signs(kappa) * (weights[:, None] * rotation - products)
    # No singular value decomposition: those of matrices with all singular values close to one do
    # not converge under some multithreaded builds of LAPACK (OpenBLAS 0.3.30, AVX-512).
    values, vectors = torch.linalg.eigh(moved @ moved.T)
    smallest = torch.finfo(values.dtype).eps * values[-1]
    return (vectors * values.clamp_min(smallest).rsqrt()) @ (vectors.T @ moved)


def _signs(kappa: Tensor) -> Tensor:
    """s, (r, 1)."""
    return torch.where(kappa < 0, -1.0, 1.0)[:, None]


def _moments(rows: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
    """E[f(y) z'] (r, r), and kappa (r,)."""
    sources = rows @ rotation.T
    bent = sources.tanh()
    products = bent.T @ rows / len(rows)
    kappa = 1 - bent.square().mean(dim=0) - (bent * sources).mean(dim=0)
    return products, kappa
