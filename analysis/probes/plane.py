"""The plane of a level's two most active units: where a guide puts images on it.

For pictures like those of Arnal et al. 2021 (MLMI4 report) and Rampersad et al. (poster).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD, active_units, posterior_means

NUM_SAMPLES = 100


@dataclass(frozen=True)
class Plane:
    """Where a guide puts N images on two units of one level.

    Attributes:
        units: the two units, counted from 0 and in this order.
        points: (N, 2), E_q[z_u | x].
        activity: (2,), Var_x( E_q[z_u | x] ).
        width: (2,), the root over x of the mean posterior variance, sqrt( E_x[ Var_q(z_u | x) ] ).
        num_active, num_units: active units of the level, and all of them.
    """

    units: tuple[int, int]
    points: np.ndarray
    activity: np.ndarray
    width: np.ndarray
    num_active: int
    num_units: int


def most_active_plane(guide, x: Tensor, level: str = "z1", num_samples: int = NUM_SAMPLES) -> Plane:
    """The two most active units of a level and the posterior means of x (N, D) on them.

    The lower unit comes first, so that a level of two units keeps its axes.

    Raises:
        InputError: the guide has no such level, or fewer than two of its units are active.
    """
    means = posterior_means(guide, x, num_samples=num_samples)
    if level not in means:
        raise InputError(f"unknown level {level!r}; allowed: {', '.join(sorted(means))}")
    chosen = means[level]
    num_active = int(active_units(chosen).sum())
    if num_active < 2:
        raise InputError(
            f"{num_active} of {len(chosen.activity)} units of {level} have an activity above "
            f"{ACTIVITY_THRESHOLD:g}; a scatter wants 2"
        )
    units = sorted(chosen.activity.topk(2).indices.tolist())
    # The Monte Carlo covariance of plain means of S draws is the posterior's covariance over S.
    drawn = posterior_means(guide, x, num_samples=num_samples, method="sample")[level]
    width = (drawn.noise_covariance.diagonal() * num_samples).sqrt()
    return Plane(
        units=(units[0], units[1]),
        points=_array(chosen.mean[:, units]),
        activity=_array(chosen.activity[units]),
        width=_array(width[units]),
        num_active=num_active,
        num_units=len(chosen.activity),
    )


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
