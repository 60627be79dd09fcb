"""Whitening with a low-pass cut, fitted once on training patches and then only applied.

The leading principal components of natural patches are their low spatial frequencies. Keeping the
first n of them and giving each unit variance is whitening with a low-pass cut; without the cut the
faintest, noisiest frequencies are blown up to the same variance and decoder filters stay noise.
Olshausen and Field 1996 (https://doi.org/10.1038/381607a0) whiten natural images and cut their
highest frequencies for the same reason; they filter whole photographs in the Fourier domain
(``"radial"``, see ``radial.py``), while ``"zca"`` and ``"pca"`` are fitted on the covariance of
patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.moments import CHUNK, covariance, mean_and_scale
from pyro_vae.errors import InputError, check_choice, check_count

WHITEN = ("zca", "pca", "radial", "none")
COMPONENTS = 128
# Eigenvalues below this fraction of the largest are rounding, not variance.
RANK_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Whitening:
    """An affine map from patches (N, P), P = H * W, to rows (N, D) of zero mean and unit scale.

    With V (n, P) the components, l (n,) their eigenvalues, m the mean and s the scale:
    ``"pca"`` gives ``(x - m) V' diag(l^-1/2) / s`` (D = n), ``"zca"`` turns that back into pixels
    with V (D = P), and ``"none"`` gives ``(x - m) / s``. Patches that were whitened by a filter
    before they were cut, ``"radial"``, keep their spectrum and lose the directions which the filter
    left without variance: ``(x - m) V' V / s`` (D = P). A likelihood of fixed noise says nothing
    about those, and a start from the data would blow up their rounding. The scale is one number for
    the whole training set: a scale per patch would remove the differences of contrast that z2
    explains.

    Attributes:
        kind: ``"zca"``, ``"pca"``, ``"radial"`` or ``"none"``.
        image_shape: (H, W) of a patch.
        mean: (P,) float64, in units of the patches; for ``"none"`` one number, repeated.
        components: (n, P) float64 orthonormal rows, largest variance first; (0, P) for ``"none"``.
        eigenvalues: (n,) float64 variances of the components over the training patches.
        scale: standard deviation over all entries of the training rows before division by it.
        variance_kept: fraction of the training patches' variance inside the kept components.
    """

    kind: str
    image_shape: tuple[int, int]
    mean: Tensor
    components: Tensor
    eigenvalues: Tensor
    scale: float
    variance_kept: float

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The ``image_shape`` of a dataset of whitened rows."""
        return (len(self.components),) if self.kind == "pca" else self.image_shape

    @property
    def subspace(self) -> Tensor | None:
        """V (n, P) where rows are pixels inside its span; None where they fill their space."""
        return self.components if self.kind in ("zca", "radial") else None

    def transform(self, patches: Tensor | np.ndarray) -> Tensor:
        """Patches (N, P) to rows (N, D), computed in float64, given back in the input's dtype."""
        return self._by_chunks(self._transform, patches, "patches", len(self.mean))

    def inverse(self, rows: Tensor | np.ndarray) -> Tensor:
        """Rows (N, D) to patches (N, P) in the units they were cut in (log or grey intensities).

        What the low-pass cut removed stays removed; of ``"radial"``, patches are filtered ones.
        """
        width = len(self.components) if self.kind == "pca" else len(self.mean)
        return self._by_chunks(self._inverse, rows, "rows", width)

    def filters(self, weights: Tensor | np.ndarray) -> Tensor:
        """Columns of a decoder's weight matrix (D, n_units) as images (n_units, H, W).

        Principal-component columns are turned into whitened pixels (``V' w``), so that filters of
        ``"pca"`` and ``"zca"`` models look alike.
        """
        columns = torch.as_tensor(weights).T
        if self.kind == "pca":
            columns = columns @ self.components.to(columns)
        return columns.reshape(len(columns), *self.image_shape)

    def _by_chunks(self, function, rows, what: str, width: int) -> Tensor:
        rows = torch.as_tensor(rows)
        if rows.ndim != 2 or rows.shape[1] != width:
            raise InputError(f"{what} must have shape (N, {width}), got {tuple(rows.shape)}")
        dtype = rows.dtype if rows.is_floating_point() else torch.float64
        done = [function(chunk.double().cpu()).to(dtype) for chunk in rows.split(CHUNK)]
        return torch.cat(done).to(rows.device)

    def _transform(self, patches: Tensor) -> Tensor:
        rows = patches - self.mean
        if self.kind != "none":
            rows = rows @ self.components.T
        if self.kind in ("zca", "pca"):
            rows = rows / self.eigenvalues.sqrt()
        if self.subspace is not None:
            rows = rows @ self.components
        return rows / self.scale

    def _inverse(self, rows: Tensor) -> Tensor:
        rows = rows * self.scale
        if self.subspace is not None:
            rows = rows @ self.components.T
        if self.kind in ("zca", "pca"):
            rows = rows * self.eigenvalues.sqrt()
        if self.kind != "none":
            rows = rows @ self.components
        return rows + self.mean


