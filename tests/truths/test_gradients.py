"""Truths 5, 6 and 15: gradient estimators of the importance-weighted bound, and annealing."""

import contextlib
import copy
import functools
import math

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.distributions import MultivariateNormal, constraints, kl_divergence

import pyro_vae
from pyro_vae import bounds
from pyro_vae.evaluation import evaluate
from pyro_vae.weights.handlers import anneal
from tests.linear_gaussian import SIZES, chi2, elbo, lower, oracle
from tests.statistics import (
    assert_mean_close,
    flat,
    gradients,
    slope,
    z_score,
)

BETA = {"z2": 0.3}

pytestmark = pytest.mark.usefixtures("float64")


def replicated(num_data=300, size=0.03):
    """The oracle with copies of one datum: each gradient is then a mean over ``num_data`` draws.

    Many copies and few repeats: a call costs far more than a datum.
    """
    model, best, guide, x = oracle(1, size)
    return model, best, guide, x.expand(num_data, -1)


def samples(loss, parameters, repeats, seed=1):
    """Gradients (repeats, P) of a loss that draws anew in each call, on noise from ``seed``."""
    torch.manual_seed(seed)
    return torch.stack([gradients(loss(), parameters) for _ in range(repeats)])


def library(objective, model, guide, x, betas=None):
    """The library's loss per datum as a function without arguments."""

    def loss():
        with anneal(betas or {}):
            return objective.differentiable_loss(model, guide, x) / len(x)

    return loss


def frozen_guide_loss(model, guide, x, k, power, betas=None):
    """Written by hand: the guide's gradient from frozen densities at live draws, weights w~^power.

    power = 1 is sticking the landing; power = 2 is DReG where nothing is annealed.
    """
    frozen_model, frozen_guide = copy.deepcopy(model), copy.deepcopy(guide)
    for parameter in (*frozen_model.parameters(), *frozen_guide.parameters()):
        parameter.requires_grad_(False)

    def loss():
        with pyro.plate("particles", k, dim=-2):
            drawn = poutine.trace(guide).get_trace(x)
            q = poutine.trace(poutine.replay(frozen_guide, drawn)).get_trace(x)
            p = poutine.trace(poutine.replay(frozen_model, drawn)).get_trace(x)
        q.compute_log_prob()
        p.compute_log_prob()
        log_w = p.nodes["x"]["log_prob"]
        for name in ("z1", "z2"):
            term = p.nodes[name]["log_prob"] - q.nodes[name]["log_prob"]
            log_w = log_w + (betas or {}).get(name, 1.0) * term
        weights = log_w.softmax(0).detach() ** power
        return -(weights * log_w).sum() / len(x)

    return loss


def test_truth_05_autograd_is_the_weighted_sum_of_gradients():
    k = 4
    model, _, guide, x = oracle(num_data=2)
    parameters = [*model.parameters(), *guide.parameters()]
    torch.manual_seed(1)
    autograd = gradients(pyro_vae.IWAE(k)(model, guide)(x), parameters)
    torch.manual_seed(1)
    log_w = pyro_vae.log_weights(model, guide, x, k).log_w
    weights = bounds.normalised_weights(log_w.detach())
    torch.testing.assert_close(weights, log_w.detach().exp() / log_w.detach().exp().sum(0))

    pairs = [(i, b) for i in range(k) for b in range(2)]
    each = torch.stack([gradients(log_w[pair], parameters) for pair in pairs])  # (pairs, P)

    def weighted(weights):
        return -flat(weights) @ each

    torch.testing.assert_close(autograd, weighted(weights), rtol=1e-9, atol=1e-11)
    assert (autograd - weighted(torch.full_like(weights, 1 / k))).abs().max() > 0.01


