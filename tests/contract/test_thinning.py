"""Thinned gradients: few particles differentiated, the expected gradient of all."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae import InputError
from pyro_vae.objectives import make_objective, thinning
from pyro_vae.objectives.thinning import keep, keep_probabilities
from pyro_vae.weights import traces
from pyro_vae.weights.handlers import RedrawValues, anneal
from tests.conftest import tiny_pair
from tests.linear_gaussian import LinearModel, lower, optimal_guide
from tests.statistics import assert_mean_close, gradients, z_score

BETAS = {"z2": 0.4}


class DiagonalGuide(nn.Module):
    """q(z2 | x) q(z1 | x, z2) of the linear-Gaussian model with independent units."""

    def __init__(self, best, widen=0.2):
        super().__init__()
        self.W2, self.c2, self.W1 = best.W2, best.c2, best.W1
        self.V1, self.c1 = best.V1, best.c1
        self.log_s2 = nn.Parameter(lower(best.L2).norm(dim=1).log().detach() + widen)
        self.log_s1 = nn.Parameter(lower(best.L1).norm(dim=1).log().detach() + widen)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc = x @ self.W2.T + self.c2
            z2 = pyro.sample("z2", dist.Normal(loc, self.log_s2.exp()).to_event(1))
            loc = x @ self.W1.T + self.c1 + z2 @ self.V1.T
            pyro.sample("z1", dist.Normal(loc, self.log_s1.exp()).to_event(1))


def diagonal_pair(num_data=3):
    """The linear-Gaussian model, a guide with independent units, and data; all float64."""
    model = LinearModel()
    return model, DiagonalGuide(optimal_guide(model)), model.sample_x(num_data)


# The probabilities


def by_bisection(weights, num_kept):
    """min(1, w / c) of one datum, c found by halving: as the formula says, nothing else."""
    shares = weights / weights.sum()

    def kept(c):
        return (shares / c).clamp(max=1).sum()

    low = 1 / len(shares)
    if kept(low) <= num_kept:
        return (shares / low).clamp(max=1)
    high = 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) > num_kept else (low, middle)
    return (shares / high).clamp(max=1)


def random_weights(num_particles, num_data, spread):
    return (spread * torch.randn(num_particles, num_data, dtype=torch.float64)).softmax(0)


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("num_kept", [1, 2, 5, 19, 20])
def test_the_probabilities_are_those_of_the_formula(spread, num_kept):
    weights = random_weights(20, 15, spread)
    found = keep_probabilities(weights, num_kept)
    expected = torch.stack([by_bisection(column, num_kept) for column in weights.T], 1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert (found.sum(0) <= num_kept + 1e-9).all()
    assert (found.sum(0) <= (20 * weights).clamp(max=1).sum(0) + 1e-9).all()


def test_no_threshold_above_one_kth_where_not_more_than_m_are_kept():
    weights = random_weights(40, 200, 2.0)
    few = (40 * weights).clamp(max=1).sum(0) <= 12
    assert 20 < few.sum() < 180
    found = keep_probabilities(weights, 12)
    torch.testing.assert_close(found[:, few], (40 * weights[:, few]).clamp(max=1))
    torch.testing.assert_close(found.sum(0)[~few], torch.full_like(found.sum(0)[~few], 12.0))
    assert (found[:, ~few] <= (40 * weights[:, ~few]).clamp(max=1) + 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("weights", "num_kept", "expected"),
    [
        ([1, 1, 1, 1], 2, [0.5, 0.5, 0.5, 0.5]),  # uniform: M / K each
        ([1, 1, 1, 1], 4, [1, 1, 1, 1]),
        ([2, 2, 1, 1], 2, [2 / 3, 2 / 3, 1 / 3, 1 / 3]),  # ties
        ([4, 4, 1, 1], 3, [1, 1, 0.4, 0.4]),  # c = 1 / K: 2.8 of 3
        ([4, 4, 3, 3], 3, [6 / 7, 6 / 7, 9 / 14, 9 / 14]),
        ([97, 1, 1, 1], 2, [1, 0.04, 0.04, 0.04]),  # one dominates: c = 1 / K
        ([97, 1, 1, 1], 1, [0.97, 0.01, 0.01, 0.01]),  # M = 1: the weights themselves
        ([1, 0, 0, 0], 1, [1, 0, 0, 0]),
        ([1, 0, 0, 0], 4, [1, 0, 0, 0]),
        ([1, 1, 0, 0], 1, [0.5, 0.5, 0, 0]),
        ([1, 1, 0, 0], 2, [1, 1, 0, 0]),
        ([1, 1, 0, 0], 3, [1, 1, 0, 0]),
        ([5], 1, [1]),
    ],
)
def test_probabilities_by_hand(weights, num_kept, expected, dtype):
    found = keep_probabilities(torch.tensor(weights, dtype=dtype)[:, None], num_kept)
    torch.testing.assert_close(found[:, 0], torch.tensor(expected, dtype=dtype))


# The draw


@pytest.mark.parametrize("num_kept", [1, 3, 6, 12])
@pytest.mark.parametrize("spread", [0.0, 1.5, 10.0])
def test_particles_are_kept_as_often_as_stated(num_kept, spread):
    draws = 20_000
    column = random_weights(12, 1, spread)
    kept = keep(column.expand(-1, draws), num_kept)
    assert {part.shape for part in kept} == {(num_kept, draws)}
    used = kept.used.bool()
    assert ((kept.used == 0) | (kept.used == 1)).all()

    often = torch.zeros(draws, 12, dtype=torch.float64)
    often.scatter_add_(1, kept.index.T, kept.used.T)
    assert often.max() <= 1  # no particle twice

    probability = keep_probabilities(column, num_kept)[:, 0]

    def score(truth):
        """Of a count of ``draws``, whose spread is known; rare particles may never be seen."""
        error = (truth * (1 - truth) / draws).sqrt() + 1 / draws
        return ((often.mean(0) - truth).abs() / error).max()

    assert score(probability) < 4
    torch.testing.assert_close(kept.probability[used], probability[kept.index[used]])
    assert (kept.probability[~used] == 1).all()
    if spread:  # other particles' chances, weights without a threshold, and a few percent off
        assert score(probability.roll(1)) > 8
        if 1 < num_kept < 12:
            assert score((num_kept * column[:, 0]).clamp(max=1)) > 8
    if spread == 1.5 and num_kept < 12:
        assert score(probability * 0.9) > 8


def test_sums_over_the_kept_are_unbiased():
    draws = 20_000
    column, values = random_weights(12, 1, 2.0), torch.randn(12, 1, dtype=torch.float64)
    kept = keep(column.expand(-1, draws), 4)
    terms = thinning.pick((column * values).expand(-1, draws), kept.index) * kept.used
    truth = (column * values).sum()
    assert_mean_close((terms / kept.probability).sum(0), truth, n_se=4)
    assert z_score(terms.sum(0), truth) > 8


def test_float32_weights_far_below_the_largest():
    column = torch.tensor([0.0, -20.0, -80.0, -1000.0]).softmax(0)[:, None]
    kept = keep(column.expand(-1, 100), 2)
    assert kept.probability.dtype == kept.used.dtype == torch.float32
    assert (kept.index[0] == 0).all()
    assert (kept.used[0] == 1).all()
    assert (kept.probability > 0).all()


# The gradient


@pytest.fixture
def shared_noise(float64, monkeypatch):
    """Every datum has the same K particles in every call: only the choice of the kept differs."""

    def standard_normal(shape, dtype, device):
        generator = torch.Generator().manual_seed(3)
        noise = torch.randn(*shape[:-2], 1, shape[-1], generator=generator, dtype=dtype)
        return noise.expand(shape)

    monkeypatch.setattr(torch.distributions.normal, "_standard_normal", standard_normal)


OBJECTIVES = {
    "iwae": lambda **settings: pyro_vae.IWAE(16, **settings),
    "dreg": lambda **settings: pyro_vae.DReG(16, **settings),
    "renyi": lambda **settings: pyro_vae.RenyiELBO(0.5, 16, **settings),
}


@pytest.mark.parametrize("betas", [{}, BETAS], ids=["plain", "annealed"])
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("num_kept", [4, 14])  # of 16: every slot is used; slots stay empty
def test_the_expected_gradient_is_that_of_all_particles(
    shared_noise, monkeypatch, name, betas, num_kept
):
    model, guide, x = diagonal_pair(1)
    parameters = [*model.parameters(), *guide.parameters()]
    x = x.expand(200, -1)

    def loss_and_gradient(**settings):
        with anneal(betas):
            loss = OBJECTIVES[name](**settings).differentiable_loss(model, guide, x) / len(x)
        return loss.detach(), gradients(loss, parameters)

    def thinned(repeats):
        losses, found = zip(
            *(loss_and_gradient(thin=num_kept) for _ in range(repeats)), strict=True
        )
        torch.testing.assert_close(
            torch.stack(losses), full_loss.expand(repeats), rtol=1e-12, atol=1e-12
        )
        return torch.stack(found)

    full_loss, full = loss_and_gradient()
    assert full.abs().max() > 0.01
    share = OBJECTIVES[name](thin=num_kept).estimate(model, guide, (x,), {}).kept_share
    assert share == 4 / 16 if num_kept == 4 else share < 13 / 16
    found = thinned(30)
    assert found.std(0).max() > 1e-4
    assert_mean_close(found, full, n_se=4)

    def undivided(weights, num_kept):
        kept = keep(weights, num_kept)
        return kept._replace(probability=torch.ones_like(kept.probability))

    monkeypatch.setattr(thinning, "keep", undivided)
    assert z_score(thinned(30), full) > 8


@pytest.mark.parametrize("name", OBJECTIVES)
def test_keeping_all_is_not_thinning(float64, monkeypatch, name):
    """Where every particle is kept for sure the gradient is that of the plain objective."""
    model, guide, x = diagonal_pair()
    parameters = [*model.parameters(), *guide.parameters()]

    def every(weights, num_kept):
        index = torch.arange(num_kept)[:, None].expand(-1, weights.shape[1])
        return thinning.Kept(index, torch.ones_like(weights), torch.ones_like(weights))

    monkeypatch.setattr(thinning, "keep", every)
    found = []
    for settings in ({}, {"thin": 16}):
        torch.manual_seed(5)
        with anneal(BETAS):
            loss = OBJECTIVES[name](**settings).differentiable_loss(model, guide, x)
        found.append(torch.cat([loss.detach()[None], gradients(loss, parameters)]))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


# Drawing again on the old noise


class Levels(nn.Module):
    """A guide z2 -> z1 of one family whose loc and scale are parameters and functions of z2."""

    def __init__(self, family, **shape):
        super().__init__()
        self.family = family
        self.shape = {name: torch.tensor(value) for name, value in shape.items()}
        self.loc, self.log_scale = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))
        self.weight = nn.Parameter(torch.randn(3))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            q2 = self.family(loc=self.loc + x, scale=self.log_scale.exp(), **self.shape)
            z2 = pyro.sample("z2", q2.to_event(1))
            scale = (0.3 * self.weight * z2).tanh().exp()
            q1 = self.family(loc=self.weight * z2.tanh(), scale=scale, **self.shape)
            pyro.sample("z1", q1.to_event(1))


def drawn(guide, x, *handlers):
    with traces.particles(5):
        return traces.latent_values(traces.run(guide, (x,), {}, *handlers))


@pytest.mark.parametrize(
    ("family", "shape"),
    [(dist.Normal, {}), (dist.Laplace, {}), (dist.Cauchy, {}), (dist.Gumbel, {})],
)
def test_a_redraw_is_the_old_number_with_the_derivative_of_rsample(float64, family, shape):
    guide, x = Levels(family, **shape), torch.randn(4, 3)
    parameters = list(guide.parameters())
    fresh = drawn(guide, x)
    old = {name: value.detach() for name, value in fresh.items()}
    state = torch.get_rng_state()
    again = drawn(guide, x, RedrawValues(old))
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn
    for name in ("z2", "z1"):
        torch.testing.assert_close(again[name], fresh[name], rtol=1e-12, atol=1e-12)
        weights = torch.randn(5, 4, 3)
        first, second = (
            gradients((weights * values[name].tanh()).sum(), parameters)
            for values in (fresh, again)
        )
        assert first.abs().min() > 0 or name == "z2"
        torch.testing.assert_close(second, first, rtol=1e-9, atol=1e-11)


def test_a_student_latent_is_refused_since_its_noise_has_a_parameter(float64):
    guide, x = Levels(dist.StudentT), torch.randn(4, 3)
    guide.shape = {"df": torch.tensor(3.0)}
    old = {name: value.detach() for name, value in drawn(guide, x).items()}
    with pytest.raises(ValueError, match=r"site 'z\d' in the guide is StudentT"):
        drawn(guide, x, RedrawValues(old))


class Skewed(nn.Module):
    """A pair whose latent is positive: Gamma or LogNormal."""

    def __init__(self, family):
        super().__init__()
        self.family = family
        self.raw = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.family(self.raw.exp(), 1.0).to_event(1))


class SkewedModel(Skewed):
    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.family(self.raw.exp(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


@pytest.mark.parametrize("family", [dist.Gamma, dist.LogNormal])
@pytest.mark.parametrize("objective", [pyro_vae.IWAE, pyro_vae.DReG])
def test_latents_that_cannot_be_drawn_again_are_refused_by_name(family, objective):
    model, guide, x = SkewedModel(family), Skewed(family), torch.rand(3, 2)
    objective(4).differentiable_loss(model, guide, x).backward()
    with pytest.raises(ValueError, match=f"site 'z' in the guide is {family.__name__}.*without"):
        objective(4, thin=2).differentiable_loss(model, guide, x)


# The settings


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: pyro_vae.IWAE(4, thin=5), "thin must be at most num_particles = 4, got 5"),
        (lambda: pyro_vae.DReG(4, thin=0), "thin must be a whole number of at least 1, got 0"),
        (lambda: pyro_vae.IWAE(4, thin=1.5), "thin must be a whole number"),
        (lambda: pyro_vae.RenyiELBO(0.5, 4, thin=9), "thin must be at most"),
        (
            lambda: make_objective("elbo", 4, thin=2),
            "'elbo' cannot be thinned.*iwae, dreg, stl",
        ),
        (lambda: make_objective("elbo-analytic", 4, thin=2), "'elbo-analytic' cannot be thinned"),
        (lambda: make_objective("pyro-elbo", 4, thin=2), "'pyro-elbo' cannot be thinned"),
        (lambda: make_objective("pyro-renyi", 4, thin=2), "'pyro-renyi' cannot be thinned"),
    ],
)
def test_senseless_thinning_is_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()


@pytest.mark.parametrize("name", ["iwae", "dreg", "renyi"])
def test_the_share_of_kept_particles(name):
    model, guide = tiny_pair()
    x = torch.randn(8, 6)
    thinned = make_objective(name, 20, thin=5).estimate(model, guide, (x,), {})
    assert 0 < thinned.kept_share <= 5 / 20
    assert make_objective(name, 20).estimate(model, guide, (x,), {}).kept_share == 1.0
    # Uniform weights: exactly M of K.
    with torch.no_grad():
        model.likelihood.loc.parts[0].weight.zero_()
    with anneal({"z1": 0.0, "z2": 0.0}):
        share = make_objective(name, 20, thin=5).estimate(model, guide, (x,), {}).kept_share
    assert share.item() == pytest.approx(5 / 20)


def test_the_history_tells_the_share_of_thinned_runs_alone():
    def history(**settings):
        return pyro_vae.fit(
            *tiny_pair(),
            torch.randn(10, 6),
            objective=pyro_vae.IWAE(8, **settings),
            epochs=1,
            batch_size=4,
            compile=False,
            progress=False,
        ).history

    assert "kept_share" not in history()[-1]
    first, last = history(thin=3)
    assert first["kept_share"] != first["kept_share"]  # NaN: nothing was trained yet
    assert 0 < last["kept_share"] <= 3 / 8
