"""Starts at which draws of one level would overflow the scales of another: clamped, they train."""

import math

import pytest
import torch

from experiments.combining.combination import Combination
from pyro_vae.errors import TrainingDiverged
from pyro_vae.programs import LocScale, conditionals
from pyro_vae.runs import new_config
from pyro_vae.runs.job import build, fit_pair

SEED = 4  # without the clamp training ends at the second step


def objectives(loss, epochs=40):
    """Of the epochs of a pair of gated layers, bottom-up, with two levels of Laplace units."""
    parts = {"decoder": "gated", "guide": "bottomup", "levels": 2, "family": "laplace"}
    one = Combination(loss=loss, **parts)
    config = new_config(one.settings() | {"seed": SEED, "epochs": epochs})
    fitted = fit_pair(*build(config, one.data), config, one.data)
    return [row["train_objective"] for row in fitted.history[1:]]


@pytest.mark.parametrize("loss", ["elbo", "iwae"])
def test_a_wild_start_trains(loss, monkeypatch):
    found = torch.tensor(objectives(loss))
    assert len(found) == 40
    assert found[-10:].median() > found[:10].median() + 1
    monkeypatch.setattr(conditionals, "LOG_SCALES", (-math.inf, math.inf))
    with pytest.raises(TrainingDiverged, match=r"step 2 .* is not finite"):
        objectives(loss)


@pytest.mark.parametrize("gain", [0.5, 1.0])
def test_scales_are_clamped_where_nobody_trains_and_untouched_elsewhere(gain):
    head = LocScale(2, (2,), 3, gain=gain, network="gated")
    with torch.no_grad():
        head.trunk.layers[0].values.parts[0].weight.copy_(torch.eye(2))
    h = torch.tensor([[0.3, -0.7], [1e4, 2e4], [-1e4, -2e4]])
    scale = head(h).base_dist.scale
    raw = gain * head.log_scale(*head.read(h))
    low, high = (torch.tensor(bound).exp() for bound in conditionals.LOG_SCALES)
    assert torch.equal(scale[0], raw[0].exp())
    assert torch.equal(scale[1:], torch.where(raw[1:] > 0, high, low))
    assert raw[1:].exp().isinf().any()
    assert (raw[1:].exp() == 0).any()
