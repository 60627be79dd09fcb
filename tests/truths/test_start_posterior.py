"""The linear model's posterior in closed form, and linear maps through hidden layers."""

import math

import numpy as np
import pytest
import torch

from pyro_vae.errors import InputError
from pyro_vae.programs.networks import MLP
from pyro_vae.programs.start.linear_posterior import linear_posterior
from pyro_vae.programs.start.pairs import CARRIED_BY, capacity, carry_, carrying
from tests.statistics import double_precision


@pytest.mark.parametrize(("noise", "variance"), [(0.4, 2.0), (0.4, 1.0), (1.3, 0.5)])
def test_the_posterior_is_that_of_the_joint_normal(noise, variance):
    """By conditioning the joint covariance of (z, x), which inverts D x D and not r x r."""
    columns = np.random.default_rng(0).normal(size=(7, 4))
    found = linear_posterior(columns, noise, variance)
    cross = variance * columns.T  # Cov(z, x)
    marginal = variance * columns @ columns.T + noise**2 * np.eye(7)
    gain = cross @ np.linalg.inv(marginal)
    np.testing.assert_allclose(found.gain, gain, rtol=1e-10)
    posterior = variance * np.eye(4) - gain @ cross.T
    conditional = 1 / np.diag(np.linalg.inv(posterior))
    np.testing.assert_allclose(found.variance, conditional, rtol=1e-10)
    x = np.random.default_rng(1).normal(size=(3, 7))
    np.testing.assert_allclose(found.locations(x), (gain @ x.T).T)
    # The marginal variances, which one could mistake for them, are others.
    assert np.abs(np.diag(posterior) / found.variance - 1).min() > 0.01
    assert np.abs(linear_posterior(columns, noise, 2 * variance).gain - gain).max() > 0.01


def test_no_diagonal_posterior_has_a_larger_elbo():
    """Of a normal z: location and variance are the best among those tried around them."""
    columns = np.random.default_rng(2).normal(size=(6, 3))
    found, noise = linear_posterior(columns, 0.4, 1.0), 0.4
    x = np.random.default_rng(3).normal(size=6)
    gram = columns.T @ columns

    def elbo(location, variance):
        rest = x - columns @ location
        fit = -(rest @ rest + np.diag(gram) @ variance) / (2 * noise**2)
        return fit - (location @ location + variance.sum()) / 2 + np.log(variance).sum() / 2

    location = found.locations(x)
    best = elbo(location, found.variance)
    for unit in range(3):
        for factor in (0.9, 1.1):
            changed = found.variance.copy()
            changed[unit] *= factor
            assert elbo(location, changed) < best
            moved = location.copy()
            moved[unit] += factor - 1
            assert elbo(moved, found.variance) < best


def network(widths, activation, inputs=5, seed=0):
    torch.manual_seed(seed)
    return MLP(inputs, widths, activation)


@pytest.mark.parametrize("activation", ["softplus", "relu"])
@pytest.mark.parametrize("widths", [(6,), (8,), (9, 6, 7)])
def test_pairs_carry_linear_maps_to_rounding(activation, widths):
    with double_precision():
        trunk = network(widths, activation)
        signals, offsets = torch.randn(3, 5), torch.randn(3)
        readout = carry_(trunk, signals, offsets)
        x = 20 * torch.randn(200, 5)
        wanted = x @ signals.T + offsets
        with torch.no_grad():
            found = trunk(x) @ readout.T
        # torch's softplus leaves out log(1 + exp(-u)) where u > 20: once a layer, over the gain.
        left_out = len(widths) * math.exp(-20) / 3 if activation == "softplus" else 0
        atol = 1e-13 * wanted.abs().max().item() + left_out
        torch.testing.assert_close(found, wanted, rtol=0, atol=atol)
        # Without its minus half a pair is not linear at all.
        halved = readout * (readout > 0)
        assert (trunk(x) @ halved.T - wanted).abs().max() > 1


def test_tanh_carries_up_to_the_stated_error():
    gain = CARRIED_BY[torch.nn.Tanh].gain
    with double_precision():
        trunk = network((4,), "tanh")
        signals = torch.eye(3, 5)
        readout = carry_(trunk, signals)
        x = torch.linspace(-8, 8, 401)[:, None].expand(-1, 5)
        with torch.no_grad():
            error = (trunk(x) @ readout.T - x @ signals.T).abs()
        bound = (gain**2 * x[:, :3].abs() ** 3 / 3) + 1e-12
        assert (error <= bound).all()
        assert (error[x[:, 0].abs() > 4] > 0.3 * bound[x[:, 0].abs() > 4]).all()


def test_units_that_no_signal_takes_are_left_alone():
    trunk = network((8, 8), "softplus")
    before = [layer.parts[0].weight.detach().clone() for layer in trunk.layers]
    readout = carry_(trunk, torch.randn(3, 5))
    for layer, old in zip(trunk.layers, before, strict=True):
        assert torch.equal(layer.parts[0].weight[6:], old[6:])
        assert not torch.equal(layer.parts[0].weight[:6], old[:6])
    assert torch.equal(readout[:, 6:], torch.zeros(3, 2))


def test_without_hidden_layers_the_signals_are_read_themselves():
    signals = torch.randn(3, 5)
    assert torch.equal(carry_(None, signals), signals)
    assert capacity(None) == float("inf")
    with pytest.raises(InputError, match="no place for offsets"):
        carry_(None, signals, torch.ones(3))


def test_how_many_signals_fit():
    assert capacity(network((10, 7, 9), "softplus")) == 3
    assert capacity(network((10, 7, 9), "tanh")) == 7
    with pytest.raises(InputError, match="4 signals want hidden layers of 8 units"):
        carry_(network((10, 7), "relu"), torch.randn(4, 5))


def test_an_activation_that_does_not_carry_is_named():
    with pytest.raises(InputError, match="through softplus, tanh, relu, not Sigmoid"):
        carrying(torch.nn.Sigmoid)


@pytest.mark.parametrize(
    ("columns", "noise", "variance", "match"),
    [
        (np.zeros(3), 0.4, 1.0, "shape"),
        (np.zeros((3, 2)), 0.0, 1.0, "noise"),
        (np.zeros((3, 2)), 0.4, -1.0, "prior_variance"),
    ],
)
def test_a_posterior_of_nothing(columns, noise, variance, match):
    with pytest.raises(InputError, match=match):
        linear_posterior(columns, noise, variance)
