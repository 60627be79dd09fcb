"""That training learns: evidence that is known, bounds and resumes that must not change."""

import pytest
import torch

import pyro_vae
from pyro_vae import DReG, InputError, OptimiserSettings
from pyro_vae.objectives import OBJECTIVES
from tests.conftest import objective_named, tiny_pair
from tests.quick_fit import VALID, fit

# Learning


def linear_set(rows=300, noise=0.4):
    """x = W z + noise: data of a known evidence that the tiny linear model can reach."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    z = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    x = z @ weight.T + noise * torch.randn(rows, 6, generator=generator, dtype=torch.float64)
    covariance = weight @ weight.T + noise**2 * torch.eye(6, dtype=torch.float64)
    truth = torch.distributions.MultivariateNormal(torch.zeros(6).double(), covariance)
    return x.float(), truth.log_prob(x).mean().item()


# With one level the guides are the same network, and train bit for bit alike.
@pytest.mark.parametrize(
    ("name", "guide"), [*((name, "topdown") for name in OBJECTIVES), ("iwae", "bottomup")]
)
def test_training_reaches_the_evidence(name, guide):
    x, evidence = linear_set()
    pair = tiny_pair(guide, levels=1, families=("normal",))

    def log_likelihood():
        return pyro_vae.evaluation.log_likelihood(*pair, x[:100], 200).mean().item()

    # The tiny model has four units for two directions, and 100 of the data are judged: it may end
    # a little above or below the evidence of the program that made the data.
    assert log_likelihood() < evidence - 5
    result = fit(
        pair,
        x,
        valid=x[:100],
        objective=objective_named(name, 5),
        epochs=16,
        batch_size=30,
        optimiser=OptimiserSettings(lr=3e-2),
    )
    assert log_likelihood() > evidence - 1
    assert log_likelihood() < evidence + 1
    assert result.history[-1]["bound"] > result.history[0]["bound"] + 5
    assert result.history[-1]["elbo"] <= result.history[-1]["bound"]


def test_more_particles_tighten_the_reported_bound():
    history = fit(objective=DReG(20)).history
    assert all(row["elbo"] < row["bound"] for row in history)
    assert all(1 <= row["ess"] <= 20 for row in history)


def test_row_zero_judges_the_untrained_pair():
    pair = tiny_pair()
    figures = pyro_vae.evaluation.evaluate(
        *pair, VALID, num_particles=2000, bound_particles=1, khat=False
    )
    row = fit(pair, objective=pyro_vae.IWAE(500)).history[0]
    spread = figures.summary()["elbo"]["standard_error"]
    assert row["elbo"] == pytest.approx(figures.elbo.mean(), abs=0.2 * spread)


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"seed": 7}, "seed"), ({"optimiser": OptimiserSettings(lr=0.5)}, "lr")],
)
def test_a_resume_with_other_seed_or_optimiser_is_refused(tmp_path, changed, name):
    path = tmp_path / "c.pt"
    fit(epochs=1, checkpoint=path)
    with pytest.raises(InputError, match=rf"was trained with {name} = "):
        fit(epochs=2, checkpoint=path, resume=True, **changed)
