"""Every objective: its value on shared noise and its gradient estimators (truths 6 and 7)."""

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
    PIWAE,
    STL,
    BetaELBO,
    DReG,
    MedianWeight,
    PowerMean,
)
from pyro_vae.weights.handlers import anneal
from tests.linear_gaussian import oracle
from tests.objectives import BETAS, K, loss_per_datum, on_same_noise
from tests.statistics import assert_mean_close, gradients, z_score

pytestmark = pytest.mark.usefixtures("float64")


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
            [
                gradients(loss_per_datum(objective, model, guide, x, betas), parameters)
                for _ in range(40)
            ]
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
            [gradients(loss_per_datum(objective, model, guide, x), parameters) for _ in range(40)]
        )

    zero = torch.zeros(sum(p.numel() for p in parameters))
    assert_mean_close(samples(STL(1)) - samples(IWAE(1)), zero)
    assert z_score(samples(STL(K)) - samples(IWAE(K)), zero) > 8
    # For the ELBO of many particles it is unbiased again.
    assert_mean_close(samples(ELBO(K, estimator="stl")) - samples(ELBO(K)), zero)
    # No variance where guide = posterior.
    own = list(best.parameters())
    assert gradients(loss_per_datum(STL(K), model, best, x), own).abs().max() < 1e-9
    assert gradients(loss_per_datum(IWAE(K), model, best, x), own).abs().max() > 1e-3


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
