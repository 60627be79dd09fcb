"""Natural photographs: those bundled with scikit-image and scikit-learn, BSDS500, or a folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pyro_vae.datasets.files import read_npz
from pyro_vae.datasets.intensity import grey_levels
from pyro_vae.datasets.patches import Photograph
from pyro_vae.datasets.reading import readable
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.errors import InputError

# Files inside the installed wheels, by package folder. Whole photographs are held out, so that
# train and test patches never share one. Their contrast after whitening differs tenfold: the most
# contrasted one (china) trains, and the splits are chosen so that valid (a man outdoors) and test
# (a portrait, a cat) have about the same variance, a little above half of that of train.
NATURAL = {
    "train": (
        "sklearn/datasets/images/china.jpg",
        "sklearn/datasets/images/flower.jpg",
        "skimage/data/coffee.png",
        "skimage/data/motorcycle_left.png",
        "skimage/data/rocket.jpg",
    ),
    "valid": ("skimage/data/camera.png",),
    "test": ("skimage/data/astronaut.png", "skimage/data/chelsea.png"),
}
BSDS_FILE = "bsds500_gray.npz"
BSDS_VALID = 20
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".pgm", ".ppm")
MIN_PHOTOGRAPHS = 3


def natural_photographs() -> dict[str, list[Photograph]]:
    """The bundled photographs of each split; never touches the network."""
    return {split: [read_bundled(file) for file in files] for split, files in NATURAL.items()}


def bsds_photographs(data_dir: Path | None) -> dict[str, list[Photograph]]:
    """BSDS500 (Arbelaez et al., 2011): 180 photographs train, 20 are watched, 100 test.

    Raises:
        InputError: the file is not in the data folder, or is damaged.
    """
    path = None if data_dir is None else data_dir / BSDS_FILE
    if path is None or not path.is_file():
        looked = "no data folder is set" if path is None else f"looked for it in {data_dir}"
        raise InputError(
            f"dataset 'bsds' needs the file {BSDS_FILE}: {looked}; "
            "PYRO_VAE_DATA or --data-dir sets the folder"
        )
    images = {}
    for part in ("train", "test"):
        stack = read_npz(path, f"x_{part}").train
        if stack.ndim != 3 or stack.dtype != np.uint8 or len(stack) == 0:
            raise InputError(
                f"{path}: x_{part} must be uint8 photographs (N, H, W), "
                f"got {stack.dtype} {stack.shape}"
            )
        images[part] = [
            Photograph(f"{part}/{index}", np.float32(grey) / 255)
            for index, grey in enumerate(stack)
        ]
    train, valid = images["train"][:-BSDS_VALID], images["train"][-BSDS_VALID:]
    if not train:
        raise InputError(f"{path}: x_train needs more than {BSDS_VALID} photographs")
    return {"train": train, "valid": valid, "test": images["test"]}


def folder_photographs(folder: Path, seed: int) -> dict[str, list[Photograph]]:
    """The images directly inside a folder, split by photograph at a seeded order.

    A fifth of the photographs (at least one) is for the test, a tenth (at least one) is watched.

    Raises:
        InputError: fewer than three images, or one that cannot be read.
    """
    with readable(folder, "folder"):
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    if len(files) < MIN_PHOTOGRAPHS:
        raise InputError(
            f"{folder} holds {len(files)} images, at least {MIN_PHOTOGRAPHS} are needed (one each "
            f"for train, valid, test); read are {', '.join(SUFFIXES)} directly in the folder"
        )
    order = numpy_generator(seed, "photographs").permutation(len(files))
    shuffled = [read_photograph(files[index]) for index in order]
    tests, valids = max(1, len(files) // 5), max(1, len(files) // 10)
    return {
        "test": shuffled[:tests],
        "valid": shuffled[tests : tests + valids],
        "train": shuffled[tests + valids :],
    }


def read_bundled(file: str) -> Photograph:
    """Read an image from inside an installed package, such as ``skimage/data/camera.png``.

    Read by its path: the packages' own loaders may download what a later release stops bundling.
    """
    package, _, inside = file.partition("/")
    root = Path(find_spec(package).origin).parent
    if not (root / inside).is_file():
        raise InputError(f"the installed {package} does not bundle {inside}")
    return read_photograph(root / inside)


def read_photograph(path: Path) -> Photograph:
    """Read an image file as grey levels in [0, 1]; colour by luminance, transparency ignored.

    Raises:
        InputError: not an image, or not grey, RGB or RGBA.
    """
    import imageio.v3 as imageio

    # Named plugins: left to search, imageio tries formats that need more than one grey picture.
    plugin = "tifffile" if path.suffix.lower() in (".tif", ".tiff") else "pillow"
    with readable(path, "image"):
        image = imageio.imread(path, plugin=plugin)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels > 4 or 0 in image.shape:
        raise InputError(
            f"{path} must be one grey or colour image (H, W[, channels]), got shape {image.shape}"
        )
    if image.ndim == 3:
        image = image[..., :3] if channels >= 3 else image[..., 0]
    return Photograph(path.name, grey_levels(str(path), image, colour=channels >= 3))
