"""Pictures of runs and of images, drawn by ``analysis``, which the library itself never imports."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyro_vae.datasets.intensity import intensities
from pyro_vae.datasets.patch_preprocessing import PatchPreprocessing
from pyro_vae.datasets.preprocessing import ArrayPreprocessing, Preprocessing
from pyro_vae.datasets.shapes import pictures
from pyro_vae.errors import InputError
from pyro_vae.runs import Finished
from pyro_vae.storage import write_whole

SUFFIXES = (".npz", ".npy", ".png")


def draw(finished: Finished, say: Callable[[str], None]) -> None:
    """Write the pictures of a finished run; says which cannot be drawn, and why."""
    drawing = importlib.import_module("analysis.reporting.run_pictures")
    shown = drawing.Shown(
        finished.directory,
        finished.model,
        finished.data,
        finished.posterior,
        finished.means,
        finished.filters,
    )
    for reason in drawing.write_figures(shown):
        say(reason)


def check_file(name: str) -> Path:
    """The path of a file of images; InputError where its suffix is none of :data:`SUFFIXES`."""
    path = Path(name)
    if path.suffix not in SUFFIXES:
        raise InputError(f"--out {path}: allowed are {', '.join(SUFFIXES)}")
    return path


def save(
    path: Path,
    images: np.ndarray,
    preprocessing: Preprocessing,
    originals: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write images in the units of a run's images, and say so: arrays, or one picture.

    Args:
        originals: what the images were made from, as many, each shown left of its image; for
            pictures alone.

    Returns:
        the same for a command's answer.
    """
    stream, shown, beside = io.BytesIO(), images, ""
    if originals is not None:
        shown = np.stack([originals, images], axis=1).reshape(-1, *images.shape[1:])
        beside = ", each right of what it was made from"
    if path.suffix == ".png":
        stream.write(grid(shown, preprocessing))
    elif path.suffix == ".npy":
        np.save(stream, images)
    else:
        np.savez_compressed(stream, images=images)
    write_whole(path, stream.getvalue())
    print(f"{len(images)} images of shape {images.shape[1:]}{beside}; wrote {path}")
    return {"images": len(images), "shape": images.shape[1:], "files": [str(path)]}


def grid(images: np.ndarray, preprocessing: Preprocessing) -> bytes:
    """Images in the units of a run's images as one PNG file; 0 is black and the run's white 1.

    Patches whose intensities are logarithms are shown as these, each about its mean, on one scale:
    in grey levels the brightest draw would leave the others black.

    Raises:
        InputError: the run's rows are no images.
    """
    if preprocessing.picture_shape is None:
        raise InputError(
            f"the run's rows of {preprocessing.num_pixels} numbers are no images: write an array "
            "(.npz, .npy), or train with --image-shape HEIGHT WIDTH"
        )
    if isinstance(preprocessing, PatchPreprocessing) and preprocessing.intensity == "log":
        values = intensities(images.clip(min=0), "log")
        values = values - values.mean((1, 2), keepdims=True)
        limit = max(np.quantile(np.abs(values), 0.995), np.finfo(float).tiny)
        images = 0.5 + values / (2 * limit)
    elif isinstance(preprocessing, ArrayPreprocessing) and preprocessing.pixels.whole:
        images = images / preprocessing.scale
    else:
        low, high = np.quantile(images, [0.005, 0.995])
        # Grey levels of photographs and fractions have their own black and white.
        if low < -0.5 or high > 1.5:
            images = (images - low) / max(high - low, np.finfo(float).tiny)
    drawing = importlib.import_module("analysis.reporting.run_pictures")
    return drawing.image_grid(pictures(images.reshape(len(images), -1), preprocessing.image_shape))
