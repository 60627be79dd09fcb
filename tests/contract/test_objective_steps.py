"""Steps of every objective: traced, in chunks, thinned, and settings that are refused."""

import pytest
import torch

import pyro_vae
from pyro_vae import bounds
from pyro_vae.errors import InputError
from pyro_vae.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    OBJECTIVES,
    PIWAE,
    BetaELBO,
    CapacityELBO,
    FreeBitsELBO,
    ImportanceWeightedELBO,
    MedianWeight,
    PowerMean,
    can_thin,
    make_objective,
)
from pyro_vae.training import Gradients
from tests.conftest import objective_named, tiny_pair
from tests.objectives import BETAS, K, loss_per_datum
from tests.statistics import flat, gradients, z_score

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if not n.startswith("pyro")])
def test_the_traced_step_is_the_plain_one(name):
    model, guide = (program.double() for program in tiny_pair())
    gradients_ = Gradients(objective_named(name, K), model, guide)
    x = torch.randn(7, 6)
    assert gradients_.can_compile
    own = [*model.parameters(), *guide.parameters()]
    found = []
    for traced in (False, True):
        if traced:
            gradients_.compile(x, [BETAS], compiler=False)
        for parameter in own:
            parameter.grad = None
        torch.manual_seed(0)
        loss = gradients_(x, BETAS).value
        found.append((loss, flat([p.grad for p in own])))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    "name", ["stl", "power", "median", "ciwae", "miwae", "beta-vae", "elbo", "iwae"]
)
def test_chunks_of_particles_give_the_gradient_of_one_pass(name):
    model, guide = (program.double() for program in tiny_pair())
    x = torch.randn(1, 6)
    objective = objective_named(name, K)
    own = [*model.parameters(), *guide.parameters()]
    states, found = [], []
    torch.manual_seed(5)
    with torch.no_grad():  # the noise of chunks of 4 and 2, drawn once
        for size in (4, 2):
            states.append(pyro_vae.log_weights(model, guide, x, size).latents)
    latents = {n: torch.cat([state[n] for state in states]) for n in states[0]}
    live = objective.live(model, guide, (x,), {}, K, latents)
    found.append(gradients(-objective.value(live).sum(), own))
    torch.manual_seed(5)
    Gradients(objective, model, guide, chunk_size=4)(x)
    found.append(flat([p.grad for p in own]))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if can_thin(n)])
def test_thinned_gradients_are_unbiased(name):
    x = torch.randn(1, 4)
    pair = [program.double() for program in tiny_pair(num_pixels=4, families=("normal", "normal"))]
    x = x.expand(200, -1)
    own = [*pair[0].parameters(), *pair[1].parameters()]

    def samples(objective):
        torch.manual_seed(2)
        return torch.stack([gradients(loss_per_datum(objective, *pair, x), own) for _ in range(30)])

    plain = samples(objective_named(name, 12))
    thinned = samples(objective_named(name, 12, thin=4))
    difference = (thinned.mean(0) - plain.mean(0)).abs()
    error = ((thinned.var(0) + plain.var(0)) / len(plain)).sqrt()
    assert (difference / (error + 1e-12)).max() < 5.5
    assert z_score(plain, torch.zeros(plain.shape[1])) > 8


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MedianWeight(4, estimator="dreg"), "MedianWeight has no right gradient .* 'dreg'"),
        (lambda: PIWAE(2, 4, estimator="stl"), "allowed: pathwise"),
        (lambda: IWAE(4, estimator="analytic"), "'analytic'; allowed: pathwise, dreg, stl"),
        (lambda: IWAE(4, estimator="vimco"), "unknown estimator 'vimco'"),
        (lambda: CapacityELBO(2.0, estimator="dreg"), "allowed: pathwise, analytic"),
        (lambda: CapacityELBO(-1.0), "capacity must be finite and >= 0 nats, got -1"),
        (lambda: CapacityELBO(1.0, 0.0), "gamma"),
        (lambda: FreeBitsELBO(-0.1), "free_bits must be finite and >= 0 nats, got -0.1"),
        (lambda: FreeBitsELBO(0.1, "pixel"), "groups must be level, unit or a number"),
        (lambda: BetaELBO(-1.0), "beta must be finite and >= 0"),
        (lambda: CIWAE(1.5), r"beta must lie in \[0, 1\], got 1.5"),
        (lambda: MIWAE(4, 6), "inner = 4 must divide num_particles = 6"),
        (lambda: MIWAE(7, 6), "inner must be a whole number from 1 to num_particles = 6, got 7"),
        (lambda: PowerMean(0.0), "power must be finite and not 0"),
        (lambda: make_objective("power", 4), "objective 'power' wants power"),
        (lambda: make_objective("iwae", 4, beta=0.5), "beta belongs to the objective ciwae or"),
        (lambda: make_objective("iwae", 4, zeta=0.5), "unknown setting 'zeta'"),
        (lambda: make_objective("dreg", 4, estimator="stl"), "has its own gradient estimator"),
        (lambda: make_objective("piwae", 4, inner=2, thin=2), "cannot be thinned"),
        (lambda: ELBO(4, thin=2), "ELBO has no weights to thin"),
    ],
)
def test_senseless_objectives_are_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_objectives_of_the_batch_are_not_split():
    pair = tiny_pair()
    whole = Gradients(CapacityELBO(1.0, 1.0, 5), *pair, chunk_size=20)
    assert whole.rows is None
    with pytest.raises(InputError, match="cannot be split into chunks of particles"):
        Gradients(CapacityELBO(1.0, 1.0, 50), *pair, chunk_size=20)


class Unsaid(ImportanceWeightedELBO):
    """An objective of one's own that says neither its bound nor its gate factor."""


class Ungated(ImportanceWeightedELBO):
    """One whose bound is there."""

    def bound(self, log_w):
        return bounds.iwae(log_w)


@pytest.mark.parametrize(
    ("objective", "match"),
    [
        (Unsaid(3), r"Unsaid says no bound\(log_w\)"),
        (Ungated(3, estimator="dreg"), r"Ungated says no gate_factor\(log_w\).*'dreg'"),
    ],
)
def test_what_an_objective_of_ones_own_leaves_out_is_named(objective, match):
    with pytest.raises(NotImplementedError, match=match):
        objective(*tiny_pair())(torch.randn(5, 6))


@pytest.mark.parametrize("objective", [CapacityELBO(1.0), FreeBitsELBO(0.1)])
def test_objectives_of_the_batch_are_no_bound_of_the_weights(objective):
    match = f"{type(objective).__name__} is no function of the log-weights alone"
    with pytest.raises(NotImplementedError, match=match):
        objective.bound(torch.zeros(3, 5))


def test_pyros_own_way_to_run_a_trace_is_closed():
    with pytest.raises(NotImplementedError, match=r"run by pyro_vae\.weights\.traces"):
        next(IWAE(2)._get_traces(*tiny_pair(), (torch.randn(5, 6),), {}))
