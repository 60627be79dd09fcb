"""What holds for pairs of any shape: tables, bounds, gradients, and errors in one line."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.objectives import OBJECTIVES, check_objective_fits
from pyro_vae.programs import GUIDES
from tests.conftest import objective_named, tiny_pair

FEW = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def pairs(draw):
    """A tiny pair with rows of its own: its levels, guide, pixels and their number are drawn."""
    pixels = draw(st.sampled_from(["standardised", "binary"]))
    num_pixels, rows = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    shape = {"levels": draw(st.integers(1, 3)), "num_pixels": num_pixels, "pixels": pixels}
    pair = tiny_pair(draw(st.sampled_from(sorted(GUIDES))), seed=draw(st.integers(0, 9)), **shape)
    x = torch.randn(rows, num_pixels, generator=torch.Generator().manual_seed(rows))
    return *pair, (x > 0).float() if pixels == "binary" else x


@FEW
@given(pairs(), st.integers(1, 7))
def test_the_table_has_a_weight_for_each_particle_and_datum(drawn, particles):
    model, guide, x = drawn
    found = pyro_vae.log_weights(model, guide, x, particles)
    assert found.log_w.shape == (particles, len(x))
    assert found.log_w.isfinite().all()
    mean, best = found.log_w.mean(0), found.log_w.max(0).values
    bound = torch.logsumexp(found.log_w, 0) - math.log(particles)
    rounding = 1e-4 * found.log_w.abs().max()
    assert (mean <= bound + rounding).all()
    assert (bound <= best + rounding).all()


@FEW
@given(pairs(), st.integers(1, 4), st.integers(0, 99))
def test_a_datum_has_the_weights_that_it_has_alone_in_the_bound_of_its_batch(drawn, k, seed):
    """The bound of a batch is the sum of those of its data, whatever its shape."""
    model, guide, x = drawn
    objective = pyro_vae.IWAE(k)
    torch.manual_seed(seed)
    loss = objective.loss(model, guide, x)
    torch.manual_seed(seed)
    table = pyro_vae.log_weights(model, guide, x, k).log_w
    expected = -(torch.logsumexp(table, 0) - math.log(k)).sum()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-3)


@FEW
@given(pairs(), st.sampled_from(sorted(OBJECTIVES)), st.sampled_from([2, 4]))
def test_an_objective_gives_finite_gradients_or_one_line(drawn, name, particles):
    model, guide, x = drawn
    model.zero_grad()
    try:
        objective = objective_named(name, particles)
        check_objective_fits(objective, guide)
        loss = objective.loss_and_grads(model, guide, x)
    except InputError as error:
        refusal = str(error)
    else:
        refusal = "none"
        assert math.isfinite(float(loss))
        for program in (model, guide):
            for parameter in program.parameters():
                assert parameter.grad is None or parameter.grad.isfinite().all()
    assert refusal
    assert "\n" not in refusal
