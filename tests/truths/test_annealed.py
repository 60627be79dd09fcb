"""Annealed and bidirectional estimates against the oracle: exact expectations, exact brackets."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.evaluation import log_likelihood
from pyro_vae.evaluation.ais import hamiltonian
from pyro_vae.evaluation.ais.annealed import ais, bidirectional
from pyro_vae.evaluation.ais.chains import Plan, pilot, temperatures, weigh
from pyro_vae.evaluation.ais.hamiltonian import Point, transition
from pyro_vae.evaluation.ais.path import AnnealingPath
from pyro_vae.weights.simulation import simulate
from tests.conftest import tiny_pair
from tests.linear_gaussian import SIZES, elbo, oracle, perturbed, quadratic
from tests.statistics import assert_mean_close, double_precision, z_score, z_scores

D1 = SIZES[1]
STARTS = ["guide", "prior"]


@pytest.fixture(autouse=True)
def float64():
    with double_precision():
        yield


@pytest.fixture
def always_accepted(monkeypatch):
    """Metropolis' correction is left out."""
    monkeypatch.setattr(hamiltonian, "accepted", lambda p: torch.ones_like(p, dtype=torch.bool))


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


def weights(start="guide", num_data=4_000, spread=1.0):
    """w / p(x) of forward chains, p(x) / w of backward ones begun at ``posterior_draws``."""
    model, guide, x = bad_pair(num_data)
    exact = posterior_draws(model, x, spread)
    count = {"guide": 8, "prior": 24}[start]
    forward, backward = single_chains(model, guide, x, exact, start, count)
    log_p = model.log_evidence(x).detach()
    return (forward - log_p).exp(), (log_p - backward).exp()


@pytest.mark.parametrize("start", STARTS)
def test_forward_weights_have_mean_evidence_and_backward_ones_its_inverse(start):
    forward, backward = weights(start=start)
    assert_mean_close(forward, 1.0)
    assert_mean_close(backward, 1.0)
    # The two directions have different laws, and neither is any constant but its own.
    assert z_score(forward.log(), 0.0) > 8
    assert z_score(backward.log(), 0.0) > 8
    for wrong in (0.7, 1.3):
        assert z_score(forward, wrong) > 8
        assert z_score(backward, wrong) > 8


@pytest.mark.usefixtures("always_accepted")
def test_without_metropolis_the_expectations_are_wrong():
    forward, _ = weights()
    assert z_score(forward, 1.0) > 8


def test_backward_chains_must_begin_at_the_posterior():
    forward, backward = weights(spread=0.5)
    assert_mean_close(forward, 1.0)
    assert z_score(backward, 1.0) > 8


@pytest.mark.parametrize("start", STARTS)
def test_the_bracket_holds_and_shrinks_with_the_number_of_temperatures(start):
    """On average lower < log p(x) < upper: far apart with few temperatures, then within noise."""
    model, guide, x = bad_pair(300)
    log_p = model.log_evidence(x).detach().numpy()
    gaps = []
    for count in (3, 20):
        found = bidirectional(
            model,
            guide,
            x,
            posterior_draws(model, x),
            num_particles=1,
            num_temperatures=count,
            start=start,
            num_leapfrog=2,
            chunk_size=100_000,
        )
        for miss in (log_p - found.lower, found.upper - log_p):
            assert miss.mean() > 0 or z_score(miss, 0.0) < 5
            assert count > 3 or (miss.mean() > 0 and z_score(miss, 0.0) > 5)
        gaps.append(torch.from_numpy(found.gap))
    wide, narrow = gaps
    assert z_score(wide - narrow, 0.0) > 5
    assert wide.mean() > 2 * abs(narrow.mean())


@torch.no_grad()
def test_reported_standard_error_is_calibrated():
    model, guide, x = bad_pair(600)
    found = ais(
        model, guide, x, num_particles=50, num_temperatures=15, num_leapfrog=1, chunk_size=100_000
    )
    spread = (found.lower - found.lower.mean()) ** 2 * 600 / 599
    assert_mean_close(spread - found.lower_error**2, 0.0)
    assert z_score(spread - 2 * found.lower_error**2, 0.0) > 6
    assert z_score(spread - found.lower_error**2 / 2, 0.0) > 6
    assert 10 < found.ess.mean() < 50
    assert (found.ess >= 1).all()
    assert (found.ess <= 50).all()


