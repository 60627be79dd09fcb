"""What drawing costs: medians by a clock that counts images, and learnt numbers counted by hand."""

import pytest
import torch
from torch import nn

from pyro_vae import InputError
from pyro_vae.evaluation import (
    drawing_cost,
    drawing_seconds,
    generation_cost,
    num_parameters,
)
from pyro_vae.programs import PairConfig


def test_seconds_are_the_median_of_draws_of_so_many_images(monkeypatch):
    """A draw takes a second an image, and the third of each number ten times as long."""
    now, drawn = [0.0], []

    def slow(model, number):
        drawn.append(number)
        now[0] += number * (10 if drawn.count(number) == 3 else 1)
        torch.rand(1)
        return torch.zeros(number, 2), {}

    monkeypatch.setattr(drawing_cost, "simulate", slow)
    monkeypatch.setattr(drawing_cost.time, "perf_counter", lambda: now[0])
    state = torch.get_rng_state()
    assert drawing_seconds(None, (3, 7), repeats=5) == {3: 3.0, 7: 7.0}
    assert drawn == [1, *[3] * 5, *[7] * 5]  # the first one prepares
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(InputError, match="repeats"):
        drawing_seconds(None, repeats=0)


def test_numbers_that_are_shared_count_once():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    assert num_parameters(first, second) == 3 * 4 + 4 + 4 * 2 + 2
    second.bias = first.bias
    assert num_parameters(first, second) == 3 * 4 + 4 + 4 * 2
    assert num_parameters(first) == 16


def test_the_cost_of_a_pair_says_all_of_it():
    model, guide = PairConfig(model="planar", guide="bottomup", hidden=("5",)).build(9)
    cost = generation_cost(model, guide, repeats=1)
    assert (cost.model, cost.guide) == (2 * 5 + 5 + 5 * 9 + 9, 9 * 5 + 5 + 2 * (5 * 2 + 2))
    assert cost.both == cost.model + cost.guide
    assert list(cost.seconds) == [1, 100]
    learnt, drawing = cost.lines()
    assert learnt == f"parameters: {cost.both} (model {cost.model}, guide {cost.guide})"
    assert drawing.startswith("drawing: 1 image 0.")
    assert drawing.endswith("(median of 1, on cpu)")
