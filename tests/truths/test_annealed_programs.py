"""Annealed importance sampling of other programs, and what it refuses."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.evaluation import log_likelihood
from pyro_vae.evaluation.ais import hamiltonian
from pyro_vae.evaluation.ais.annealed import ais, bidirectional
from pyro_vae.weights.simulation import simulate
from tests.annealed import STARTS, single_chains
from tests.conftest import tiny_pair
from tests.statistics import assert_mean_close, z_score, z_scores

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def always_accepted(monkeypatch):
    """Metropolis' correction is left out."""
    monkeypatch.setattr(hamiltonian, "accepted", lambda p: torch.ones_like(p, dtype=torch.bool))


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
