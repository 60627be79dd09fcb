"""Guides with planted means, and courses of training made by hand."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from pyro_vae.evaluation.posterior_moments import posterior_moments
from tests.statistics import double_precision

SLOPES = np.array([2.0, 0.5, 0.2, 0.05, 0.0])


def guide_with_means(slopes, parents=0.0):
    """z1 with means a_j x + parents * z2, sd 0.4; x (N, 1)."""
    slopes = torch.as_tensor(slopes)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(len(slopes)), 1.0).to_event(1))
            pyro.sample("z1", dist.Normal(x * slopes + parents * z2, 0.4).to_event(1))

    return guide


def planted(number=3000, parents=0.0, samples=8):
    with double_precision():
        x = torch.randn(number, 1)
        x = (x - x.mean()) / x.std()
        return posterior_moments(None, guide_with_means(SLOPES, parents), x, num_samples=samples)


METRICS = {
    "epoch": [0, 1, 2],
    "step": [0, 10, 20],
    "kl_z2": [0.1, 8.0, 3.0],
    "elbo": [-900, -50, -40],
    "bound": [-800, -45, -35],
}


def scaled(factor):
    return METRICS | {"kl_z2": [factor * value for value in METRICS["kl_z2"]]}
