"""A pair whose posterior is known, and its annealed chains."""

import torch

from pyro_vae.evaluation.ais.chains import Plan, weigh
from pyro_vae.evaluation.ais.path import AnnealingPath
from tests.linear_gaussian import SIZES, elbo, oracle, perturbed

D1 = SIZES[1]


STARTS = ["guide", "prior"]


@torch.no_grad()
def bad_pair(num_data):
    """The oracle with a guide that misses the posterior by nats; one datum, repeated."""
    model, best, _, x = oracle(1)
    guide = perturbed(best, 0.1, widen=0.2)
    assert (model.log_evidence(x) - elbo(model, guide, x)).item() > 1.5
    return model, guide, x.expand(num_data, -1)


@torch.no_grad()
def posterior_draws(model, x, spread=1.0):
    """Exact draws of p(z1, z2 | x); with another spread, draws around its mean that are not."""
    posterior = model.posterior(x)
    z = posterior.mean + spread * (posterior.sample() - posterior.mean)
    return {"z1": z[:, :D1], "z2": z[:, D1:]}


def path_order(path):
    """Where the units (z1, z2) are in a row of the path's positions: position = z[order]."""
    units = {"z1": [*range(D1)], "z2": [*range(D1, D1 + SIZES[2])]}
    return [unit for name in path.shapes for unit in units[name]]


# Expectations -------------------------------------------------------------------------------------


def single_chains(model, guide, x, exact, start, count):
    """log w of one forward and of one backward chain per datum, with steps of 0.5 throughout."""
    plan = Plan(1, count, 3, start, None, 1)
    steps = torch.full((count - 1, len(x)), 0.5)
    path = AnnealingPath(model, guide, x, start)
    return weigh(path, plan, steps).log_w[0], weigh(path, plan, steps, exact).log_w[0]
