"""Every objective: its value on shared noise, its gradient estimators, and what it refuses.

Truths 6 and 7 for the bounds beyond IWAE, and truth 20 (capacity, free bits).
"""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

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
    STL,
    BetaELBO,
    CapacityELBO,
    DReG,
    FreeBitsELBO,
    MedianWeight,
    PowerMean,
    can_thin,
    make_objective,
)
from pyro_vae.training import Gradients
from pyro_vae.training.schedules import LinearWarmUp
from pyro_vae.weights.handlers import anneal
from pyro_vae.weights.log_weights import run_pair
from tests.conftest import objective_named, tiny_pair
from tests.linear_gaussian import oracle
from tests.statistics import assert_mean_close, double_precision, flat, gradients, z_score

K = 6
BETAS = {"z2": 0.3}


@pytest.fixture(autouse=True)
def float64():
    with double_precision():
        yield


def on_same_noise(objective, model, guide, x, betas=None, seed=4):
    torch.manual_seed(seed)
    with anneal(betas or {}):
        return objective.differentiable_loss(model, guide, x)


def _loss(objective, model, guide, x, betas=None):
    with anneal(betas or {}):
        return objective.differentiable_loss(model, guide, x) / len(x)


def terms_of(model, guide, x, k=K, betas=None, seed=4):
    torch.manual_seed(seed)
    with anneal(betas or {}):
        return pyro_vae.log_weights(model, guide, x, k)


VALUES = {
    "elbo": (ELBO(K), bounds.elbo),
    "iwae": (IWAE(K), bounds.iwae),
    "dreg": (DReG(K), bounds.iwae),
    "stl": (STL(K), bounds.iwae),
    "power .5": (PowerMean(0.5, K), lambda w: 2 * bounds.iwae(0.5 * w)),
    "power 2": (PowerMean(2.0, K), lambda w: 0.5 * bounds.iwae(2 * w)),
    "power 5": (PowerMean(5.0, K), lambda w: bounds.iwae(5 * w) / 5),
    "renyi -1 is power 2": (pyro_vae.RenyiELBO(-1.0, K), lambda w: 0.5 * bounds.iwae(2 * w)),
    "power 1 is iwae": (PowerMean(1.0, K), bounds.iwae),
    "median": (MedianWeight(K), lambda w: bounds.iwae(w.sort(0).values[2:4])),
    "ciwae": (CIWAE(0.3, K), lambda w: 0.3 * w.mean(0) + 0.7 * bounds.iwae(w)),
    "ciwae 0 is iwae": (CIWAE(0.0, K), bounds.iwae),
    "ciwae 1 is elbo": (CIWAE(1.0, K), bounds.elbo),
    "miwae": (MIWAE(3, K), lambda w: 0.5 * (bounds.iwae(w[:3]) + bounds.iwae(w[3:]))),
    "miwae (K, 1) is iwae": (MIWAE(K, K), bounds.iwae),
    "miwae (1, K) is elbo": (MIWAE(1, K), bounds.elbo),
    "piwae reports iwae": (PIWAE(2, K), bounds.iwae),
    "beta 1 is elbo": (BetaELBO(1.0, K), bounds.elbo),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("betas", [None, BETAS])
def test_truth_07_the_loss_is_minus_the_bound_on_the_same_noise(name, betas):
    objective, bound = VALUES[name]
    model, _, guide, x = oracle(size=0.2)
    terms = terms_of(model, guide, x, betas=betas)
    expected = -bound(terms.annealed_log_w).sum()
    loss = on_same_noise(objective, model, guide, x, betas)
    assert abs(loss - expected) < 1e-12 * abs(expected)
    torch.manual_seed(4)
    with anneal(betas or {}):
        assert abs(objective.loss(model, guide, x) - expected) < 1e-12 * abs(expected)
    # Another bound would not do.
    other = bounds.elbo if bound is not bounds.elbo and name != "ciwae 1 is elbo" else bounds.iwae
    assert abs(loss + other(terms.annealed_log_w).sum()) > 1e-3


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0, {"z1": 2.0, "z2": 0.5}, {"z2": 3.0}])
def test_beta_vae_weighs_the_kl_of_every_level(beta):
    """L_alpha of Arnal et al.: (1 - alpha) E log p(x | z) + alpha ELBO, on the same noise."""
    model, _, guide, x = oracle(size=0.2)
    terms = terms_of(model, guide, x)
    of = beta if isinstance(beta, dict) else dict.fromkeys(("z1", "z2"), beta)
    kl = sum(of.get(name, 1.0) * ratio for name, ratio in terms.log_ratios.items())
    expected = -(terms.log_likelihood - kl).mean(0).sum()
    loss = on_same_noise(BetaELBO(beta, K), model, guide, x)
    assert abs(loss - expected) < 1e-12 * abs(expected)
    if not isinstance(beta, dict):
        elbo = bounds.elbo(terms.log_w)
        l_alpha = (1 - beta) * terms.log_likelihood.mean(0) + beta * elbo
        assert abs(loss + l_alpha.sum()) < 1e-12 * abs(expected)
    # A warm-up of one level multiplies its beta.
    annealed = on_same_noise(BetaELBO(beta, K), model, guide, x, BETAS)
    change = (1 - 0.3) * of.get("z2", 1.0) * terms.log_ratios["z2"].mean(0).sum()
    assert abs(annealed - (expected - change)) < 1e-11 * abs(expected)


