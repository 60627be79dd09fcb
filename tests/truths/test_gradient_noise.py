"""Truth 6, as a figure: the signal-to-noise ratio of gradients of model and guide against k."""

import functools
import math

import pyro
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae.evaluation import gradient_signal_to_noise
from pyro_vae.objectives import make_objective
from pyro_vae.weights.handlers import anneal
from tests.conftest import tiny_pair
from tests.linear_gaussian import chi2, oracle
from tests.statistics import (
    assert_mean_close,
    flat,
    gradients,
    slope,
    z_score,
)

pytestmark = pytest.mark.usefixtures("float64")


def test_truth_06_signal_to_noise_against_k():
    """Guide: k^-1/2 under IWAE, k^1/2 under DReG. Model: k^1/2 under both. By either measure."""
    model, _, guide, x = oracle(1)
    assert chi2(model, guide, x) < 1
    x = x.expand(200, -1)  # copies: each gradient is a mean over 200 draws
    sizes = (4, 16, 64)
    powers = {}
    for objective in (pyro_vae.IWAE, pyro_vae.DReG):
        repeats = 60 if objective is pyro_vae.IWAE else 30
        found = [gradient_signal_to_noise(objective(k), model, guide, x, repeats) for k in sizes]
        for part in ("model", "guide"):
            for measure in ("norm", "coordinates"):
                logs = [math.log(getattr(getattr(one, part), measure)) for one in found]
                logs_k = [math.log(k) for k in sizes]
                powers[objective.__name__, part, measure] = slope(logs_k, logs)
    for (objective, part, _), power in powers.items():
        expected = -0.5 if (objective, part) == ("IWAE", "guide") else 0.5
        assert abs(power - expected) < 0.2, powers
    # The upper triangles of L1 and L2 are not used: four coordinates have no ratio.
    assert found[0].guide.num_coordinates == sum(p.numel() for p in guide.parameters()) - 4
    assert found[0].num_repeats == 30


def test_the_ratios_are_those_of_their_definition():
    """Against the table of all gradients, on the same noise, parts of the pair apart."""
    model, _, guide, x = oracle(3, size=0.2)
    objective, repeats = pyro_vae.IWAE(4), 12
    torch.manual_seed(1)
    found = gradient_signal_to_noise(objective, model, guide, x, repeats)
    torch.manual_seed(1)
    losses = (objective(model, guide)(x) for _ in range(repeats))
    parameters = [list(model.parameters()), list(guide.parameters())]
    tables = zip(*([gradients(loss, part) for part in parameters] for loss in losses), strict=True)
    for part, table in zip((found.model, found.guide), map(torch.stack, tables), strict=True):
        mean, variance = table.mean(0), table.var(0)
        signal = mean.square().sum() - variance.sum() / repeats
        assert signal > 0
        assert part.norm == pytest.approx((signal / variance.sum()).sqrt().item(), rel=1e-9)
        varied = variance > 0
        ratio = (mean.abs() / variance.sqrt())[varied].mean().item()
        assert part.coordinates == pytest.approx(ratio, rel=1e-9)
        assert part.num_coordinates == varied.sum()


class KnownGradient(pyro.infer.ELBO):
    """A loss whose gradient is N(signal, 1) in each of the 50 coordinates of the guide."""

    def __init__(self, signal):
        super().__init__()
        self.signal = signal

    def _get_trace(self, model, guide, args, kwargs):
        raise NotImplementedError

    def differentiable_loss(self, model, guide, x):
        noisy = self.signal + torch.randn(50)
        return (guide.weight * noisy).sum() + model.weight.sum()


class Weights(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, x):
        pass


@pytest.mark.parametrize("signal", [0.0, 0.5])
def test_the_norm_has_no_bias_from_its_repeats(signal):
    repeats = 8
    found = [
        gradient_signal_to_noise(KnownGradient(signal), Weights(2), Weights(50), None, repeats)
        for _ in range(200)
    ]
    squares = torch.tensor([one.guide.norm**2 for one in found])
    coordinates = torch.tensor([one.guide.coordinates for one in found])
    if signal == 0:  # half of the time below zero, which is reported as none
        assert 0.3 < (squares == 0).double().mean() < 0.7
        assert squares.max() < 1 / repeats
        # sqrt(2 / (pi R)), times E[1 / sd] of 8 normal draws
        floor = (2 / (math.pi * repeats)) ** 0.5
        assert_mean_close(coordinates, 1.126 * floor)
        assert z_score(coordinates, 0.0) > 8
    else:
        assert_mean_close(squares, signal**2)
        assert z_score(squares, signal**2 + 1 / repeats) > 8
    assert all(one.guide.num_coordinates == 50 for one in found)
    # The model's gradient never varies: it has no ratio.
    assert all(math.isnan(one.model.norm) and one.model.num_coordinates == 0 for one in found)


def test_parameters_in_pyros_store_count_as_those_of_modules():
    model, _, guide, x = oracle(2)

    def run(name, program, x):
        values = {
            key: pyro.param(f"{name}.{key}", value.detach().clone())
            for key, value in program.named_parameters()
        }
        return torch.func.functional_call(program, values, (x,))

    functions = [functools.partial(run, name, p) for name, p in (("m", model), ("g", guide))]
    for objective in (
        pyro_vae.IWAE(3),
        pyro_vae.DReG(3),
        pyro.infer.Trace_ELBO(max_plate_nesting=1),
    ):
        results = []
        for pair in ((model, guide), functions, pyro_vae.for_svi(model, guide)):
            torch.manual_seed(2)
            results.append(gradient_signal_to_noise(objective, *pair, x, 5))
        for other in results[1:]:
            for part in ("model", "guide"):
                a, b = getattr(results[0], part), getattr(other, part)
                assert (b.norm, b.coordinates) == pytest.approx((a.norm, a.coordinates), rel=1e-6)
                assert a.num_coordinates == b.num_coordinates


def test_nothing_is_left_behind():
    """Gradients, parameters and the store stay; what stands around the call counts."""
    model, _, guide, x = oracle(2)
    parameters = [*model.parameters(), *guide.parameters()]
    before = flat([p.detach().clone() for p in parameters])
    model.a.grad = torch.ones(3)
    torch.manual_seed(0)
    plain = gradient_signal_to_noise(pyro_vae.IWAE(3), model, guide, x, 4)
    assert torch.equal(before, flat(p.detach() for p in parameters))
    assert torch.equal(model.a.grad, torch.ones(3))
    assert all(p.grad is None for p in parameters if p is not model.a)
    assert len(pyro.get_param_store()) == 0
    torch.manual_seed(0)
    with anneal({"z2": 0.1}):
        annealed = gradient_signal_to_noise(pyro_vae.IWAE(3), model, guide, x, 4)
    assert annealed.guide.norm != plain.guide.norm


def test_what_has_no_gradient_is_refused():
    model, guide = tiny_pair("bottomup")
    x = torch.randn(3, 6)
    for objective, repeats, message in (
        (pyro_vae.IWAE(2), 1, "num_repeats must be a whole number of at least 2"),
        (make_objective("elbo-analytic", 2), 3, "wrong for the bottom-up"),
        (make_objective("pyro-renyi", 2), 3, "has no differentiable loss"),
    ):
        with pytest.raises(pyro_vae.InputError, match=message):
            gradient_signal_to_noise(objective, model, guide, x, repeats)
    frozen = [part.requires_grad_(False) for part in (model, guide)]
    with pytest.raises(pyro_vae.InputError, match="neither model nor guide has parameters"):
        gradient_signal_to_noise(pyro_vae.IWAE(2), *frozen, x, 3)