# Exact values -------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("chunk_size", [3, 16, 1_000])
def test_from_the_posterior_every_estimate_is_the_evidence(chunk_size):
    """For every datum in its place, however data and chains are split."""
    model, best, _, x = oracle(3)
    log_p = model.log_evidence(x).numpy()
    settings = {
        "num_particles": 7,
        "num_temperatures": 3,
        "num_leapfrog": 1,
        "chunk_size": chunk_size,
    }
    one_way = ais(model, best, x, **settings)
    both = bidirectional(model, best, x, posterior_draws(model, x), **settings)
    for found in (one_way.lower, both.lower, both.upper):
        assert abs(found - log_p).max() < 1e-9
    assert abs(both.gap).max() < 1e-9
    assert abs(one_way.ess - 7).max() < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("chunk_size", [300, 4_000])
def test_chunks_of_chains_and_data_do_not_change_the_law(chunk_size):
    model, guide, _ = bad_pair(1)
    x = model.sample_x(2)
    found = ais(
        model,
        guide,
        x,
        num_particles=1_000,
        num_temperatures=12,
        num_leapfrog=2,
        chunk_size=chunk_size,
    )
    distance = abs(found.lower - model.log_evidence(x).numpy())
    assert (found.lower_error < 0.1).all()
    assert (distance < 5 * found.lower_error).all()
    assert (abs(found.lower - elbo(model, guide, x).numpy()) > 8 * found.lower_error).all()


def test_one_temperature_is_importance_sampling():
    model, guide, x = bad_pair(2_000)
    found = ais(model, guide, x, num_particles=1, num_temperatures=1, chunk_size=100_000)
    assert_mean_close(found.lower, elbo(model, guide, x[:1]).item())
    assert found.acceptance_by_temperature.shape == (0,)
    assert z_score(found.lower, model.log_evidence(x[:1]).item()) > 8


@torch.no_grad()
def test_densities_and_gradients_along_the_path():
    """log f_1 is the posterior's density plus log p(x), log f_0 the guide's or the prior's."""
    model, _, guide, x = oracle(3)
    posterior, prior = model.posterior(x), torch.distributions.MultivariateNormal(*model.joint())
    for start, begun in (("guide", guide.joint(x)), ("prior", prior)):
        path = AnnealingPath(model, guide, x, start)
        point = path.draw(6)
        order = path_order(path)
        z = torch.empty_like(point.position)
        z[..., order] = point.position
        close = {"rtol": 0, "atol": 1e-9}
        torch.testing.assert_close(point.log_density(0.0), begun.log_prob(z), **close)
        target = posterior.log_prob(z) + model.log_evidence(x)
        torch.testing.assert_close(point.log_density(1.0), target, **close)
        for t, law in ((0.0, begun), (1.0, posterior)):
            gradient = -quadratic(law.precision_matrix, z - law.loc)[..., order]
            torch.testing.assert_close(point.gradient(t), gradient, **close)
        half = 0.5 * (point.log_density(0.0) + point.log_density(1.0))
        torch.testing.assert_close(point.log_density(0.5), half, **close)


@torch.no_grad()
def test_lengths_of_the_units_mix_precisions():
    model, best, _, x = oracle(400)
    path = AnnealingPath(model, best, x[:1].expand(400, -1), "prior")
    for t, law in ((0.0, model.joint()[1]), (1.0, model.posterior(x[:1]).covariance_matrix[0])):
        expected = law.diagonal()[path_order(path)]
        assert_mean_close(path.scale(t) ** 2, expected)
        assert z_score(path.scale(t) ** 2, 1.3 * expected) > 8
    between = 1 / path.scale(0.25) ** 2
    mixed = 0.75 / path.scale(0.0) ** 2 + 0.25 / path.scale(1.0) ** 2
    torch.testing.assert_close(between, mixed)


