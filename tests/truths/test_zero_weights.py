"""Particles of weight zero (log w = -inf): every function of the weights, objective by objective.

A wide guide and a box likelihood, x uniform on (z - 1, z + 1): most particles have weight zero.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae import bounds, objectives, resampling
from pyro_vae.errors import TrainingDiverged
from pyro_vae.evaluation import evaluate
from pyro_vae.objectives import thinning
from pyro_vae.training import Gradients
from pyro_vae.training.progress import Progress
from pyro_vae.weights.diagnostics import (
    effective_sample_size,
    log_mean_standard_error,
    pareto_khat,
    rows_named,
)
from tests.statistics import flat, gradients

INF = math.inf
FUNCTIONS = {
    "elbo": bounds.elbo,
    "iwae": bounds.iwae,
    "renyi 0.5": lambda log_w: bounds.renyi(log_w, 0.5),
    "renyi 2": lambda log_w: bounds.renyi(log_w, 2.0),
    "power 2": lambda log_w: bounds.power_mean(log_w, 2.0),
    "median": bounds.median,
    "miwae": lambda log_w: bounds.miwae(log_w, 3),
    "ciwae 0": lambda log_w: bounds.ciwae(log_w, 0.0),
    "ciwae 0.5": lambda log_w: bounds.ciwae(log_w, 0.5),
    "ciwae 1": lambda log_w: bounds.ciwae(log_w, 1.0),
    "jackknife": bounds.jackknife,
}

pytestmark = pytest.mark.usefixtures("float64")


def table():
    """Six particles of: ordinary data, some zeros, a group of zeros, all but one zero, all zero."""
    log_w = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    log_w[[0, 4], 1] = log_w[3:, 2] = log_w[1:, 3] = log_w[:, 4] = -INF
    return log_w


def by_hand(name, log_w):
    """The function of one datum's weights, in plain arithmetic."""
    w = log_w.exp()
    mean_log = log_w.mean() if (w > 0).all() else torch.tensor(-INF)
    return {
        "elbo": lambda: mean_log,
        "iwae": lambda: w.mean().log(),
        "renyi 0.5": lambda: 2 * w.sqrt().mean().log(),
        "renyi 2": lambda: -(1 / w).mean().log(),
        "power 2": lambda: w.square().mean().log() / 2,
        "median": lambda: w.sort().values[2:4].mean().log(),
        "miwae": lambda: (w[:3].mean().log() + w[3:].mean().log()) / 2,
        "ciwae 0": lambda: w.mean().log(),
        "ciwae 0.5": lambda: (mean_log + w.mean().log()) / 2,
        "ciwae 1": lambda: mean_log,
        "jackknife": lambda: _jackknife(w),
    }[name]()


def _jackknife(w):
    left_out = torch.stack([torch.cat([w[:k], w[k + 1 :]]).mean().log() for k in range(len(w))])
    if left_out.isneginf().any():
        return w.mean().log()
    return len(w) * w.mean().log() - (len(w) - 1) * left_out.mean()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bounds_of_zero_weights_are_those_of_plain_arithmetic(name):
    log_w = table().requires_grad_()
    found = FUNCTIONS[name](log_w)
    expected = torch.stack([by_hand(name, column) for column in log_w.detach().T])
    torch.testing.assert_close(found, expected)
    if name == "jackknife":  # nothing to train on
        return
    (gradient,) = torch.autograd.grad(found.sum(), log_w)
    assert gradient.isfinite().all()
    alone = table()[:, :1].requires_grad_()
    (of_first,) = torch.autograd.grad(FUNCTIONS[name](alone).sum(), alone)
    torch.testing.assert_close(gradient[:, :1], of_first, rtol=0, atol=0)
    # Where the bound is finite the weights above zero share a derivative of 1.
    finite = found.isfinite()
    torch.testing.assert_close(gradient.sum(0)[finite], torch.ones(int(finite.sum())))