@pytest.mark.parametrize("betas", [None, BETA])
def test_truth_06_one_particle_has_the_closed_gradient_of_the_elbo(betas):
    """K = 1 against autograd of the closed-form (annealed) ELBO, per parameter."""
    model, _, guide, x = replicated(750)
    parameters = [*model.parameters(), *guide.parameters()]
    q2 = MultivariateNormal(x @ guide.W2.T + guide.c2, scale_tril=lower(guide.L2))
    kl = kl_divergence(q2, MultivariateNormal(torch.zeros(SIZES[2]), torch.eye(SIZES[2])))
    plain = elbo(model, guide, x)
    truth = {
        name: gradients(-bound.mean(), parameters)
        for name, bound in (("plain", plain), ("annealed", plain + (1 - BETA["z2"]) * kl))
    }
    right, wrong = ("annealed", "plain") if betas else ("plain", "annealed")
    for objective in (pyro_vae.IWAE(1), pyro_vae.DReG(1)):
        found = samples(library(objective, model, guide, x, betas), parameters, 40)
        assert_mean_close(found, truth[right])
        assert z_score(found, truth[wrong]) > 8


@pytest.mark.parametrize("k", [2, 6])
@pytest.mark.parametrize("betas", [None, BETA, {"z1": 1.7, "z2": 0.0}])
def test_truth_06_dreg_is_unbiased_in_a_hierarchy(k, betas):
    """Against the plain gradient on the same noise; sticking the landing is biased for k > 1."""
    model, _, guide, x = replicated()
    own, shared = list(guide.parameters()), list(model.parameters())
    repeats = 40
    plain = samples(library(pyro_vae.IWAE(k), model, guide, x, betas), own + shared, repeats)
    doubly = samples(library(pyro_vae.DReG(k), model, guide, x, betas), own + shared, repeats)
    assert_mean_close(doubly - plain, torch.zeros(plain.shape[1]))
    assert z_score(plain, torch.zeros(plain.shape[1])) > 8

    zero = torch.zeros(sum(p.numel() for p in own))
    plain, doubly = plain[:, : len(zero)], doubly[:, : len(zero)]
    landing = samples(frozen_guide_loss(model, guide, x, k, 1, betas), own, repeats)
    assert z_score(landing - plain, zero) > 8
    by_hand = samples(frozen_guide_loss(model, guide, x, k, 2, betas), own, repeats)
    if betas is None:
        torch.testing.assert_close(doubly, by_hand)
    else:  # squared weights alone are biased once a level is annealed
        assert z_score(by_hand - plain, zero) > 8


def test_truth_06_no_variance_where_the_guide_is_the_posterior():
    model, best, other, x = replicated(5)
    parameters = list(best.parameters())
    for loss in (
        library(pyro_vae.DReG(6), model, best, x),
        frozen_guide_loss(model, best, x, 6, power=1),
    ):
        assert samples(loss, parameters, 5).abs().max() < 1e-9
    plain = samples(library(pyro_vae.IWAE(6), model, best, x), parameters, 100)
    used = plain.std(0) > 0  # the upper triangles of L1 and L2 are not
    assert_mean_close(plain, torch.zeros(plain.shape[1]))
    assert used.sum() == plain.shape[1] - 4
    assert plain.std(0)[used].min() > 1e-3
    elsewhere = samples(library(pyro_vae.DReG(6), model, other, x), list(other.parameters()), 5)
    assert elsewhere.abs().max() > 1e-3


def test_truth_06_signal_to_noise():
    """The encoder's falls about as k^-1/2 for the plain gradient, rises as k^1/2 for DReG."""
    model, _, guide, x = replicated(16)
    assert chi2(model, guide, x).max() < 1
    parameters = list(guide.parameters())
    sizes = (8, 32, 128)
    logs = {"plain": [], "doubly": []}
    for k in sizes:
        doubly = samples(library(pyro_vae.DReG(k), model, guide, x), parameters, 80)
        plain = samples(library(pyro_vae.IWAE(k), model, guide, x), parameters, 80)
        keep = doubly.std(0) > 1e-9  # the upper triangles of L1 and L2 are not used
        signal = doubly.mean(0).abs()[keep].log()  # the plain mean is the same, and noisier
        logs["doubly"].append((signal - doubly.std(0)[keep].log()).mean().item())
        logs["plain"].append((signal - plain.std(0)[keep].log()).mean().item())
    powers = {name: slope([math.log(k) for k in sizes], values) for name, values in logs.items()}
    assert abs(powers["plain"] + 0.5) < 0.2, powers
    assert abs(powers["doubly"] - 0.5) < 0.2, powers


