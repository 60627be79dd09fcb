"""From photographs to whitened patches: seeded cutting, the flat-patch rule, one global scale.

Photographs are whitened patch by patch, or by a filter before patches are cut (``"radial"``).

Sparse coding of natural patches began with Olshausen and Field 1996
(https://doi.org/10.1038/381607a0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.cutting import (
    PatchSettings,
    Photograph,
    PhotographSplits,
    contrast,
    cut_split,
)
from pyro_vae.datasets.dataset import SPLITS, Dataset
from pyro_vae.datasets.intensity import LOG_OFFSET
from pyro_vae.datasets.patch_preprocessing import PatchPreprocessing, RadialPreprocessing
from pyro_vae.datasets.pixel_space import STANDARDISED
from pyro_vae.datasets.radial import CUTOFF, MARGIN, Restoration, fit_restoration
from pyro_vae.datasets.whitening import Whitening, fit_whitening
from pyro_vae.errors import InputError

# A patch is flat, and dropped, when its pixel standard deviation is below this fraction of the
# mean over training patches. Whitened sky is compression noise, not structure.
FLAT_FRACTION = 0.1


@dataclass(frozen=True, eq=False)
class PatchPipeline:
    """Preprocessing fitted on the training patches of some photographs, applied to any others.

    Attributes:
        settings: how to cut.
        min_contrast: patches with a smaller pixel standard deviation are flat, and dropped. It is
            that of the photograph's own intensities, filtered or not.
        whitening: the fitted whitening.
        restoration: the way back from patches of filtered photographs; None where none is filtered.
    """

    settings: PatchSettings
    min_contrast: float
    whitening: Whitening
    restoration: Restoration | None = None

    @classmethod
    def fit(cls, photographs: Sequence[Photograph], settings: PatchSettings) -> PatchPipeline:
        """Fit the flat-patch threshold and the whitening on training photographs."""
        every, _ = cut_split(photographs, "train", settings, min_contrast=0.0, filtered=False)
        min_contrast = FLAT_FRACTION * float(contrast(every).mean())
        if not np.ptp(every, axis=1).any():  # their standard deviation may be rounding
            names = ", ".join(p.name for p in photographs)
            raise InputError(f"training photographs are constant: zero variance in {names}")
        patches, _ = cut_split(photographs, "train", settings, min_contrast)
        shape = (settings.patch_size, settings.patch_size)
        whitening = fit_whitening(patches, settings.whiten, settings.components, shape)
        if not settings.filtered:
            return cls(settings, min_contrast, whitening)
        before, _ = cut_split(photographs, "train", settings, min_contrast, filtered=False)
        return cls(settings, min_contrast, whitening, fit_restoration(patches, before, whitening))

    def rows(self, photographs: Sequence[Photograph], split: str) -> tuple[Tensor, Tensor]:
        """Whitened rows (N, D) float32 of a split, and the index (N,) of each row's photograph."""
        patches, source = cut_split(photographs, split, self.settings, self.min_contrast)
        return self.whitening.transform(patches), torch.from_numpy(source)

    @property
    def preprocessing(self) -> PatchPreprocessing:
        """What is applied to every patch, or to every photograph and its patches."""
        shape, intensity = self.whitening.image_shape, self.settings.intensity
        if self.restoration is None:
            return PatchPreprocessing(STANDARDISED, shape, intensity, self.whitening)
        return RadialPreprocessing(
            STANDARDISED,
            shape,
            intensity,
            self.whitening,
            self.restoration,
            cutoff=CUTOFF,
            margin=MARGIN,
        )

    def dataset(
        self,
        name: str,
        photographs: PhotographSplits,
        *,
        origin: str,
        label_names: tuple[str, ...] = (),
    ) -> Dataset:
        """Cut all splits into a ``Dataset``.

        With ``label_names``, the label of a row is the index of its photograph in the split.
        """
        rows, labels = {}, {}
        for split in SPLITS:
            rows[split], labels[split] = self.rows(photographs.of(split), split)
        info = {
            "origin": origin,
            "photographs": {split: [p.name for p in photographs.of(split)] for split in SPLITS},
            **({"left_out": list(photographs.left_out)} if photographs.left_out else {}),
            "counts": {split: len(rows[split]) for split in SPLITS},
            "settings": asdict(self.settings),
            "log_offset": LOG_OFFSET if self.settings.intensity == "log" else None,
            "flat_fraction": FLAT_FRACTION,
            "min_contrast": self.min_contrast,
            "variance_kept": self.whitening.variance_kept,
            "scale": self.whitening.scale,
            **self._filter_info(),
        }
        return Dataset(
            name,
            rows["train"],
            rows["valid"],
            rows["test"],
            image_shape=self.whitening.row_shape,
            pixels=STANDARDISED,
            labels=labels if label_names else None,
            label_names=label_names,
            whitening=self.whitening,
            preprocessing=self.preprocessing,
            info=info,
        )

    def _filter_info(self) -> dict[str, float]:
        if self.restoration is None:
            return {}
        return {
            "cutoff": CUTOFF,
            "margin": MARGIN,
            "variance_restored": self.restoration.share,
            "variance_restored_within_patches": self.restoration.share_within,
        }