def test_diagnostics_of_zero_weights():
    log_w = table()
    weights = bounds.normalised_weights(log_w)
    torch.testing.assert_close(weights.sum(0), torch.tensor([1.0, 1, 1, 1, 0]))
    size = effective_sample_size(log_w)
    torch.testing.assert_close(size[:4], 1 / weights.square().sum(0)[:4])
    assert size[3:].tolist() == [1, 0]
    error = log_mean_standard_error(log_w)
    w = log_w.exp()
    torch.testing.assert_close(error[:4], (w.std(0) / w.mean(0) / math.sqrt(6))[:4])
    assert error[4] == INF


def test_khat_of_zero_weights():
    log_w = torch.full((1_000, 4), -INF)
    log_w[:, 0] = 0.5 * torch.randn(1_000, generator=torch.Generator().manual_seed(1))
    log_w[:400, 1] = 0.0  # a box: zero or one weight
    log_w[:3, 2] = torch.randn(3)  # three that hold everything
    khat = pareto_khat(log_w)
    assert khat[0] < 0.7
    assert khat[1] == 0.0
    assert khat[2:].tolist() == [INF, INF]  # none above zero


def test_thinning_keeps_nothing_of_a_datum_without_weights():
    weights = bounds.normalised_weights(table())
    assert thinning.keep_probabilities(weights, 2)[:, 4].tolist() == [0] * 6
    kept = thinning.keep(weights, 2)
    assert kept.probability.isfinite().all()
    assert kept.used[:, 4].tolist() == [0, 0]
    assert (kept.used[:, :4].sum(0) > 0).all()