def below_nyquist(patch_size: int) -> int:
    """Dimensions of a patch below the Nyquist frequency: pi / 4 of its pixels, 314 of 400."""
    return round(math.pi / 4 * check_count("patch_size", patch_size) ** 2)


def default_components(kind: str | None, patch_size: int) -> int:
    """Components that are kept unless the user says how many.

    After the radial filter those are as many as there are frequencies below the Nyquist frequency:
    on BSDS500 they hold 0.999 of the variance, and the components left out are all of higher
    frequencies.
    """
    return below_nyquist(patch_size) if kind == "radial" else COMPONENTS


def check_whitening(kind: str, components: int, patch_size: int) -> None:
    """Raise InputError unless this cut can be asked of ``patch_size`` x ``patch_size`` patches."""
    check_choice("whiten", kind, WHITEN)
    if kind != "none" and check_count("components", components) > patch_size**2:
        raise InputError(
            f"components must be at most {patch_size**2} for patches of {patch_size} x "
            f"{patch_size} pixels, got {components}"
        )


def fit_whitening(
    patches: np.ndarray, kind: str, components: int, image_shape: tuple[int, int]
) -> Whitening:
    """Fit a whitening on training patches (N, P), for ``"radial"`` those of filtered photographs.

    Raises:
        InputError: the patches do not vary along ``components`` directions, as when there are
            fewer patches than that.
    """
    if kind == "none":
        level, scale = mean_and_scale(patches)
        if not scale > 0:
            raise InputError("training patches are constant: zero variance")
        width = patches.shape[1]
        return Whitening(
            kind,
            image_shape,
            mean=torch.full((width,), level, dtype=torch.float64),
            components=torch.empty((0, width), dtype=torch.float64),
            eigenvalues=torch.empty(0, dtype=torch.float64),
            scale=scale,
            variance_kept=1.0,
        )
    mean, spread = covariance(patches)
    eigenvalues, vectors = np.linalg.eigh(spread)
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1].T
    rank = int((eigenvalues > RANK_TOLERANCE * eigenvalues[0]).sum())
    if components > rank:
        raise InputError(
            f"components must be at most {rank}, the number of directions in which the "
            f"{len(patches)} training patches vary, got {components}"
        )
    kept = vectors[:components]
    # An eigenvector's sign is the linear algebra library's whim: make the largest entry positive.
    largest = np.take_along_axis(kept, np.abs(kept).argmax(axis=1)[:, None], axis=1)
    kept = kept * np.sign(largest)
    # The mean of rows is zero exactly, so their scale follows from the variances of n components:
    # those of the filtered patches, or 1 each, spread over D entries.
    variance = eigenvalues[:components].sum() if kind == "radial" else components
    return Whitening(
        kind,
        image_shape,
        mean=torch.from_numpy(mean),
        components=torch.from_numpy(kept.copy()),
        eigenvalues=torch.from_numpy(eigenvalues[:components].copy()),
        scale=1.0 if kind == "pca" else float(np.sqrt(variance / patches.shape[1])),
        variance_kept=float(eigenvalues[:components].sum() / eigenvalues.sum()),
    )