def test_temperatures():
    for count in (1, 2, 7):
        for schedule in ("linear", "sigmoid"):
            t = temperatures(count, schedule)
            assert t.shape == (count + 1,)
            assert (t[0], t[-1]) == (0, 1)
            assert (t.diff() > 0).all()
            torch.testing.assert_close(t, 1 - t.flip(0))
    assert torch.equal(temperatures(4), torch.tensor([0, 0.25, 0.5, 0.75, 1]))
    assert temperatures(4, "sigmoid")[1] < 0.12
    assert Plan(1, 4, 1, "guide", None, 1).temperatures == temperatures(4).tolist()
    assert Plan(1, 4, 1, "prior", None, 1).temperatures == temperatures(4, "sigmoid").tolist()


# The transition -----------------------------------------------------------------------------------


def moved(num_chains, num_transitions=6):
    """First and second moments of posterior draws after some transitions at t = 1: (chains, 30).

    Also their expectations under the posterior, and the acceptance.
    """
    model, guide, x = bad_pair(1)
    path = AnnealingPath(model, guide, x, "guide")
    posterior, order = model.posterior(x), path_order(path)
    with torch.no_grad():
        point = path.at(posterior.sample((num_chains,))[..., order])
    step = torch.full((1,), 0.5)
    for _ in range(num_transitions):
        point, probability = transition(path.at, point, 1.0, step, path.scale(1.0), 3)
    centred = (point.position - posterior.loc[:, order]).squeeze(1)
    products = (centred[:, :, None] * centred[:, None]).flatten(1)
    covariance = posterior.covariance_matrix[0][order][:, order]
    expected = torch.cat([torch.zeros(len(order)), covariance.flatten()])
    return torch.cat([centred, products], 1).detach(), expected.detach(), probability.mean()


def test_the_transition_leaves_its_target_invariant():
    moments, expected, acceptance = moved(20_000)
    assert 0.4 < acceptance < 0.9
    assert_mean_close(moments, expected)
    assert z_score(moments, 1.3 * expected) > 8


@pytest.mark.usefixtures("always_accepted")
def test_without_metropolis_the_target_is_not_invariant():
    moments, expected, _ = moved(20_000)
    assert z_score(moments, expected) > 8


def test_proposals_without_a_density_are_rejected():
    """N(0, 1) cut at 1.5, beyond which the density is NaN: chains stay inside, their law too."""

    def evaluate(position):
        inside = position.abs() < 1.5
        log_density = torch.where(inside, -0.5 * position**2, torch.nan)
        gradient = torch.where(inside, -position, torch.nan)
        zero = torch.zeros_like(position)
        return Point(position, log_density[..., 0], zero[..., 0], gradient, zero)

    inside = torch.distributions.Normal(0.0, 1.0).sample((80_000,))
    inside = inside[inside.abs() < 1.5][:, None, None]
    point = evaluate(inside)
    for _ in range(3):
        point, probability = transition(evaluate, point, 0.3, torch.ones(1), torch.ones(1, 1), 2)
    assert 0.3 < probability.mean() < 0.95
    assert point.position.abs().max() < 1.5
    edge = torch.tensor(1.5)
    mass = torch.erf(edge / 2**0.5)
    variance = 1 - 2 * edge * math.exp(-0.5 * 1.5**2) / (2 * math.pi) ** 0.5 / mass
    assert_mean_close(point.position[:, 0, 0] ** 2, variance)
    assert z_score(point.position[:, 0, 0] ** 2, 1.0) > 8


def test_the_pilot_finds_steps_that_accept_as_asked():
    model, guide, _ = bad_pair(1)
    x = model.sample_x(20)
    plan = Plan(20, 30, 2, "guide", None, 10_000)
    path = AnnealingPath(model, guide, x, "guide")
    steps = pilot(path, plan)
    assert steps.shape == (29, 20)
    chains = weigh(path, plan, steps)
    assert chains.acceptance.shape == (29, 20)
    assert abs(chains.acceptance.mean() - 0.65) < 0.05
    assert chains.acceptance.mean(0).min() > 0.5
    assert chains.acceptance.mean(1).min() > 0.5
    # Steps matter: three times as long ones are hardly accepted.
    assert weigh(path, plan, 3 * steps).acceptance.mean() < 0.3