class Box(nn.Module):
    """z ~ N(m, 1), x ~ U(z - 1, z + 1)."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(self.mean, 1.0))
            box = dist.Uniform(z - 1, z + 1, validate_args=False)
            pyro.sample("x", box, obs=x)


class Wide(nn.Module):
    """q(z | x) = N(0.7 x + shift, 2), but near 0 for x above 50."""

    def __init__(self, scale=2.0):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(0.1))
        self.scale = scale

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.7 * x.where(x < 50, 0.0) + self.shift, self.scale))


SUPPORTED = torch.linspace(-2, 2, 5, dtype=torch.float64)
X = torch.cat([SUPPORTED[:2], torch.tensor([100.0]), SUPPORTED[2:]])  # row 2 has no support
K = 12
OBJECTIVES = {
    "iwae": objectives.IWAE(K),
    "dreg": objectives.DReG(K),
    "stl": objectives.STL(K),
    "renyi": objectives.RenyiELBO(0.5, K),
    "power": objectives.PowerMean(2.0, K),
    "power, dreg": objectives.PowerMean(2.0, K, estimator="dreg"),
    "renyi 2, dreg": objectives.RenyiELBO(2.0, K, estimator="dreg"),
    "median": objectives.MedianWeight(K),
    "miwae": objectives.MIWAE(6, K),
    "miwae, dreg": objectives.MIWAE(6, K, estimator="dreg"),
    "ciwae 0": objectives.CIWAE(0.0, K),
    "ciwae": objectives.CIWAE(0.5, K),
    "ciwae, dreg": objectives.CIWAE(0.5, K, estimator="dreg"),
    "piwae": objectives.PIWAE(4, K),
    "elbo": objectives.ELBO(K),
    "beta-vae": objectives.BetaELBO(2.0, K),
    "capacity": objectives.CapacityELBO(1.0, 1.0, K),
    "free-bits": objectives.FreeBitsELBO(0.1, "unit", K),
    "iwae, thin": objectives.IWAE(K, thin=8),
    "dreg, thin": objectives.DReG(K, thin=8),
    "ciwae, thin": objectives.CIWAE(0.5, K, thin=8),
}
# -inf as soon as one weight is zero.
MEAN_OF_LOGS = (
    *("elbo", "beta-vae", "capacity", "free-bits", "renyi 2, dreg"),
    *("ciwae", "ciwae, dreg", "ciwae, thin"),
)


def pair():
    model, guide = Box().double(), Wide().double()
    return model, guide, [*model.parameters(), *guide.parameters()]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_datum_without_support_does_not_touch_the_others(name):
    objective, (model, guide, own) = OBJECTIVES[name], pair()
    with pyro.validation_enabled(False):
        torch.manual_seed(3)
        loss = objective.estimate(model, guide, (X,), {})
        found = gradients(loss.value, own)
        torch.manual_seed(3)
        whole = objective.differentiable_loss(model, guide, X)
        torch.manual_seed(3)
        log_w = pyro_vae.log_weights(model, guide, X, K).log_w.detach()
    assert loss.lost[2]
    assert whole == INF  # the bound of the batch is -inf, and is said to be
    torch.testing.assert_close(gradients(whole, own), found, rtol=0, atol=0)
    assert found.isfinite().all()
    if name in MEAN_OF_LOGS:
        assert loss.lost.tolist() == log_w.isneginf().any(0).tolist()
        return
    assert found.abs().min() > 0
    kept = ~loss.lost
    torch.testing.assert_close(loss.value, -objective.bound(log_w)[kept].sum())
    if objective.thin is not None or name == "piwae":
        return
    # The gradient is that of the data with support alone, on the same noise.
    with pyro.validation_enabled(False):
        torch.manual_seed(3)
        live = objective.live(model, guide, (X,), {}, K)
    torch.testing.assert_close(gradients(-objective.value(live)[kept].sum(), own), found)


def test_piwae_trains_the_guide_on_the_groups_that_have_weight():
    model, guide, _ = pair()
    objective = objectives.PIWAE(1, K)
    with pyro.validation_enabled(False):
        torch.manual_seed(3)
        value = objective.differentiable_loss(model, guide, SUPPORTED)
        torch.manual_seed(3)
        log_w = pyro_vae.log_weights(model, guide, SUPPORTED, K).log_w
    torch.testing.assert_close(value, -bounds.iwae(log_w).sum())
    of_guide = gradients(value, list(guide.parameters()))
    weighty = ~log_w.isneginf()
    by_weight = -(log_w.where(weighty, 0.0).sum() / K)
    torch.testing.assert_close(of_guide, gradients(by_weight, list(guide.parameters())))
    assert of_guide.abs() > 0


@pytest.mark.parametrize("name", ["iwae", "dreg", "miwae", "median"])
def test_chunks_of_particles_with_zero_weights(name):
    model, guide, own = pair()
    chunked = Gradients(OBJECTIVES[name], model, guide, chunk_size=5)
    with pyro.validation_enabled(False):
        torch.manual_seed(0)
        loss = chunked(X)
    assert loss.value.isfinite()
    assert loss.lost[2]
    assert flat([p.grad for p in own]).isfinite().all()
    assert all(p.grad != 0 for p in own)


def test_compiled_steps_tell_the_same_rows():
    model, guide, own = pair()
    plain, traced = (Gradients(OBJECTIVES["iwae"], model, guide) for _ in range(2))
    found = []
    with pyro.validation_enabled(False):
        traced.compile(X, compiler=False)
        for way in (plain, traced):
            for parameter in own:
                parameter.grad = None
            torch.manual_seed(0)
            found.append((way(X), flat([p.grad for p in own])))
    (loss, gradient), (other, same) = found
    assert loss.value == other.value
    assert torch.equal(loss.lost, other.lost)
    assert torch.equal(gradient, same)


def train(x, **settings):
    model, guide, _ = pair()
    with pyro.validation_enabled(False):
        pyro_vae.fit(
            model, guide, x, objective=pyro_vae.IWAE(200), progress=False, batch_size=4, **settings
        )
    return model, guide


def test_training_goes_on_and_names_the_row(monkeypatch):
    monkeypatch.setattr(dist.Uniform, "support", dist.constraints.real)
    histories = []
    with pytest.warns(RuntimeWarning, match=r"^epoch [12]: row 2 of the training data") as caught:
        _, guide = train(X, epochs=2, on_epoch=lambda rows: histories.append([*rows]))
    assert len(caught) == 2
    assert guide.shift.isfinite()
    assert guide.shift != 0.1
    for row in histories[-1][1:]:
        assert math.isfinite(row["train_objective"])
        assert row["skipped"] == 0
        assert -3.5 < row["train_objective"] < -1


def test_the_mean_bound_is_that_of_the_data_that_have_one():
    sums = {"objective": -10.0, "data": 6, "lost": 1, "steps": 2}
    assert Progress(sums=sums).training_columns(False)["train_objective"] == -2.0
    assert Progress(sums=sums | {"lost": 6}).training_columns(False)["train_objective"] == -INF


class Bounded(nn.Module):
    """z ~ U(-1, 1), x ~ N(z, 1)."""

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            prior = dist.Uniform(-1.0, 1.0, validate_args=False)
            z = pyro.sample("z", prior.expand((1,)).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)


class Narrow(nn.Module):
    """q(z | x) = N(x, 0.01 exp(shift))."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            q = dist.Normal(x[:, None], 0.01 * self.shift.exp())
            pyro.sample("z", q.to_event(1))


