"""Named datasets, files and folders of images as seeded, ready-scaled train / valid / test rows.

``load_dataset(name)`` gives a ``Dataset``; ``Batches`` walks its rows in an order that depends on
the seed, the epoch and the batch index alone, so that a resumed run sees what the first would have.
"""

from pyro_vae.datasets.batches import Batches
from pyro_vae.datasets.dataset import Dataset
from pyro_vae.datasets.load import DATASETS, PATCH_DATASETS, load_dataset

__all__ = ["DATASETS", "PATCH_DATASETS", "Batches", "Dataset", "load_dataset"]
