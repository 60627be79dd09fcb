"""RowNoise: draws have the law of the site, and belong to the row whatever stands beside it."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import pyro_vae
from pyro_vae.weights.row_noise import RowNoise
from tests.conftest import tiny_pair
from tests.statistics import double_precision


def drawn(fn, rows, seed=0, particles=2_000):
    with (
        RowNoise(rows, seed),
        pyro.plate("particles", particles, dim=-2),
        pyro.plate("data", len(rows), dim=-1),
    ):
        return pyro.sample("z", fn)


@pytest.mark.parametrize(
    ("fn", "law"),
    [
        (dist.Normal(1.0, 2.0), stats.norm(1, 2)),
        (dist.Laplace(1.0, 2.0), stats.laplace(1, 2)),
        (dist.Exponential(0.5), stats.expon(scale=2)),  # has a quantile function, no location
    ],
)
def test_draws_follow_the_law_of_the_site(fn, law):
    rows = torch.randn(3, 4)
    z = drawn(fn.expand([5]).to_event(1), rows)
    assert z.shape == (2_000, 3, 5)
    assert z.dtype == torch.float32
    # Kolmogorov and Smirnov; a right law gives less than 1e-4 once in ten thousand such tests.
    assert stats.kstest(z.flatten().numpy(), law.cdf).pvalue > 1e-4
    # Rows and units are independent: correlations of 2000 pairs, 4.5 standard errors.
    columns = stats.rankdata(z.flatten(1).numpy(), axis=0)
    correlation = torch.corrcoef(torch.from_numpy(columns.T))
    assert (correlation - torch.eye(15)).abs().max() < 4.5 / 2_000**0.5


@pytest.mark.parametrize("guide", ["topdown", "bottomup", "meanfield"])
def test_weights_of_a_row_do_not_depend_on_its_company(guide):
    with double_precision():
        model, program = tiny_pair(guide, levels=3)
        model, program = model.double(), program.double()
        x = torch.randn(5, 6)

        def weights(rows, seed=3):
            with RowNoise(rows, seed):
                return pyro_vae.log_weights(model, program, rows, 4).log_w

        whole = weights(x)
        torch.testing.assert_close(weights(x.flip(0)).flip(1), whole)
        torch.testing.assert_close(weights(x[2:3]), whole[:, 2:3])
        assert len(whole.unique()) == whole.numel()
        assert not torch.isclose(weights(x, seed=4), whole).any()


def test_a_second_run_draws_other_particles():
    rows = torch.randn(3, 4)
    fn = dist.Normal(torch.zeros(5), 1.0).to_event(1)
    with (
        RowNoise(rows, 0),
        pyro.plate("particles", 2, dim=-2),
        pyro.plate("data", 3, dim=-1),
    ):
        first, second = pyro.sample("z", fn), pyro.sample("z", fn)
        other = pyro.sample("y", fn)
    assert not torch.isclose(first, second).any()
    assert not torch.isclose(first, other).any()
    assert torch.equal(first, drawn(fn, rows, particles=2))


def test_sites_without_a_quantile_function_draw_as_usual():
    rows = torch.randn(3, 4)
    fn = dist.Gamma(torch.ones(5), 1.0).to_event(1)
    torch.manual_seed(1)
    first = drawn(fn, rows)
    torch.manual_seed(1)
    assert torch.equal(first, drawn(fn, rows, seed=2))


def test_other_rows_than_those_of_the_noise_are_refused():
    fn = dist.Normal(torch.zeros(5), 1.0).to_event(1)
    noise, plate = RowNoise(torch.randn(3, 4), 0), pyro.plate("data", 2, dim=-1)
    with noise, plate, pytest.raises(ValueError, match=r"site 'z'.*\(2, 2, 5\).*of 3 rows"):
        pyro.sample("z", fn.expand([2, 2]))