# Other programs -----------------------------------------------------------------------------------


def laplace_model(x):
    """z2 ~ N(0, 1), z1 | z2 ~ Laplace(z2 / 2, exp(z2 / 2)), x | z1 ~ N(z1, 0.7^2)."""
    with pyro.plate("data", len(x), dim=-1):
        z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
        z1 = pyro.sample("z1", dist.Laplace(z2 / 2, (z2 / 2).exp()))
        pyro.sample("x", dist.Normal(z1, 0.7), obs=x)


def laplace_guide(x):
    with pyro.plate("data", len(x), dim=-1):
        z1 = pyro.sample("z1", dist.Normal(0.5 * x, 1.2))
        pyro.sample("z2", dist.Normal(0.2 * z1, 1.2))


def laplace_log_evidence(x):
    """log p(x) by quadrature over both latents: the trapezium rule on a fine grid."""
    z2, z1 = torch.linspace(-9, 9, 1_001)[:, None], torch.linspace(-40, 40, 20_001)
    log_p = (
        dist.Normal(0.0, 1.0).log_prob(z2)
        + dist.Laplace(z2 / 2, (z2 / 2).exp()).log_prob(z1)
        + dist.Normal(z1, 0.7).log_prob(x)
    )
    area = (z2[1] - z2[0]) * (z1[1] - z1[0])
    return log_p.flatten().logsumexp(0) + area.log().squeeze()


@pytest.mark.parametrize("start", STARTS)
def test_two_levels_with_a_kink(start):
    """E[w] = p(x) and E[1 / w] = 1 / p(x) at one x; exact posterior draws by rejection."""
    x = torch.tensor(2.0)
    log_p = laplace_log_evidence(x)
    z2 = torch.randn(500_000)
    z1 = dist.Laplace(z2 / 2, (z2 / 2).exp()).sample()
    kept = torch.rand(len(z1)) < (-0.5 * ((x - z1) / 0.7) ** 2).exp()
    z = {"z1": z1[kept][:6_000], "z2": z2[kept][:6_000]}
    count = {"guide": 20, "prior": 40}[start]
    forward, backward = single_chains(
        laplace_model, laplace_guide, x.expand(6_000), z, start, count
    )
    assert_mean_close((forward - log_p).exp(), 1.0)
    assert_mean_close((log_p - backward).exp(), 1.0)
    for wrong in (0.7, 1.3):
        assert z_score((forward - log_p).exp(), wrong) > 8
        assert z_score((log_p - backward).exp(), wrong) > 8


def test_brackets_of_bernoulli_pixels():
    """The truth is L_K of many particles, a good one for a guide this near."""
    model, guide = (p.double() for p in tiny_pair(levels=1, pixels="binary"))
    found = bidirectional(model, guide, num_data=100, num_temperatures=15, num_particles=8)
    truth = log_likelihood(model, guide, found.x, 10_000).numpy()
    for estimate in (found.lower, found.upper):
        assert_mean_close(estimate - truth, 0.0)
        assert abs((estimate - truth).mean()) < 0.1
    pairs = pyro_vae.log_weights(model, guide, found.x, 100).log_w.detach().mean(0).numpy()
    assert z_score(pairs - truth, 0.0) > 8


@pytest.mark.parametrize("guide", ["topdown", "bottomup"])
def test_brackets_of_two_levels(guide):
    """Laplace z1 below normal z2, a guide that was never trained: from tens of nats to one."""
    model, guide = (p.double() for p in tiny_pair(guide, levels=2))
    found = bidirectional(model, guide, num_data=60, num_temperatures=10, num_particles=8)
    assert set(found.latents) == {"z1", "z2"}
    assert 0 < found.gap.mean() < 5
    terms = pyro_vae.log_weights(model, guide, found.x, 100)
    assert (found.lower - terms.log_w.detach().mean(0).numpy()).mean() > 10
    assert 0.5 < found.acceptance.mean() < 0.8


