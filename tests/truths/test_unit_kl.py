"""The KL of single units: the parts of a level's KL, masked, differentiable, by the right form."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.distributions import kl_divergence

import pyro_vae
from pyro_vae.evaluation import evaluate, kl_per_unit
from pyro_vae.weights.log_weights import run_pair
from pyro_vae.weights.site import Site
from pyro_vae.weights.unit_kl import unit_kl
from tests.conftest import tiny_pair
from tests.linear_gaussian import oracle
from tests.statistics import assert_mean_close, z_score

pytestmark = pytest.mark.usefixtures("float64")


def sites_of(model, guide, x, num_particles):
    """The recorded sites of both programs, by Pyro's own handlers."""
    with pyro.plate("particles", num_particles, dim=-2):
        drawn = poutine.trace(guide).get_trace(x)
        scored = poutine.trace(poutine.replay(model, drawn)).get_trace(x)
    return tuple(
        {name: Site(node) for name, node in trace.nodes.items() if node["type"] == "sample"}
        for trace in (drawn, scored)
    )


def chain(x):
    """z2 ~ N(0, I), z1 ~ N(0.9 z2, 1), x ~ N(z1, 1), all of three units."""
    with pyro.plate("data", len(x), dim=-1):
        z2 = pyro.sample("z2", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        z1 = pyro.sample("z1", dist.Normal(0.9 * z2, 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z1, 1.0).to_event(1), obs=x)


SPREADS = torch.tensor([0.4, 0.7, 1.2], dtype=torch.float64)


def recognition(order):
    """q(z1 | x, z2) q(z2 | x), both of x alone, or q(z1 | x) q(z2 | z1)."""

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            if order == "bottomup":
                z1 = pyro.sample("z1", dist.Normal(0.5 * x, SPREADS).to_event(1))
                pyro.sample("z2", dist.Normal(0.8 * z1, SPREADS).to_event(1))
            else:
                z2 = pyro.sample("z2", dist.Normal(0.3 * x, SPREADS).to_event(1))
                parents = 0.5 * z2 if order == "topdown" else 0.0
                pyro.sample("z1", dist.Normal(0.5 * x + parents, SPREADS).to_event(1))

    return guide


@pytest.mark.parametrize("order", ["topdown", "bottomup", "meanfield"])
@pytest.mark.parametrize("declared", [True, False])
def test_kl_per_unit_has_the_expectation_of_the_log_ratio(order, declared):
    """By hand, unit by unit; the closed form at sampled parents is wrong for a bottom-up chain."""
    guide = recognition(order)
    if declared:  # else the order of the sites tells
        guide.analytic_kl = order != "bottomup"
    x = torch.randn(4, 3)
    found, by_hand, closed = ({"z1": [], "z2": []} for _ in range(3))
    for _ in range(60):
        tables = kl_per_unit(chain, guide, x, 40, chunk_size=50, per_datum=True)
        q, p = sites_of(chain, guide, x, 40)
        for name, table in tables.items():
            found[name].append(torch.as_tensor(table))
            value, units = q[name].value, [sites[name].fn.base_dist for sites in (q, p)]
            ratio = units[0].log_prob(value) - units[1].log_prob(value)
            by_hand[name].append(ratio.mean(0))
            closed[name].append(kl_divergence(*units).mean(0))
    for name in ("z1", "z2"):
        ours, ratio, form = (torch.stack(table[name]) for table in (found, by_hand, closed))
        assert ours.shape == (60, 4, 3)
        assert_mean_close(ours - ratio, 0.0)
        assert z_score(ours, 0.0) > 8
        if order != "bottomup":  # the form has no noise but that of the parents
            assert (ours.std(0) < ratio.std(0)).all()
        elif name == "z1":
            assert z_score(form - ratio, 0.0) > 8


@torch.no_grad()
def test_kl_per_unit_adds_up_to_the_kl_of_the_level():
    """On the same noise, in uneven chunks, for levels without a closed form; means over data."""
    model, guide = tiny_pair("bottomup")
    x = torch.randn(5, 6)
    torch.manual_seed(5)
    found = kl_per_unit(model, guide, x, 7, chunk_size=15)
    torch.manual_seed(5)
    figures = evaluate(
        model, guide, x, num_particles=7, bound_particles=7, chunk_size=15, khat=False
    )
    torch.manual_seed(5)
    table = kl_per_unit(model, guide, x, 7, chunk_size=15, per_datum=True)
    for name in ("z1", "z2"):
        np.testing.assert_allclose(table[name].sum(1), figures.kl[name], rtol=1e-4)
        np.testing.assert_allclose(table[name].mean(0), found[name], rtol=1e-10)


def test_kl_per_unit_refuses_units_that_depend_on_each_other():
    model, _, guide, x = oracle(3)
    with pytest.raises(pyro_vae.InputError, match="'z2' in the guide is MultivariateNormal"):
        kl_per_unit(model, guide, x)
    with pytest.raises(pyro_vae.InputError, match="num_samples must be a whole number"):
        kl_per_unit(model, guide, x, 0)


MASKS = {
    "none": (None, None),
    "data": (torch.tensor([[True, False, True]]), None),
    "units": (None, torch.tensor([True, True, False, True])),
    "both": (torch.tensor([True, False, False]), torch.tensor([False, True, True, True])),
    "nothing": (False, None),
}


@pytest.mark.parametrize("masks", MASKS, ids=str)
@pytest.mark.parametrize("families", ["normal", "laplace", "mixed", "student"])
def test_units_add_up_to_their_level_with_masks(families, masks):
    """unit_kl against the level's log-ratio and against Pyro's KL, values and gradients."""
    family, other = {
        "normal": (dist.Normal, dist.Normal),
        "laplace": (dist.Laplace, dist.Laplace),
        "mixed": (dist.Normal, dist.Laplace),
        "student": (lambda loc, scale: dist.StudentT(5.0, loc, scale), dist.Normal),
    }[families]
    over_data, over_units = MASKS[masks]
    loc = torch.randn(3, 4, requires_grad=True)

    def masked(fn):
        return (fn if over_units is None else fn.mask(over_units)).to_event(1)

    def level(family, scale):
        with poutine.mask(mask=True if over_data is None else over_data):
            return pyro.sample("z", masked(family(scale * loc, scale)))

    def model(x):
        with pyro.plate("data", 3, dim=-1):
            z = level(other, 2.0)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", 3, dim=-1):
            level(family, 0.7)

    x = torch.randn(3, 4)
    q, p = sites_of(model, guide, x, 2)
    ratios = unit_kl(q["z"], p["z"], analytic=False)
    torch.manual_seed(0)
    terms = pyro_vae.log_weights(model, guide, x, 2)
    torch.manual_seed(0)
    closed = run_pair(model, guide, (x,), {}, 2, analytic=True)
    torch.manual_seed(0)
    q, p = sites_of(model, guide, x, 2)
    for level, units in (
        (terms.log_ratios["z"], unit_kl(q["z"], p["z"], analytic=False)),
        (closed.log_ratios["z"], unit_kl(q["z"], p["z"])),
    ):
        assert units.shape == (2, 3, 4)
        torch.testing.assert_close(units.sum(-1), level.expand(2, 3))
        if level.requires_grad:
            slopes = [
                torch.autograd.grad(part.square().sum(), loc, retain_graph=True)[0]
                for part in (units.sum(-1), level.expand(2, 3))
            ]
            torch.testing.assert_close(*slopes)
    hidden = {"none": 0, "data": 8, "units": 6, "both": 18, "nothing": 24}[masks]
    assert (ratios == 0).sum() == hidden


def test_other_masks_in_model_and_guide_leave_the_log_ratio():
    """What only one program hides has no closed form."""
    keep = torch.tensor([True, False])

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).mask(keep).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.ones(2), 0.5).to_event(1))

    x = torch.randn(3)
    q, p = sites_of(model, guide, x, 4)
    found = unit_kl(q["z"], p["z"])
    scored = dist.Normal(1.0, 0.5).log_prob(q["z"].value[..., 1])
    torch.testing.assert_close(found[..., 1], scored)


def test_units_of_scalars_and_of_images():
    """A site without an event axis is one unit; event dimensions are laid in one row."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
            pyro.sample("x", dist.Normal(a + b.sum((-2, -1)), 1.0), obs=x)

    scales = torch.arange(1.0, 7.0).reshape(2, 3)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("a", dist.Normal(x, 0.3))
            pyro.sample("b", dist.Normal(0.0, scales).to_event(2))

    found = kl_per_unit(model, guide, torch.tensor([-1.0, 2.0]), per_datum=True)
    closed = [0.5 * (scale**2 - 1) - math.log(scale) for scale in range(1, 7)]
    np.testing.assert_allclose(found["b"], [closed, closed], atol=1e-12)
    of_a = [[0.5 * (0.09 + x**2 - 1) - math.log(0.3)] for x in (-1.0, 2.0)]
    np.testing.assert_allclose(found["a"], of_a, atol=1e-12)
