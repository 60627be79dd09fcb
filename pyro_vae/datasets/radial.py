"""The whitening filter of Olshausen and Field 1997 for whole photographs, and the way back.

    R(f) = f exp( -(f / f0)^4 ),    f the length of the spatial frequency, f0 = 0.4 cycles per pixel

(https://doi.org/10.1016/S0042-6989(97)00169-7; f0 = 200 cycles per picture of 512 pixels there).
Amplitudes of photographs fall about as 1 / f, so the ramp makes them equal, and the exponential
takes out the highest frequencies: those are noise, and beyond the Nyquist frequency, 0.5 cycles per
pixel, the grid holds diagonal gratings only. In cycles per pixel the filter is the same for
photographs of any size.

A disc of that radius covers pi / 4 of the square of frequencies that the grid holds, so patches of
P pixels are left with about pi / 4 P dimensions: 314 of 400.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.moments import chunks, covariance
from pyro_vae.datasets.whitening import Whitening

CUTOFF = 0.4
# Pixels at each border that patches are not cut from, as in the authors' program (sparsenet). What
# lies on a mirrored border meets its own image: on BSDS500 the standard deviation of the outermost
# pixels is 1.2 times that of the others; already the next ones do not stand out.
MARGIN = 4


def gain(frequency: np.ndarray | float, cutoff: float = CUTOFF) -> np.ndarray | float:
    """R(f) = f exp(-(f / cutoff)^4) at frequencies f in cycles per pixel."""
    return frequency * np.exp(-((frequency / cutoff) ** 4))


def radially_filtered(image: np.ndarray, cutoff: float = CUTOFF) -> np.ndarray:
    """An image (H, W), in intensities, under the filter of :func:`gain`: (H, W) float32.

    The image goes on beyond its borders as if mirrored at them, so that there is no step, as there
    would be between opposite borders of a periodic image. Of a mirrored image the Fourier transform
    is the discrete cosine transform, with frequencies (i / 2H, j / 2W). Mean luminance has
    frequency zero and is lost: the result has mean zero.
    """
    from scipy.fft import dctn, idctn

    spectrum = dctn(image.astype(np.float64), norm="ortho")
    return idctn(spectrum * _transfer(image.shape, cutoff), norm="ortho").astype(np.float32)


def without_margin(image: np.ndarray, margin: int) -> np.ndarray:
    """An image (H, W) without ``margin`` pixels at each border."""
    height, width = image.shape
    return image[margin : height - margin, margin : width - margin]


@lru_cache(maxsize=4)
def _transfer(shape: tuple[int, int], cutoff: float) -> np.ndarray:
    down, across = (np.arange(length) / (2 * length) for length in shape)
    return np.asarray(gain(np.hypot(down[:, None], across), cutoff))


@dataclass(frozen=True, eq=False)
class Restoration:
    """Intensities of a patch x (P,) from the same patch y (P,) of the filtered photograph.

        x is about y M + c,

    the least-squares estimate over training patches from the kept components of y. Within the
    filter's band it divides by the gain, as far as a patch without its surroundings tells. Mean
    luminance is lost but for what goes with the rest of a patch, and so is what lies outside the
    band: those come out at, or near, their mean over training patches.

    Attributes:
        matrix: M (P, P) float64, intensity per unit of the filtered patch.
        offset: c (P,) float64, in units of intensity.
        share: of the variance of training patches, that is restored.
        share_within: the same of the variance inside patches, about the mean of each.
    """

    matrix: Tensor
    offset: Tensor
    share: float
    share_within: float

    def __call__(self, filtered: Tensor) -> Tensor:
        """Filtered patches (N, P) as intensities (N, P), in the input's dtype."""
        return (filtered.double() @ self.matrix + self.offset).to(filtered.dtype)


def fit_restoration(
    filtered: np.ndarray, intensities: np.ndarray, whitening: Whitening
) -> Restoration:
    """Fit a :class:`Restoration` on training patches.

    With V the components kept, l their variances and C = Cov(y, x), M = V' diag(1 / l) V C.

    Args:
        filtered: y, patches (N, P) of filtered photographs, on which ``whitening`` was fitted.
        intensities: x, the same patches (N, P) before the filter.
    """
    mean, spread = covariance(intensities)
    centre, components = whitening.mean.numpy(), whitening.components.numpy()
    cross = sum(
        (before - centre).T @ (after - mean)
        for before, after in zip(chunks(filtered), chunks(intensities), strict=True)
    ) / len(filtered)
    projected = components @ cross / whitening.eigenvalues.numpy()[:, None]
    matrix = components.T @ projected
    # The covariance of the estimates; what is left over is uncorrelated with them.
    explained = cross.T @ matrix

    def within(table: np.ndarray) -> float:
        return np.trace(table) - table.sum() / len(table)

    return Restoration(
        torch.from_numpy(matrix),
        torch.from_numpy(mean - centre @ matrix),
        float(np.trace(explained) / np.trace(spread)),
        float(within(explained) / within(spread)),
    )
