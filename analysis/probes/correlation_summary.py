"""All that the report asks of the posterior correlations of one run: arrays of moderate size.

From the triangles of all patches (hundreds of megabytes) what stays is the strongest pairs of each
patch, the moments and histogram of each pair, and the consistency of the strongest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from analysis.measures import consistency
from analysis.measures.by_name import Named
from analysis.measures.correlation import (
    EDGES,
    average,
    correlations,
    count_absolute,
    matrix,
    over_patches,
    strongest,
)
from analysis.probes.correlation import (
    HIGH_CONTRAST,
    STRONGEST,
    highest_contrast,
    patch_correlations,
    posterior_draws,
)
from analysis.probes.image_rows import as_images
from pyro_vae.errors import InputError, check_choice

if TYPE_CHECKING:
    from analysis.reporting.study import Subject

REPLICATES = 100


def correlate(subject: Subject, sampling: str = "ew") -> Named:
    """Posterior correlations of the active units of z1 on test patches of high contrast.

    The patches are drawn from the 1000 of highest contrast (all, where there are fewer): three
    references of the consistency study, then the others, of which the first is the example. Models
    with the same data and settings are asked about the same patches; fewer are a part of more. The
    noise of the draws depends on the seed of the run.

    Args:
        sampling: "q", draws of the guide; "ew", of q_EW where the subject is weighted, which takes
            k times as long and ``settings.weighted_patches`` patches instead of ``patches``.

    Returns:
        what :func:`summarise` returns, with ``rows`` (P,) and ``reference_rows`` (3,), indices of
        test patches, ``pool``, the patches drawn from, and ``k``.

    Raises:
        InputError: too few patches, or fewer than 5 active units.
    """
    check_choice("sampling", sampling, ("q", "ew"))
    settings = subject.settings
    resampled = sampling == "ew" and subject.weighted
    test = subject.natural.test
    images = test.cpu().numpy()
    if subject.natural.picture_shape is not None:
        images = as_images(images, subject.natural)
    pool = highest_contrast(images, min(HIGH_CONTRAST, len(images)))
    wanted = settings.weighted_patches if resampled else settings.patches
    references, rows = choose_patches(pool, wanted, settings.seed)
    units = np.flatnonzero(subject.measured("activity").z1_active)
    k = subject.proposals if resampled else 1
    found = summarise(
        subject.run.model,
        subject.run.guide,
        test[rows],
        test[references],
        k,
        settings.draws,
        units=units,
        seed=own_seed(settings.seed, subject.seed),
    )
    return Named(
        **found,
        rows=rows,
        reference_rows=references,
        pool=np.array(len(pool)),
        k=np.array(k),
    )


def own_seed(seed: int, run_seed: int) -> int:
    """Seed of the draws for runs of one seed: shared noise would hide the spread over seeds."""
    return int(np.random.SeedSequence([seed, run_seed]).generate_state(1)[0])


def choose_patches(pool: np.ndarray, wanted: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three reference patches and at most ``wanted`` others of the pool, in random order.

    Raises:
        InputError: fewer than 10 others.
    """
    order = np.random.default_rng(seed).permutation(pool)
    references, others = np.split(order, [consistency.NUM_REFERENCES])
    if min(wanted, len(others)) < consistency.MIN_PATCHES:
        raise InputError(
            f"posterior correlations want at least {consistency.MIN_PATCHES} test patches besides "
            f"{consistency.NUM_REFERENCES} references; there are {len(others)}, and {wanted} were "
            "asked for"
        )
    return references, others[:wanted]


def summarise(
    model: Callable,
    guide: Callable,
    x: Tensor,
    references: Tensor,
    k: int = 1,
    num_draws: int = 1_000,
    *,
    units: np.ndarray,
    seed: int = 0,
    chunk_size: int = 10_000,
) -> Named:
    """Correlations of A units of z1 on the patches x (P, D) and on the references (R, D).

    Returns:
        =====================  ========  =======================================================
        ``units``              (A,)      indices of the units in z1
        ``num_draws``          ()        n, per patch
        ``matrix``             (A, A)    correlations on the example, the first patch
        ``example_draws``      (n, A)    its draws
        ``example_counts``     (200,)    histogram of its M correlations, on measures' ``EDGES``
        ``strongest``          (P, 10)   r of the strongest pairs, |r| falling
        ``strongest_pairs``    (P, 10)   which pairs, in the order of measures' ``pairs``
        ``shuffled``           (P, 10)   as ``strongest``, with shuffled draws
        ``counts``             (200,)    histogram over patches and pairs
        ``shuffled_counts``    (200,)    the same with shuffled draws
        ``pair_mean``          (M,)      mean over patches of r; ``pair_sd`` its spread
        ``pair_average``       (M,)      mean over patches on Fisher's scale
        ``pair_absolute``      (M,)      mean over patches of |r|
        ``pair_counts``        (M, 50)   uint16, histogram of |r| over patches, ``ABSOLUTE_EDGES``
        ``means``              (P, A)    posterior means of the units
        ``covariance``         (A, A)    posterior covariance, averaged over patches
        ``reference_ratios``   (R, 5)    consistency, Vas 2024, Table 5.8
        ``every_ratios``       (P, 5)    the same with each patch as the reference
        ``half_ratios``        (P, 5)    and with pairs chosen by half of the draws, measured with
                                         the other half
        ``permuted_ratios``    (100,)    Table 5.8 with patches permuted within each pair
        =====================  ========  =======================================================
    """
    found = patch_correlations(
        model, guide, x, k, num_draws, units=units, seed=seed, chunk_size=chunk_size
    )
    triangles = found.triangles
    pair_mean, pair_sd = over_patches(triangles)
    index, values = strongest(triangles, STRONGEST)
    # Other noise than that of the patches, whose seeds are derived from this one.
    at_references = posterior_draws(
        model, guide, references, k, num_draws, seed=seed + 1, chunk_size=chunk_size
    )[..., torch.as_tensor(units)]
    reference_triangles = correlations(at_references.cpu().numpy())
    return Named(
        units=np.asarray(units),
        num_draws=np.array(num_draws),
        matrix=matrix(triangles[0], len(units)),
        example_draws=found.first_draws,
        example_counts=np.histogram(triangles[0], EDGES)[0],
        strongest=values,
        strongest_pairs=index,
        shuffled=found.shuffled,
        counts=sum(np.histogram(triangle, EDGES)[0] for triangle in triangles),
        shuffled_counts=found.shuffled_counts,
        pair_mean=pair_mean.astype(np.float32),
        pair_sd=pair_sd.astype(np.float32),
        pair_average=average(triangles).astype(np.float32),
        pair_absolute=np.abs(triangles).mean(0),
        pair_counts=count_absolute(triangles),
        means=found.means,
        covariance=found.covariance.astype(np.float32),
        reference_ratios=consistency.ratios(reference_triangles, pair_mean, pair_sd),
        every_ratios=consistency.every_ratio(triangles),
        half_ratios=consistency.every_ratio(found.halves[1], chosen_by=found.halves[0]),
        permuted_ratios=consistency.permuted(triangles, replicates=REPLICATES, seed=seed),
    )