def scalar_model(t, y):
    with pyro.plate("rows", len(t), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(t * z, 1.0), obs=y)


def scalar_guide(t, y):
    with pyro.plate("rows", len(t), dim=-1):
        pyro.sample("z", dist.Normal(t * y / (t**2 + 1), (t**2 + 1) ** -0.5))


@pytest.mark.parametrize("chunk_size", [8, 1_000])
def test_programs_of_two_arguments_with_scalar_latents(chunk_size):
    """y | t, z ~ N(t z, 1), z ~ N(0, 1); the guide is exact."""
    t, z = torch.linspace(-2, 2, 3), torch.randn(3)
    y = t * z + torch.randn(3)
    found = bidirectional(
        scalar_model,
        scalar_guide,
        (t, y),
        {"z": z},
        num_temperatures=3,
        num_particles=2,
        chunk_size=chunk_size,
    )
    exact = dist.Normal(0.0, (t**2 + 1).sqrt()).log_prob(y).numpy()
    assert abs(found.lower - exact).max() < 1e-9
    assert abs(found.upper - exact).max() < 1e-9


def test_simulated_data_come_with_their_latents():
    model, _ = tiny_pair(levels=2)
    torch.manual_seed(3)
    x, latents = simulate(model, 200)
    assert x.shape == (200, 6)
    assert {name: value.shape for name, value in latents.items()} == {
        "z2": (200, 3),
        "z1": (200, 4),
    }
    mean = model.likelihood(latents["z1"].double()).mean
    residual = (x - mean) / model.likelihood.noise
    assert_mean_close(residual.detach(), 0.0)
    assert_mean_close(residual.detach() ** 2, 1.0)
    assert z_scores(((x.flip(0) - mean) / model.likelihood.noise).detach() ** 2, 1.0).max() > 8


# Books --------------------------------------------------------------------------------------------


def test_summary_progress_and_what_is_left_behind():
    model, guide = tiny_pair(levels=1)
    model, guide = model.double(), guide.double()
    x, _ = simulate(model, 6)
    validated = pyro.infer.util.is_validation_enabled()
    done = []
    found = ais(
        model,
        guide,
        x,
        num_particles=3,
        num_temperatures=4,
        chunk_size=16,
        num_leapfrog=1,
        on_progress=done.append,
    )
    assert sum(done) == pytest.approx(6)
    assert len(done) == 3 * 4
    done.clear()
    both = bidirectional(
        model,
        guide,
        num_data=6,
        num_particles=20,
        num_temperatures=4,
        num_leapfrog=1,
        chunk_size=12,
        on_progress=done.append,
    )
    assert sum(done) == pytest.approx(6)
    assert len(done) == 6 * 2 * 2 * 4
    assert pyro.infer.util.is_validation_enabled() == validated
    assert all(p.grad is None for p in [*model.parameters(), *guide.parameters()])
    table = found.summary()
    assert table["lower"]["mean"] == pytest.approx(found.lower.mean())
    assert table["lower"]["standard_error"] == pytest.approx(found.lower.std(ddof=1) / 6**0.5)
    assert table["lower"]["monte_carlo_error"] == pytest.approx(
        (found.lower_error**2).sum() ** 0.5 / 6
    )
    assert set(both.summary()) == {"lower", "upper", "gap", "acceptance"}
    assert both.summary()["gap"]["mean"] == pytest.approx((both.upper - both.lower).mean())
    for figure in (found.lower, found.ess, both.upper, both.upper_error, both.acceptance):
        assert figure.shape == (6,)
        assert figure.dtype == "float64"


# Refusals -----------------------------------------------------------------------------------------


