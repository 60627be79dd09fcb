"""Pairs that start from data: what every guide, family and depth computes before its first step."""

import functools

import numpy as np
import pyro
import pytest
import torch

from pyro_vae.evaluation import evaluate
from pyro_vae.programs import PairConfig
from pyro_vae.programs.guides import BottomUpGuide
from pyro_vae.programs.start import from_data
from pyro_vae.programs.start.heads import level_of
from pyro_vae.programs.start.ica import independent_components, worth_modelling
from pyro_vae.programs.start.linear_posterior import linear_posterior
from pyro_vae.programs.start.magnitude_factors import (
    expected_magnitudes,
    magnitude_factors,
    scale_model,
)

PIXELS, ROWS, SOURCES, FACTORS, UNITS = 9, 3_000, 6, 2, (8, 3)
HIDDEN = ("encoders=14/10", "feedback=5", "priors=5,4")  # which carry two factors
guides = pytest.mark.parametrize("guide", ["topdown", "meanfield", "bottomup"])
families = pytest.mark.parametrize("family", [("laplace", "normal"), ("normal", "laplace")])


@pytest.fixture(scope="module")
def rows():
    """Six sources whose scales share two factors, in nine pixels without noise."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(ROWS, FACTORS))
    scales = np.exp(factors @ rng.normal(size=(FACTORS, SOURCES)) / 2)
    sources = scales * rng.laplace(size=(ROWS, SOURCES))
    columns = rng.normal(size=(PIXELS, SOURCES))
    mixed = sources @ columns.T
    return torch.tensor(0.5 + mixed / mixed.std(), dtype=torch.float32)


@pytest.fixture
def quickly(monkeypatch):
    """A short regression, for tests of everything else."""
    monkeypatch.setattr(from_data, "regress_", functools.partial(from_data.regress_, steps=20))


def started(rows, guide="topdown", said=None, seed=0, **settings):
    given = {"latent": UNITS, "hidden": HIDDEN, "init": "data", **settings}
    say = (lambda line: None) if said is None else said.append
    return PairConfig(guide=guide, **given).build(rows.shape[1], rows=rows, seed=seed, say=say)


def q_and_p(model, guide, rows):
    """The sites of one run of guide and model on the rows: name -> (q, p), and the draws."""
    found = {}

    class Keep(pyro.poutine.messenger.Messenger):
        def _pyro_sample(self, msg):
            if msg["name"].startswith("z"):
                found.setdefault(msg["name"], []).append(msg["fn"].base_dist)

    with torch.no_grad(), pyro.poutine.trace() as tracer, Keep():
        guide(rows)
    with torch.no_grad(), pyro.poutine.replay(trace=tracer.trace), Keep():
        model(None, num_data=len(rows))
    draws = {name: tracer.trace.nodes[name]["value"] for name in found}
    return found, draws


def expected(rows, family, noise=0.4):
    """Columns, q(z1 | x) and magnitudes as the steps give them, one by one, in NumPy."""
    laplace = family[0] == "laplace"
    variance = 2.0 if laplace else 1.0
    table = rows.double().numpy()
    found = independent_components(table)
    order = np.argsort(-worth_modelling(found, noise))
    columns = found.columns[:, order] / np.sqrt(variance)
    posterior = linear_posterior(columns, noise, variance)
    scales = np.sqrt(posterior.variance / variance)
    locations = posterior.locations(table - found.centre)
    return columns, found.centre, locations, scales


@pytest.mark.usefixtures("quickly")
@guides
@families
def test_z1_starts_at_the_linear_posterior_in_every_guide(rows, guide, family):
    columns, centre, locations, scales = expected(rows, family)
    model, recognition = started(rows, guide, family=family)
    decoder = model.likelihood.loc.parts[0]
    found, _ = q_and_p(model, recognition, rows[:100])
    q = found["z1"][0]
    loc = q.loc.expand(100, -1)
    np.testing.assert_allclose(decoder.weight[:, :SOURCES].detach(), columns, rtol=1e-5)
    np.testing.assert_allclose(decoder.bias.detach(), centre, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(loc[:, :SOURCES], locations[:100], atol=1e-3)
    np.testing.assert_allclose(q.scale.expand(100, -1)[0, :SOURCES], scales, rtol=1e-4)
    # Units without a source are at Normal(0, 1) or Laplace(0, 1), and hardly seen.
    assert torch.equal(loc[:, SOURCES:], torch.zeros(100, 2))
    assert torch.equal(q.scale.expand(100, -1)[:, SOURCES:], torch.ones(100, 2))
    assert decoder.weight[:, SOURCES:].abs().max() < 0.01
    # The rows are explained: what is left is less than the noise of a pixel.
    rest = model.decode(loc) - rows[:100]
    assert rest.square().mean().sqrt() < 0.4


@guides
@families
def test_z2_scales_z1_and_is_found_from_the_data(rows, guide, family):
    laplace, spread = family[0] == "laplace", 2.0 if family[1] == "laplace" else 1.0
    _, _, locations, scales = expected(rows, family)
    magnitudes = expected_magnitudes(locations, scales, laplace=laplace)
    factors = magnitude_factors(magnitudes, FACTORS)
    model, recognition = started(rows, guide, family=family)
    found, draws = q_and_p(model, recognition, rows)
    q2, p1 = found["z2"][0], found["z1"][1]
    assert factors.number == FACTORS
    # p(z1 | z2) at the z2 that was drawn.
    fitted = scale_model(magnitudes, factors, laplace=laplace)
    f = draws["z2"][:, :FACTORS].double().numpy() / np.sqrt(spread)
    log_scale = fitted.slope * f @ factors.loadings.T + fitted.intercept
    np.testing.assert_allclose(p1.scale[:, :SOURCES].log(), log_scale, atol=1e-3)
    assert torch.equal(p1.loc, torch.zeros_like(p1.loc))
    assert torch.equal(p1.scale[:, SOURCES:], torch.ones(ROWS, 2))
    # q(z2 | .): the regression has learned the posterior means, and widths are the factors'.
    wanted = np.sqrt(spread) * factors.means(magnitudes)
    error = (q2.loc[:, :FACTORS].numpy() - wanted).var(0) / wanted.var(0)
    assert error.max() < (0.65 if guide == "bottomup" else 0.2)
    np.testing.assert_allclose(q2.variance[0, :FACTORS], spread * factors.variance, rtol=1e-4)
    assert torch.equal(q2.loc[:, FACTORS:], torch.zeros(ROWS, 1))
    assert torch.equal(q2.scale[:, FACTORS:], torch.ones(ROWS, 1))


@guides
def test_the_start_is_far_above_a_random_one_and_below_no_level(rows, guide):
    elbos = []
    for settings in ({}, {"init": "random"}):
        torch.manual_seed(0)
        pair = started(rows, guide, **settings)
        elbos.append(evaluate(*pair, rows[:200], num_particles=20, bound_particles=20, khat=False))
    gain = elbos[0].elbo - elbos[1].elbo
    assert gain.mean() > 20
    assert (gain > 0).all()
    # z2 earns more than it costs: without it, at constant scales, the bound is lower.
    model, recognition = started(rows, guide)
    with torch.no_grad():
        model.conditionals[0].log_scale.parts[0].weight.zero_()
    torch.manual_seed(0)
    flat = evaluate(model, recognition, rows[:200], num_particles=20, bound_particles=20)
    assert (elbos[0].elbo - flat.elbo).mean() > 0.3


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("model", ["one level", "three levels"])
@guides
def test_any_number_of_levels(rows, guide, model):
    settings = {"latent": (8,), "hidden": ("encoders=14,13",)}
    if model == "three levels":
        settings = {"latent": (8, 3, 2), "hidden": ("encoders=14/10/9", "feedback=5", "priors=7")}
    found, _ = q_and_p(*(pair := started(rows, guide, **settings)), rows[:50])
    _, _, locations, _ = expected(rows, ("laplace",))
    loc = found["z1"][0].loc.expand(50, -1)
    np.testing.assert_allclose(loc[:, :SOURCES], locations[:50], atol=1e-3)
    top = f"z{pair[0].num_levels}"
    if model == "three levels":  # the level above the factors is where its prior is
        q = found[top][0]
        assert torch.equal(q.loc, torch.zeros(50, 2))
        assert torch.equal(q.scale, torch.ones(50, 2))
        assert torch.equal(found["z2"][1].loc, torch.zeros(50, 3))
        assert torch.equal(found["z2"][1].scale, torch.ones(50, 3))
    else:
        assert torch.equal(found["z1"][1].scale, torch.ones(50, 8))


@pytest.mark.usefixtures("quickly")
def test_a_top_prior_of_another_scale_is_minded(rows):
    one, three = (started(rows, prior=f"learned:scale={scale}")[0] for scale in (1.0, 3.0))
    z = torch.randn(20, 3)
    with torch.no_grad():
        torch.testing.assert_close(
            one.conditionals[0](z).base_dist.scale,
            three.conditionals[0](3 * z).base_dist.scale,
            rtol=1e-4,
            atol=1e-6,
        )


def test_a_prior_without_a_scale_counts_by_its_draws():
    """A mixture starts with units of variance one, so its level is that of the standard prior."""
    pair = {"latent": (8, 3), "hidden": ("16",)}
    mixture, standard = (
        level_of(PairConfig(prior=prior, **pair).build(9)[0], 2)
        for prior in ("mixture:components=200", "standard")
    )
    assert not mixture.laplace
    assert mixture.scale == pytest.approx(standard.scale, abs=0.1)


def test_bottom_up_guides_learn_from_draws_of_z1(rows):
    """Their z2 reads z1: its regression leaves more unexplained than the draws of z1 take away."""
    _, guide = started(rows, "bottomup")
    assert isinstance(guide, BottomUpGuide)
    with torch.no_grad():
        z1 = guide.conditionals[0](rows)
        means = [guide.conditionals[1](z1.sample()).mean[:, :FACTORS] for _ in range(2)]
    correlation = np.corrcoef(means[0].T, means[1].T)[:FACTORS, FACTORS:].diagonal()
    assert (correlation > 0.5).all()
    assert (correlation < 0.9999).all()


@pytest.mark.usefixtures("quickly")
@guides
def test_the_same_seed_gives_the_same_bits_and_leaves_the_generators(rows, guide):
    before = torch.get_rng_state()
    first, again, other = (started(rows[:500], guide, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    for one, two in zip(first, again, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(value, two.state_dict()[name]), name
    weights = [pair[1].conditionals[1].loc.parts[0].weight for pair in (first, other)]
    assert not torch.equal(*weights)


@pytest.mark.usefixtures("quickly")
@guides
def test_without_rows_and_at_random_the_weights_are_those_of_before(rows, guide):
    settings = {"latent": UNITS, "hidden": HIDDEN}
    plain = PairConfig(guide=guide, **settings).build(PIXELS, seed=3)
    without = PairConfig(guide=guide, init="data", **settings).build(PIXELS, seed=3)
    random = PairConfig(guide=guide, init="random", **settings).build(PIXELS, rows=rows, seed=3)
    for pair in (without, random):
        for one, two in zip(plain, pair, strict=True):
            for name, value in one.state_dict().items():
                assert torch.equal(value, two.state_dict()[name]), name
