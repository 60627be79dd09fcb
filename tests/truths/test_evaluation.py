"""Many particles in small chunks: log_likelihood is exact for any chunks, its error calibrated."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.poutine.messenger import Messenger

import pyro_vae
from pyro_vae import bounds
from pyro_vae.evaluation import evaluate, log_likelihood
from tests.linear_gaussian import chi2, elbo, oracle
from tests.statistics import assert_mean_close, double_precision, z_score

pytestmark = pytest.mark.usefixtures("float64")


class Served(Messenger):
    """Hands out given particles (K, B, D) in place of draws, each of a datum's once and in turn.

    Stands around the library, which runs ``program``: there the size of every plate is known.
    """

    def __init__(self, guide, latents, x):
        super().__init__()
        self.guide, self.latents, self.x = guide, latents, x
        self.used = torch.zeros(len(x), dtype=torch.long)
        self.most_at_once = 0

    def program(self, x):
        self.rows = (x[:, None] == self.x).all(-1).long().argmax(1)
        self.guide(x)
        self.used[self.rows] += self.count
        self.most_at_once = max(self.most_at_once, self.count * len(self.rows))

    def _pyro_sample(self, msg):
        if msg["name"] in self.latents and not msg["done"]:
            self.count = next(f.size for f in msg["cond_indep_stack"] if f.name == "particles")
            turn = self.used[self.rows] + torch.arange(self.count)[:, None]
            msg["value"], msg["done"] = self.latents[msg["name"]][turn, self.rows], True


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 10, 13, 23, 24, 50, 91, 92, 1_000])
def test_log_likelihood_is_exact_for_uneven_chunks(chunk_size):
    """K = 23 particles of 4 data: whatever is run at once, the same L_K to rounding."""
    num_particles, num_data = 23, 4
    model, _, guide, x = oracle(num_data)
    terms = pyro_vae.log_weights(model, guide, x, num_particles)
    expected = bounds.iwae(terms.log_w)
    with Served(guide, terms.latents, x) as served:
        found = log_likelihood(model, served.program, x, num_particles, chunk_size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (served.used == num_particles).all()
    assert served.most_at_once <= chunk_size
    # What an average over uneven chunks of their own bounds would give.
    parts = torch.stack([bounds.iwae(part) for part in terms.log_w.split(10)])
    assert (parts.mean(0) - expected).abs().max() > 1e-3


def test_evaluate_is_exact_for_uneven_chunks():
    num_particles, k = 23, 5
    model, _, guide, x = oracle(3)
    terms = pyro_vae.log_weights(model, guide, x, num_particles)
    for chunk_size in (1, 9, 1_000):
        with Served(guide, terms.latents, x) as served:
            found = evaluate(
                model,
                served.program,
                x,
                num_particles=num_particles,
                bound_particles=k,
                chunk_size=chunk_size,
            )
        expected = {
            "elbo": terms.log_w.mean(0),
            "log_likelihood": bounds.iwae(terms.log_w),
            "log_likelihood_jackknife": bounds.jackknife(terms.log_w),
            "bound": torch.stack([bounds.iwae(g) for g in terms.log_w[:20].split(k)]).mean(0),
            "reconstruction": terms.log_likelihood.mean(0),
            "ess": torch.stack(
                [1 / group.softmax(0).square().sum(0) for group in terms.log_w[:20].split(k)]
            ).mean(0),
        }
        for name, values in expected.items():
            np.testing.assert_allclose(getattr(found, name), values.detach(), atol=1e-12)
        for name, values in found.kl.items():
            ratio = (terms.log_guide[name] - terms.log_prior[name]).mean(0)
            np.testing.assert_allclose(values, ratio.detach(), atol=1e-12)
        total = found.reconstruction - sum(found.kl.values())
        np.testing.assert_allclose(total, found.elbo, atol=1e-12)
        np.testing.assert_allclose(found.rate + found.distortion, -found.elbo, atol=1e-12)
        np.testing.assert_allclose(found.distortion, -terms.log_likelihood.mean(0).detach())


@torch.no_grad()
def test_reported_standard_error_is_calibrated():
    """Empirical variance of log p^ over repeats against the reported error, squared."""
    model, _, guide, x = oracle(1)
    assert chi2(model, guide, x) < 1
    repeats = x.expand(800, -1)
    found = evaluate(model, guide, repeats, num_particles=300, bound_particles=10, khat=False)
    estimates = found.log_likelihood
    spread = (estimates - estimates.mean()) ** 2 * len(estimates) / (len(estimates) - 1)
    assert_mean_close(spread - found.monte_carlo_error**2, 0.0)
    assert z_score(spread - 2 * found.monte_carlo_error**2, 0.0) > 8
    assert z_score(spread - found.monte_carlo_error**2 / 2, 0.0) > 8
    # The estimates themselves: unbiased for p(x), and well above the ELBO.
    log_p = model.log_evidence(x)
    assert_mean_close(np.exp(estimates - log_p.item()), 1.0)
    assert z_score(estimates, elbo(model, guide, x)) > 8
    assert_mean_close(found.elbo, elbo(model, guide, x))


@torch.no_grad()
def test_summary_error_covers_the_mean_over_data():
    """The Monte Carlo error of the mean log-likelihood over a data set, likewise."""
    model, _, guide, x = oracle(4)
    tables = [
        evaluate(model, guide, x, num_particles=200, bound_particles=10, khat=False).summary()
        for _ in range(300)
    ]
    means, errors = (
        np.array([table["log_likelihood"][name] for table in tables])
        for name in ("mean", "monte_carlo_error")
    )
    spread = (means - means.mean()) ** 2 * 300 / 299
    assert_mean_close(spread - errors**2, 0.0)
    assert z_score(spread - 4 * errors**2, 0.0) > 8


def test_a_subsampling_plate_is_trained_with_and_not_evaluated_with():
    """It weighs random rows, not those asked for: refused, and resampling alike."""

    def model(x):
        with pyro.plate("rows", len(x), subsample_size=2, dim=-1) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    def guide(x):
        with pyro.plate("rows", len(x), subsample_size=2, dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    x = torch.arange(6.0)
    assert pyro_vae.IWAE(3)(model, guide)(x).isfinite()
    for use in (
        lambda: log_likelihood(model, guide, x, 10),
        lambda: pyro_vae.resampling.sir(model, guide, x, 4, 2),
    ):
        with pytest.raises(ValueError, match="weigh 2 of 6 rows: their data plate subsamples"):
            use()


def test_programs_of_two_arguments_are_evaluated_row_by_row():
    """y | t, z ~ N(t z, 1), z ~ N(0, 1): log p(y | t) = log N(y; 0, t^2 + 1), guide exact."""

    def model(t, y):
        with pyro.plate("rows", len(t), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(t * z, 1.0), obs=y)

    def guide(t, y):
        with pyro.plate("rows", len(t), dim=-1):
            pyro.sample("z", dist.Normal(t * y / (t**2 + 1), (t**2 + 1) ** -0.5))

    with double_precision():
        t, y = torch.linspace(-2, 2, 7), torch.linspace(3, -1, 7)
        found = log_likelihood(model, guide, (t, y), 4, chunk_size=8)
        exact = torch.distributions.Normal(0.0, (t**2 + 1).sqrt()).log_prob(y)
        assert (found - exact).abs().max() < 1e-9
        draws = pyro_vae.resampling.sir(model, guide, (t, y), 4, 3, chunk_size=8)
        assert draws.latents["z"].shape == (3, 7)
