"""Named datasets, files and folders of images as seeded, ready-scaled train / valid / test rows.

``load_dataset(name)`` gives a ``Dataset``; ``Batches`` walks its rows in an order that depends on
the seed, the epoch and the batch index alone, so that a resumed run sees what the first would have.
"""

from pyro_vae.datasets.augment import Augmentation
from pyro_vae.datasets.batches import Batches
from pyro_vae.datasets.dataset import Dataset
from pyro_vae.datasets.identity import Fingerprint, describe_difference
from pyro_vae.datasets.load import DATASETS, PATCH_DATASETS, load_dataset
from pyro_vae.datasets.pixel_space import PIXEL_SPACES, PixelSpace, pixel_space
from pyro_vae.datasets.preprocessing import Preprocessing
from pyro_vae.datasets.shapes import tiles

__all__ = [
    "DATASETS",
    "PATCH_DATASETS",
    "PIXEL_SPACES",
    "Augmentation",
    "Batches",
    "Dataset",
    "Fingerprint",
    "PixelSpace",
    "Preprocessing",
    "describe_difference",
    "load_dataset",
    "pixel_space",
    "tiles",
]