def test_beta_of_a_level_that_is_not_there_is_refused():
    model, _, guide, x = oracle()
    with pytest.raises(InputError, match="beta is given for z7; the model's levels: z2, z1"):
        on_same_noise(BetaELBO({"z7": 2.0}, K), model, guide, x)


GATED = {
    "elbo": lambda **settings: ELBO(K, **settings),
    "iwae": lambda **settings: IWAE(K, **settings),
    "power .5": lambda **settings: PowerMean(0.5, K, **settings),
    "power 2": lambda **settings: PowerMean(2.0, K, **settings),
    "renyi 2": lambda **settings: pyro_vae.RenyiELBO(2.0, K, **settings),
    "ciwae": lambda **settings: CIWAE(0.3, K, **settings),
    "miwae": lambda **settings: MIWAE(3, K, **settings),
}


@pytest.mark.parametrize("name", GATED)
def test_gate_factor_is_what_the_second_derivative_leaves(name):
    objective = GATED[name](estimator="dreg")
    log_w = 2 * torch.randn(K, 1)
    first = objective.differentiate(log_w)
    hessian = torch.autograd.functional.hessian(lambda w: objective.bound(w).sum(), log_w)
    second = hessian.reshape(K, K).diagonal()[:, None]
    expected = (first.derivative - second) / first.derivative
    torch.testing.assert_close(first.gate_factor, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("betas", [None, BETAS])
def test_truth_06_doubly_reparameterised_gradients_are_unbiased_for_every_bound(name, betas):
    """Against the pathwise gradient of the same bound on the same noise, per parameter."""
    model, _, guide, x = oracle(1)
    x = x.expand(300, -1)  # many copies and few repeats: a call costs far more than a datum
    parameters = [*guide.parameters(), *model.parameters()]

    def samples(objective):
        torch.manual_seed(1)
        return torch.stack(
            [gradients(_loss(objective, model, guide, x, betas), parameters) for _ in range(40)]
        )

    plain = samples(GATED[name]())
    zero = torch.zeros(plain.shape[1])
    assert_mean_close(samples(GATED[name](estimator="dreg")) - plain, zero)
    if name != "elbo":  # the gate open, which is sticking the landing, is biased
        assert z_score(samples(GATED[name](estimator="stl")) - plain, zero) > 8


def test_truth_06_sticking_the_landing_is_unbiased_for_one_particle_and_biased_for_more():
    model, best, guide, x = oracle(1)
    x = x.expand(300, -1)
    parameters = list(guide.parameters())

    def samples(objective):
        torch.manual_seed(1)
        return torch.stack(
            [gradients(_loss(objective, model, guide, x), parameters) for _ in range(40)]
        )

    zero = torch.zeros(sum(p.numel() for p in parameters))
    assert_mean_close(samples(STL(1)) - samples(IWAE(1)), zero)
    assert z_score(samples(STL(K)) - samples(IWAE(K)), zero) > 8
    # For the ELBO of many particles it is unbiased again.
    assert_mean_close(samples(ELBO(K, estimator="stl")) - samples(ELBO(K)), zero)
    # No variance where guide = posterior.
    own = list(best.parameters())
    assert gradients(_loss(STL(K), model, best, x), own).abs().max() < 1e-9
    assert gradients(_loss(IWAE(K), model, best, x), own).abs().max() > 1e-3


def as_functions(model, guide):
    """The same programs as plain functions, whose parameters are out of reach."""
    return (lambda x: model(x)), (lambda x: guide(x))


@pytest.mark.parametrize("functions", [False, True])
@pytest.mark.parametrize("betas", [None, BETAS])
def test_piwae_gives_the_model_iwae_and_the_guide_miwae(functions, betas):
    model, _, guide, x = oracle(size=0.2)
    pair = as_functions(model, guide) if functions else (model, guide)
    mine, theirs = list(model.parameters()), list(guide.parameters())

    def found(objective, parameters):
        return gradients(on_same_noise(objective, *pair, x, betas), parameters)

    for inner in (1, 2, K):
        objective = PIWAE(inner, K)
        torch.testing.assert_close(found(objective, mine), found(IWAE(K), mine))
        torch.testing.assert_close(found(objective, theirs), found(MIWAE(inner, K), theirs))
    assert not torch.allclose(found(MIWAE(2, K), theirs), found(IWAE(K), theirs))


def kl_and_reconstruction(model, guide, x):
    """The two terms as scalars with gradients, on the usual noise."""
    torch.manual_seed(4)
    terms = pyro_vae.log_weights(model, guide, x, K)
    kl = {name: ratio.mean() for name, ratio in terms.log_ratios.items()}
    return kl, terms.log_likelihood.mean(0).sum()


def test_truth_20_the_gradient_flips_at_the_capacity():
    model, _, guide, x = oracle(5, size=0.2)
    parameters = [*model.parameters(), *guide.parameters()]
    kl, reconstruction = kl_and_reconstruction(model, guide, x)
    total = sum(kl.values())
    pull = gradients(total, parameters)
    base = gradients(-reconstruction, parameters)
    for capacity, sign in ((total.item() - 0.5, 1), (total.item() + 0.5, -1)):
        for gamma in (1.0, 7.0):
            objective = CapacityELBO(capacity, gamma, K)
            loss = on_same_noise(objective, model, guide, x)
            expected = -reconstruction + len(x) * gamma * (total - capacity).abs()
            assert abs(loss - expected) < 1e-11 * abs(expected)
            found = gradients(loss, parameters)
            torch.testing.assert_close(found, base + sign * gamma * len(x) * pull)
    assert pull.abs().max() > 0.1


def test_the_capacity_follows_its_schedule_in_training():
    objective = CapacityELBO(LinearWarmUp(0.0, 8.0, 0.5), 1.0, 2)
    assert objective.scheduled
    assert not objective.compilable
    seen = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        objective.at(progress)
        seen.append(objective.capacity)
    assert seen == [0.0, 4.0, 8.0, 8.0]
    assert CapacityELBO(3.0).compilable


def test_truth_20_training_reaches_the_capacity():
    """KL ends at C, far from where the ELBO leaves it."""
    x = torch.randn(200, 6) @ torch.randn(6, 6)
    ends = {}
    for name, objective in (("elbo", ELBO(4)), ("capacity", CapacityELBO(2.0, 50.0, 4))):
        pair = [program.double() for program in tiny_pair(levels=1, families=("normal",))]
        pyro_vae.fit(
            *pair,
            x,
            objective=objective,
            epochs=60,
            batch_size=50,
            progress=False,
            optimiser=pyro_vae.OptimiserSettings(lr=1e-2),
        )
        ends[name] = pyro_vae.evaluation.evaluate(*pair, x, num_particles=50, khat=False)
    assert abs(ends["capacity"].kl["z1"].mean() - 2.0) < 0.3
    assert ends["elbo"].kl["z1"].mean() > 3.5


class Independents(nn.Module):
    """A pair whose two levels have four and two independent units; the data have three columns."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(4, 3))
        self.scales = nn.ParameterDict({n: torch.randn(d).exp() for n, d in (("z1", 4), ("z2", 2))})
        self.loc = nn.ParameterDict({n: torch.randn(d) for n, d in (("z1", 4), ("z2", 2))})

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z1 @ self.W, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            for name in ("z2", "z1"):
                q = dist.Normal(self.loc[name], self.scales[name].abs()).to_event(1)
                pyro.sample(name, q)

    def kl(self, name):
        """Closed form, per unit."""
        scale = self.scales[name].abs()
        return 0.5 * (scale.square() + self.loc[name].square() - 1) - scale.log()


@pytest.mark.parametrize("groups", ["level", "unit", 2])
def test_truth_20_a_group_below_lambda_has_no_kl_gradient(groups):
    pair, x = Independents(), torch.randn(5, 3)
    kl = {name: pair.kl(name) for name in ("z1", "z2")}
    parts = {
        "level": {name: value.sum().reshape(1) for name, value in kl.items()},
        "unit": kl,
        2: {name: value.reshape(2, -1).sum(1) for name, value in kl.items()},
    }[groups]
    everything = torch.cat(list(parts.values())).detach().sort().values
    free = (everything[len(everything) // 2 - 1] + everything[len(everything) // 2]).item() / 2
    if groups == "level":
        free = everything.mean().item()

    def objective(bits):
        return FreeBitsELBO(bits, groups, K, estimator="analytic")

    own = list(pair.loc.values()) + list(pair.scales.values())
    loss = on_same_noise(objective(free), pair.model, pair.guide, x)
    nothing = on_same_noise(objective(1e6), pair.model, pair.guide, x)  # all groups are free
    only_kl = flat(torch.autograd.grad(loss, own)) - flat(torch.autograd.grad(nothing, own))
    expected = len(x) * sum(
        group for part in parts.values() for group in part if group.item() > free
    )
    found = gradients(expected, own)
    torch.testing.assert_close(only_kl, found, rtol=1e-9, atol=1e-9)
    assert found.abs().max() > 0.1
    assert (found == 0).any()  # some units are free, and get none
    # Without free bits the loss is the ELBO's.
    plain = on_same_noise(ELBO(K, estimator="analytic"), pair.model, pair.guide, x)
    torch.testing.assert_close(on_same_noise(objective(0.0), pair.model, pair.guide, x), plain)


@pytest.mark.parametrize("groups", ["level", "unit"])
def test_free_bits_take_monte_carlo_terms_where_the_closed_form_is_wrong(groups):
    model, guide = (program.double() for program in tiny_pair("bottomup"))
    x = torch.randn(7, 6)
    torch.manual_seed(4)
    terms = run_pair(model, guide, (x,), {}, K, per_unit=True)
    kl = [ratio.mean((0, 1)) for ratio in terms.unit_log_ratios.values()]
    if groups == "level":
        kl = [units.sum().reshape(1) for units in kl]
    kl = torch.cat(kl)
    free = kl.median().item() + 0.01
    for bits, penalty in ((0.0, kl.clamp(min=0)), (free, kl.clamp(min=free))):
        expected = -len(x) * (terms.log_likelihood.mean() - penalty.sum())
        loss = on_same_noise(FreeBitsELBO(bits, groups, K), model, guide, x)
        torch.testing.assert_close(loss, expected)
    assert (kl < free).any()
    assert (kl > free).any()


def test_the_closed_form_is_refused_wherever_it_is_wrong():
    """Through the loss module and for guides that are not ours as well."""
    model, guide = tiny_pair("bottomup")
    x = torch.randn(7, 6)
    for objective in (
        ELBO(3, estimator="analytic"),
        BetaELBO(2.0, 3, estimator="analytic"),
        CapacityELBO(1.0, 1.0, 3, estimator="analytic"),
        FreeBitsELBO(1.0, estimator="analytic"),
    ):
        with pytest.raises(InputError, match="bottom-up"):
            Gradients(objective, model, guide)
        with pytest.raises(InputError, match="closed form are wrong for BottomUpGuide"):
            objective(model, guide)(x)
        with pytest.raises(InputError, match="closed form are wrong for BottomUpGuide"):
            objective.loss(model, guide, x)

    class Upward(nn.Module):
        def __init__(self, **told):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(4))
            vars(self).update(told)

        def forward(self, x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z1", dist.Normal(self.loc, 1.0).to_event(1))
                pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    pair, x = Independents(), torch.randn(5, 3)
    with pytest.raises(InputError, match="wrong for Upward, which draws z1, z2 in this order"):
        ELBO(3, estimator="analytic")(pair.model, Upward())(x)
    # Its levels are independent: told so, it is right.
    assert torch.isfinite(ELBO(3, estimator="analytic")(pair.model, Upward(analytic_kl=True))(x))


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
        return torch.stack([gradients(_loss(objective, *pair, x), own) for _ in range(30)])

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
