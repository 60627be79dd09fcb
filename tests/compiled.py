"""Pairs, data and gradients for tests of compiled steps."""

import torch

import pyro_vae
from pyro_vae.objectives import make_objective
from tests.conftest import tiny_pair
from tests.statistics import flat

BETAS = {"z2": 0.3}


X = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))


DATA = torch.randn(26, 6, generator=torch.Generator().manual_seed(1))


OBJECTIVES = {
    "iwae": lambda: pyro_vae.IWAE(6),
    "dreg": lambda: pyro_vae.DReG(6),
    "elbo": lambda: make_objective("elbo", 6),
    "elbo-analytic": lambda: make_objective("elbo-analytic", 6),
    "renyi": lambda: pyro_vae.RenyiELBO(0.5, 6),
    "thinned iwae": lambda: pyro_vae.IWAE(6, thin=2),
    "thinned dreg": lambda: pyro_vae.DReG(6, thin=2),
    "thinned renyi": lambda: pyro_vae.RenyiELBO(0.5, 6, thin=2),
}


def parameters(pair):
    return [p for program in pair for p in program.parameters()]


def gradient(gradients, x=X, betas=None, seed=3):
    """Loss, flat gradient and kept share of one call; None gradients are left out."""
    own = parameters((gradients.model, gradients.guide))
    for parameter in own:
        parameter.grad = None
    torch.manual_seed(seed)
    loss = gradients(x, betas)
    found = [p.grad for p in own if p.grad is not None]
    assert not loss.value.requires_grad
    return loss.value, flat(found), torch.as_tensor(loss.kept_share), len(found)


def off(found, expected):
    """Distance over length."""
    return ((found - expected).norm() / expected.norm()).item()


# Whole runs: 26 rows in batches of ten, so that the last batch of an epoch has six

FIT = {"objective": pyro_vae.IWAE(4), "batch_size": 10, "epochs": 4, "progress": False}


def fit(pair=None, **settings):
    return pyro_vae.fit(*(pair or tiny_pair()), DATA, **{**FIT, **settings})