@pytest.mark.parametrize(
    "objective",
    [
        objectives.CapacityELBO(1.0, 1.0, K),
        objectives.FreeBitsELBO(0.1, "level", K),
        objectives.FreeBitsELBO(0.1, "unit", K),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_an_infinite_kl_is_left_out_of_the_mean_of_the_batch(objective):
    """Row 1 lies outside of the prior's support: its KL is infinite, the others' is what it is."""
    guide = Narrow().double()
    x = torch.tensor([0.1, 3.0, -0.2, 0.3])
    inside = torch.tensor([True, False, True, True])
    with pyro.validation_enabled(False):
        torch.manual_seed(0)
        loss = objective.estimate(Bounded(), guide, (x,), {})
        torch.manual_seed(0)
        terms = pyro_vae.log_weights(Bounded(), guide, x, K)
    assert loss.lost.tolist() == [False, True, False, False]
    kl = terms.log_ratios["z"][:, inside].mean()
    penalty = (kl - 1).abs() if isinstance(objective, objectives.CapacityELBO) else kl
    expected = -(terms.log_likelihood[:, inside].mean(0) - penalty).sum()
    torch.testing.assert_close(loss.value, expected)
    assert gradients(loss.value, [guide.shift]).isfinite()


def test_training_without_any_support_stops():
    with pytest.raises(
        TrainingDiverged, match=r"epoch 1: no row of the data has a bound: .*there is no checkpoint"
    ):
        train(torch.full((6,), 100.0), epochs=3)


def test_validation_names_the_row():
    with pytest.warns(RuntimeWarning, match="validation data: all particles of row 2 have weight"):
        train(SUPPORTED, valid=X, epochs=1)


def test_evaluation_names_the_row_and_keeps_the_others():
    model, guide, _ = pair()
    with pyro.validation_enabled(False):
        found = evaluate(model, guide, X, num_particles=2_000, bound_particles=100)
    assert "all particles of row 2 have weight zero" in found.warning
    assert "row 2" not in (found.first(2).warning or "")
    lost = np.arange(6) == 2
    for values in (found.log_likelihood, found.bound, found.log_likelihood_jackknife):
        assert (np.isneginf(values) == lost).all()
    assert np.isfinite(found.ess).all()
    assert (np.isfinite(found.khat) == ~lost).all()
    assert np.isposinf(found.kl_to_posterior).all()
    for values in found.columns().values():
        assert not np.isnan(values).any()
    normal = torch.distributions.Normal(0.0, 1.0)
    log_p = ((normal.cdf(SUPPORTED + 1) - normal.cdf(SUPPORTED - 1)) / 2).log().numpy()
    off = (found.log_likelihood[~lost] - log_p) / found.monte_carlo_error[~lost]
    assert (np.abs(off) < 4).all()  # standard errors


def test_resampling_names_the_row():
    model, guide, _ = pair()
    with (
        pyro.validation_enabled(False),
        pytest.warns(RuntimeWarning, match="all 50 proposals behind 100% of the draws of row 2"),
    ):
        draws = resampling.sir(model, guide, X, 50, 20)
    assert draws.log_weight[:, 2].isneginf().all()
    others = torch.arange(6) != 2
    assert draws.log_weight[:, others].isfinite().all()
    assert ((draws.latents["z"] - X)[:, others].abs() <= 1).all()


def test_rows_are_named_in_words():
    assert rows_named([3]) == "row 3"
    assert rows_named([3, 7, 9]) == "rows 3, 7 and 9"
    assert rows_named(range(12)) == "12 rows (the first: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)"
