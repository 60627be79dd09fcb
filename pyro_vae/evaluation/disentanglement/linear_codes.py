"""Codes that need no model, to set scores beside: the factors, the pixels, linear components."""

from __future__ import annotations

import numpy as np

from pyro_vae.errors import check_count

_ICA_ITERATIONS = 500


def reference_codes(
    train: np.ndarray,
    rows: np.ndarray,
    factors: np.ndarray,
    *,
    num_units: int,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Codes of ``rows`` as Higgins et al. 2017 (table 1) compare with, name -> (N, U).

    The numbers of the factors, each with mean 0 and standard deviation 1; the pixels as they are;
    principal components, in the units of the pixels; and independent components (FastICA) with
    standard deviation 1.

    Args:
        train: (M, D), to which the components are fitted.
        rows: (N, D).
        factors: (N, F).
        num_units: components; at most as many as the rows allow.
        seed: of FastICA's start.
    """
    import warnings

    from sklearn.decomposition import PCA, FastICA
    from sklearn.exceptions import ConvergenceWarning

    number = min(check_count("num_units", num_units), *train.shape)
    independent = FastICA(
        number, whiten="unit-variance", random_state=seed, max_iter=_ICA_ITERATIONS
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # judged by its scores, not its end
        independent.fit(train)
    return {
        "factors": (factors - factors.mean(0)) / factors.std(0),
        "pixels": rows,
        "pca": PCA(number, random_state=seed).fit(train).transform(rows),
        "ica": independent.transform(rows),
    }