def pair_with(latent, guide_latent=None):
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", latent)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", guide_latent or latent)

    return model, guide


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        (pair_with(dist.Poisson(2.0)), r"site 'z' in the guide is Poisson with support Integer"),
        (pair_with(dist.Gamma(2.0, 1.0)), r"site 'z' in the guide is Gamma with support Greater"),
        (pair_with(dist.Bernoulli(0.5)), r"site 'z' in the guide is Bernoulli"),
        (pair_with(dist.Gamma(2.0, 1.0), dist.Normal(5.0, 0.1)), r"'z' in the model is Gamma"),
        (pair_with(dist.Normal(0.0, 1.0), dist.Delta(torch.tensor(0.3))), r"guide is Delta"),
        (pair_with(dist.VonMises(0.0, 1.0)), r"guide is VonMises"),
    ],
)
def test_latents_that_are_no_real_numbers_are_refused_by_name(pair, match):
    x = torch.randn(4)
    for refused in (lambda: ais(*pair, x), lambda: bidirectional(*pair, x, {"z": x})):
        with pytest.raises(InputError, match=match):
            refused()


def test_real_latents_of_any_family_are_accepted():
    mixture = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(torch.tensor([-1.0, 1.0]), 1.0)
    )
    for latent in (mixture, dist.StudentT(5.0), dist.Laplace(0.0, 1.0)):
        found = ais(*pair_with(latent), torch.randn(4), num_particles=2, num_temperatures=2)
        assert abs(found.lower).max() < 20


def test_a_subsampling_plate_is_refused():
    def model(x):
        with pyro.plate("rows", len(x), subsample_size=2, dim=-1) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    def guide(x):
        with pyro.plate("rows", len(x), subsample_size=2, dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="weigh 2 of 6 rows: their data plate subsamples"):
        ais(model, guide, torch.arange(6.0))


def test_pairs_that_log_weights_refuses():
    model, _ = pair_with(dist.Normal(0.0, 1.0))

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("other", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="site 'z' of the model is neither observed nor drawn"):
        ais(model, guide, torch.randn(4))

    def plain(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    with pytest.raises(InputError, match="no latents"):
        ais(plain, lambda x: None, torch.randn(4))


def test_latents_of_wrong_shape_or_name_are_refused():
    model, guide = (program.double() for program in tiny_pair(levels=2))
    x, latents = simulate(model, 5)
    for wrong, match in (
        ({"z1": latents["z1"]}, r"given for z1; the guide draws z2, z1"),
        ({**latents, "z3": latents["z1"]}, r"given for .*z3; the guide draws z2, z1"),
        ({**latents, "z1": latents["z1"][:3]}, r"latents\['z1'\] has shape \(3, 4\).* the 5 data"),
        ({**latents, "z1": latents["z1"][:, :2]}, r"\['z1'\] has shape \(5, 2\).*\(5, 4\)"),
        ({**latents, "z2": latents["z2"][..., None]}, r"\['z2'\] has shape \(5, 3, 1\)"),
    ):
        with pytest.raises(InputError, match=match):
            bidirectional(model, guide, x, wrong, num_temperatures=2)
    for half in ({"x": x}, {"latents": latents}):
        with pytest.raises(InputError, match="x together with the latents"):
            bidirectional(model, guide, **half)


def test_models_that_cannot_simulate():
    pair = pair_with(dist.Normal(0.0, 1.0))
    with pytest.raises(
        InputError, match=r"does not simulate .*num_data=20.*Give x and the latents"
    ):
        bidirectional(*pair)

    def unnamed(x, num_data=1):
        with pyro.plate("data", num_data, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("y", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(InputError, match="drew no site 'x', but z, y"):
        simulate(unnamed, 3)


@pytest.mark.parametrize(
    "bad",
    [
        {"num_particles": 0},
        {"num_temperatures": 0},
        {"num_leapfrog": 1.5},
        {"chunk_size": 0},
        {"start": "posterior"},
        {"schedule": "cosine"},
    ],
)
def test_bad_arguments_are_refused(bad):
    pair = pair_with(dist.Normal(0.0, 1.0))
    (name,) = bad
    with pytest.raises(InputError, match=name):
        ais(*pair, torch.randn(4), **bad)
    with pytest.raises(InputError, match=name):
        bidirectional(*pair, torch.randn(4), {"z": torch.randn(4)}, **bad)
