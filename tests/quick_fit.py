"""A quick training that tests of training share."""

import torch

import pyro_vae
from tests.conftest import tiny_pair

X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))


VALID = torch.randn(12, 6, generator=torch.Generator().manual_seed(1))


QUICK = {"epochs": 2, "batch_size": 20, "progress": False}


def fit(pair=None, train=X, **settings):
    settings = {"objective": pyro_vae.IWAE(3), "valid": VALID, **QUICK, **settings}
    return pyro_vae.fit(*(pair or tiny_pair()), train, **settings)


def same(first, second):
    """Equal histories to the last bit; NaN equals NaN."""
    return repr(first) == repr(second)