def in_the_store(model, guide):
    """The pair as plain functions that keep their parameters in Pyro's store."""

    def param(name, value):
        positive = {"constraint": constraints.positive} if name == "V1_size" else {}
        return pyro.param(name, value.detach().clone(), **positive)

    def run(program, x):
        values = {name: param(name, value) for name, value in program.named_parameters()}
        if "V1" in values:  # a constrained parameter as well
            values["V1"] = values["V1"] * param("V1_size", torch.ones(()))
        return torch.func.functional_call(program, values, (x,))

    return functools.partial(run, model), functools.partial(run, guide)


@pytest.mark.parametrize("betas", [None, BETA])
def test_truth_06_dreg_is_unbiased_for_parameters_in_pyros_store(betas):
    model, _, guide, x = replicated()
    pair = in_the_store(model, guide)
    pyro_vae.log_weights(*pair, x, 1)  # fills the store
    store = pyro.get_param_store()
    names = [name for name in store if name in dict(guide.named_parameters())] + ["V1_size"]
    own = [store[name].unconstrained() for name in names]
    plain = samples(library(pyro_vae.IWAE(4), *pair, x, betas), own, 40)
    doubly = samples(library(pyro_vae.DReG(4), *pair, x, betas), own, 40)
    zero = torch.zeros(plain.shape[1])
    assert_mean_close(doubly - plain, zero)
    assert z_score(plain, zero) > 8
    assert doubly.std(0).sum() < 0.8 * plain.std(0).sum()


