"""Active units: latent units whose posterior mean moves with the data.

Sources: Burda et al. 2016 (https://arxiv.org/abs/1509.00519); Arnal et al. 2021 (MLMI4 report), who
count with test images, and along principal directions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_choice, check_count, check_positive
from pyro_vae.evaluation.posterior_moments import posterior_parts
from pyro_vae.rows import Data, as_data, count_rows, first_rows
from pyro_vae.weights.levels import guide_levels

ACTIVITY_THRESHOLD = 0.01  # of Burda et al. 2016
BURDA_DATA = 500  # training images that the definition of Burda et al. looks at
DEFINITIONS = ("test", "burda", "pca")
MIN_ROWS = 2  # activity is a variance over the data


@dataclass(frozen=True)
class PosteriorMeans:
    """Monte Carlo means of one level over a data set.

    Attributes:
        mean: (N, D), E_q[z | x] estimated from S draws.
        noise_covariance: (D, D), the Monte Carlo covariance of ``mean``, averaged over the data.
            Errors of z1's means are shared between units, since they come through draws of z2.
    """

    mean: Tensor
    noise_covariance: Tensor

    @property
    def activity(self) -> Tensor:
        """A_u = Var_x( E_q[z_u | x] ), (D,), with the Monte Carlo variance of the means removed.

        Without the correction the estimate is too large by E_x[Var_q(z_u)] / S, as large as the
        usual threshold itself for a unit-variance posterior and S = 100. InputError for the means
        of a single datum, which have no variance.
        """
        _check_rows(len(self.mean))
        return self.mean.var(0, unbiased=True) - self.noise_covariance.diagonal()


def _too_few_rows(number: int, definition: str = "") -> str | None:
    """What is wrong with so few rows; None where they are enough for a variance over the data."""
    of = f" of definition {definition!r}" if definition else ""
    wanted = (
        f"activity{of} is a variance over the data, which wants at least {MIN_ROWS} rows and some "
        f"hundred to be worth reading; got {number}"
    )
    return wanted if number < MIN_ROWS else None


def _check_rows(number: int) -> None:
    wrong = _too_few_rows(number)
    if wrong:
        raise InputError(wrong)


@torch.no_grad()
def posterior_means(
    guide: Callable,
    x: Data,
    *,
    num_samples: int = 100,
    method: str = "conditional",
    chunk_size: int = 10_000,
) -> dict[str, PosteriorMeans]:
    """Posterior means of every level under the guide.

    Args:
        guide: Pyro program with one data plate at dim -1.
        x: (N, D_x), or the tuple of the guide's arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.
        num_samples: draws S per datum.
        method: "conditional" averages each level's conditional mean over the draws of its parents
            (exact for a level without latent parents); "sample" averages the draws themselves.
        chunk_size: draws times data run at once.
    """
    check_count("num_samples", num_samples, minimum=2)
    check_choice("method", method, ("conditional", "sample"))
    x = as_data(x, guide)
    means: dict[str, list[Tensor]] = {}
    scatter: dict[str, Tensor] = {}
    for levels in posterior_parts(None, guide, x, 1, num_samples, chunk_size):
        for name, parts in levels.items():
            values = parts.mean if method == "conditional" else parts.draws
            mean = values.mean(0)
            errors = (values - mean).flatten(0, 1)
            means.setdefault(name, []).append(mean.double())
            scatter[name] = scatter.get(name, 0.0) + (errors.T @ errors).double()
    # Covariance of one draw, pooled over the data, over S for the mean of S draws.
    per_draw = count_rows(x) * (num_samples - 1)
    return {
        name: PosteriorMeans(torch.cat(parts), scatter[name] / (per_draw * num_samples))
        for name, parts in means.items()
    }


def active_units(means: PosteriorMeans, threshold: float = ACTIVITY_THRESHOLD) -> np.ndarray:
    """Which units have activity above the threshold, (D,) booleans."""
    return (means.activity > threshold).cpu().numpy()


def pca_active_units(means: PosteriorMeans, threshold: float = ACTIVITY_THRESHOLD) -> int:
    """Number of principal directions of the posterior means with variance above the threshold.

    Unlike the count of active units it does not change when the latent space is rotated (Arnal et
    al. 2021). The Monte Carlo covariance of the means is removed from theirs.
    """
    return int((_principal_variances(means) > threshold).sum())


def _principal_variances(means: PosteriorMeans) -> Tensor:
    """Variances (D,) along the principal directions of the posterior means, falling."""
    _check_rows(len(means.mean))
    covariance = torch.cov(means.mean.T).reshape(means.noise_covariance.shape)
    return torch.linalg.eigvalsh(covariance - means.noise_covariance).flip(0)


@dataclass(frozen=True)
class ActiveUnits:
    """Active units of one level by one definition.

    Attributes:
        count: how many of the D units, or principal directions, are active; None where the data
            are a single row, which has no variance: nobody knows.
        activity: (D,), the variance that is compared with the threshold, of each unit; for "pca" of
            each principal direction, falling.
        mask: (D,) booleans, which units are active; None for "pca", whose directions are no units,
            and for a single row.
    """

    count: int | None
    activity: np.ndarray
    mask: np.ndarray | None


def count_active_units(
    guide: Callable,
    x: Data,
    *,
    definition: str = "test",
    num_samples: int = 100,
    threshold: float = ACTIVITY_THRESHOLD,
    chunk_size: int = 10_000,
) -> dict[str, ActiveUnits]:
    """Active units of every level by one of the definitions in the papers: level -> ActiveUnits.

    ==========  ====================================================================================
    definition  variance over the data, compared with the threshold
    ==========  ====================================================================================
    test        of E_q[z_u | x], from ``num_samples`` draws per datum, the Monte Carlo variance of
                these means removed (Arnal et al. 2021 with test images, but corrected)
    burda       of the conditional mean of z_u at a single draw of its parents, for the first 500
                rows of x (the code of Burda et al. 2016, with training images). Too large by the
                variance that the drawn parents add: right for levels without latent parents only
    pca         along each principal direction of the means of "test" (Arnal et al. 2021): the same
                for a rotated latent space, where the other two count anew. N rows span N - 1
                directions, so it counts no more
    ==========  ====================================================================================

    Args:
        guide: Pyro program with one data plate at dim -1.
        x: (N, D_x), test images for "test" and "pca", training images for "burda"; or the tuple of
            the guide's arguments, and anything that :func:`pyro_vae.rows.as_data` takes.
        num_samples, chunk_size: of :func:`posterior_means`; not used by "burda".

    Raises:
        InputError: another definition; a threshold that is not positive; data that cannot be read.

    Warns:
        UserWarning: a single row. Activity is NaN then, and counts are None.
    """
    check_choice("definition", definition, DEFINITIONS)
    check_positive("threshold", threshold)
    x = as_data(x, guide)
    wrong = _too_few_rows(count_rows(x), definition)
    if wrong:
        warnings.warn(wrong, stacklevel=2)
        means = posterior_means(guide, x, num_samples=2)
        unknown = {name: np.full(level.mean.shape[1], np.nan) for name, level in means.items()}
        return {name: ActiveUnits(None, values, None) for name, values in unknown.items()}
    if definition == "burda":
        activities = _single_sample_activities(guide, first_rows(x, BURDA_DATA))
    else:
        means = posterior_means(guide, x, num_samples=num_samples, chunk_size=chunk_size)
        measure = _principal_variances if definition == "pca" else lambda level: level.activity
        activities = {name: measure(level) for name, level in means.items()}
    found = {}
    for name, activity in activities.items():
        active = (activity > threshold).cpu().numpy()
        mask = None if definition == "pca" else active
        found[name] = ActiveUnits(int(active.sum()), activity.cpu().numpy(), mask)
    return found


@torch.no_grad()
def _single_sample_activities(guide: Callable, x: Data) -> dict[str, Tensor]:
    return {
        name: level.mean[0].double().var(0, unbiased=True)
        for name, level in guide_levels(guide, x, 1).items()
    }