class Pair(nn.Module):
    """Both programs as methods of one module, as Pyro's own VAE examples have them."""

    def __init__(self, model, guide):
        super().__init__()
        self.decoder, self.encoder = model, guide

    def model(self, x):
        pyro.module("decoder", self.decoder)
        return self.decoder(x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        self.encoder(x)


def _function(model, guide):
    return (lambda x: model(x)), (lambda x: guide(x))


def _methods(model, guide):
    pair = Pair(model, guide)
    return pair.model, pair.guide


def _partials(model, guide):
    return functools.partial(model), functools.partial(guide)


def _handlers(model, guide):
    return poutine.scale(model, 1.0), poutine.scale(guide, 1.0)


FORMS = {
    "for_svi": pyro_vae.for_svi,
    "functions around modules": _function,
    "methods with pyro.module": _methods,
    "functools.partial": _partials,
    "effect handlers": _handlers,
}


@pytest.mark.parametrize("form", FORMS)
def test_truth_06_dreg_does_not_depend_on_how_a_program_is_written(form):
    """The same modules behind functions, methods and handlers have the same gradient."""
    k = 5
    model, _, guide, x = oracle()
    parameters = [*model.parameters(), *guide.parameters()]
    expected = samples(library(pyro_vae.DReG(k), model, guide, x), parameters, 3)
    plain = samples(library(pyro_vae.IWAE(k), model, guide, x), parameters, 3)
    pair = FORMS[form](model, guide)
    found = samples(library(pyro_vae.DReG(k), *pair, x), parameters, 3)
    torch.testing.assert_close(found, expected)
    assert (expected - plain).abs().max() > 0.01


@pytest.mark.filterwarnings("error")
def test_truth_06_dreg_under_for_svi_warns_of_nothing():
    model, _, guide, x = oracle()
    pyro_vae.DReG(3).differentiable_loss(*pyro_vae.for_svi(model, guide), x).backward()


@pytest.mark.parametrize("betas", [None, BETA])
def test_truth_06_dreg_is_unbiased_for_the_librarys_own_pair(betas):
    """HierarchicalVAE with a Laplace level and TopDownGuide, per parameter of both."""
    arch = pyro_vae.Architecture(
        units=(3, 2),
        families=("laplace", "normal"),
        encoders=((4,), (3,)),
        feedback=((3,),),
        priors=((3,),),
        decoder=(),
        pixels="standardised",
    )
    model, guide = pyro_vae.build_model(arch, 5), pyro_vae.build_guide("topdown", arch, 5)
    x = torch.randn(1, 5).expand(300, -1)
    parameters = [*guide.parameters(), *model.parameters()]
    plain = samples(library(pyro_vae.IWAE(4), model, guide, x, betas), parameters, 40)
    doubly = samples(library(pyro_vae.DReG(4), model, guide, x, betas), parameters, 40)
    zero = torch.zeros(plain.shape[1])
    assert_mean_close(doubly - plain, zero)
    assert z_score(plain, zero) > 8
    own = sum(p.numel() for p in guide.parameters())
    landing = samples(frozen_guide_loss(model, guide, x, 4, 1, betas), parameters, 40)
    assert z_score((landing - plain)[:, :own], zero[:own]) > 8


def test_truth_15_derivative_by_beta():
    """d loss / d beta = - sum of normalised weight times (log p(z2) - log q(z2))."""
    k, beta, step = 6, 0.4, 1e-5
    model, _, guide, x = oracle()

    def loss(beta):
        torch.manual_seed(2)
        with anneal({"z2": beta}):
            return pyro_vae.IWAE(k)(model, guide)(x).item()

    torch.manual_seed(2)
    with anneal({"z2": beta}):
        terms = pyro_vae.log_weights(model, guide, x, k)
    difference = (loss(beta + step) - loss(beta - step)) / (2 * step)
    weights = bounds.normalised_weights(terms.annealed_log_w)
    ratio = {z: terms.log_prior[z] - terms.log_guide[z] for z in ("z1", "z2")}
    assert abs(difference + (weights * ratio["z2"]).sum()) < 1e-6
    # The other level, the weights of the reported bound, equal weights, the other sign: all wrong.
    for wrong in (
        weights * ratio["z1"],
        bounds.normalised_weights(terms.log_w) * ratio["z2"],
        ratio["z2"] / k,
        -weights * ratio["z2"],
    ):
        assert abs(difference + wrong.sum()) > 1e-3


def test_truth_15_annealing_touches_z2_alone_and_no_reported_bound():
    model, _, guide, x = oracle()
    found = {}
    for beta in (None, 0.0, 0.4, 1.0):
        torch.manual_seed(3)
        with anneal({"z2": beta}) if beta is not None else contextlib.nullcontext():
            terms = pyro_vae.log_weights(model, guide, x, 6)
            figures = evaluate(model, guide, x, num_particles=40, bound_particles=4)
        assert terms.betas == {"z1": 1.0, "z2": 1.0 if beta is None else beta}
        expected = terms.log_likelihood + terms.log_prior["z1"] - terms.log_guide["z1"]
        level = terms.log_prior["z2"] - terms.log_guide["z2"]
        scaled = expected + (1.0 if beta is None else beta) * level
        torch.testing.assert_close(terms.annealed_log_w, scaled, rtol=0, atol=1e-12)
        found[beta] = terms, figures
    terms, figures = found[None]
    for other, others in found.values():
        assert torch.equal(other.log_w, terms.log_w)
        for name in ("elbo", "bound", "log_likelihood", "khat", "ess"):
            assert (getattr(others, name) == getattr(figures, name)).all()
    assert (found[0.4][0].annealed_log_w - terms.log_w).abs().max() > 0.1


def test_truth_15_annealing_of_one_program_alone_is_refused():
    model, _, guide, x = oracle()
    for pair in ((anneal({"z2": 0.5})(model), guide), (model, anneal({"z2": 0.5})(guide))):
        with pytest.raises(ValueError, match="'z2'"):
            pyro_vae.IWAE(3).differentiable_loss(*pair, x)
