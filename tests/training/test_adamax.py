"""Adamax against the formula written out, and what it does with clipping, skipping and resume."""

import math

import numpy as np
import pyro
import pytest
import torch

import pyro_vae
from pyro_vae import InputError, OptimiserSettings
from pyro_vae.storage import load_checkpoint
from pyro_vae.training import Gradients, optimisation
from pyro_vae.training.optimisation import GradientStep
from pyro_vae.training.recipes import named_recipe
from pyro_vae.training.schedules import Decay, shaped
from tests.conftest import tiny_pair
from tests.training.test_step import NUM_DATA, Weights, farthest, gradients, same, stepped, taken

# The last two are clipped, the fourth lets u fall from beta2's memory alone.
NORMS = [1e-3, 3e-3, 2e-4, 0.0, 8e-3, 5e-2, 4e-1]


def settings(**changed):
    given = {"name": "adamax", "lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-5, "clip_norm": 1e-2}
    return OptimiserSettings(**(given | changed))


@pytest.fixture(params=["numbers", "tensors"])
def kind(request, monkeypatch):
    """Numbers, as on a CPU; or tensors that are never read, as on a GPU."""
    if request.param == "tensors":
        monkeypatch.setattr(optimisation, "number", lambda tensor: tensor)
    return request.param


def adamax_in_numpy(settings, norms, skipped=()):
    """a and b after Adamax with its moments spelt out, in float64; clipped per datum."""
    module, (beta1, beta2) = Weights(), settings.betas
    values = [module.a.detach().double().numpy(), module.b.detach().double().numpy()]
    m, u = ([np.zeros_like(value) for value in values] for _ in range(2))
    t = 0
    for index, norm in enumerate(norms):
        if index in skipped:
            continue
        t += 1
        shrunk = min(1.0, settings.clip_norm / norm) if norm else 1.0
        for i, summed in enumerate(gradients(index, norm)):
            g = shrunk * summed.double().numpy()
            g = g / NUM_DATA if settings.gradient == "mean" else g
            m[i] = beta1 * m[i] + (1 - beta1) * g
            u[i] = np.maximum(beta2 * u[i], np.abs(g) + settings.eps)
            values[i] = values[i] - settings.lr / (1 - beta1**t) * m[i] / u[i]
    return values


VARIANTS = {
    "plain": {},
    "eps": {"eps": 1e-3},
    "sum": {"gradient": "sum"},
    "beta1": {"betas": (0.5, 0.9)},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_step_is_adamax_on_clipped_gradients(kind, name):
    mine, clipped = stepped(settings(**VARIANTS[name]), NORMS, kind)
    assert clipped == [norm > 1e-2 for norm in NORMS]
    assert farthest(mine, adamax_in_numpy(settings(**VARIANTS[name]), NORMS)) < 1e-6
    for other in VARIANTS.keys() - {name}:
        assert farthest(mine, adamax_in_numpy(settings(**VARIANTS[other]), NORMS)) > 1e-3, other
    assert farthest(mine, adamax_in_numpy(settings(clip_norm=1e9), NORMS)) > 1e-3


def test_what_is_skipped_changes_neither_parameters_nor_state(kind):
    """The first step, outliers, and what is not finite."""
    chosen = settings(clip_norm=10.0, skip_norm=100.0, patience=3)
    norms = [500.0, 1.0, math.nan, 400.0, 2.0, 3.0]
    module = Weights()
    step = GradientStep([module], chosen)
    for index, norm in enumerate(norms):
        before = [p.detach().clone() for p in module.parameters()]
        state = str(step.optimiser.state_dict()["state"])
        found = gradients(index, 1.0 if math.isnan(norm) else norm)
        if math.isnan(norm):
            found[0][0] = norm
        _, _, skipped = taken(step, found, torch.tensor(1.0) if kind == "tensors" else 1.0)
        assert skipped == (index in (0, 2, 3))
        assert same([p.detach() for p in module.parameters()], before) == skipped
        if skipped and index:
            assert str(step.optimiser.state_dict()["state"]) == state
    expected = adamax_in_numpy(chosen, norms, skipped=(0, 2, 3))
    for mine, wanted in zip((module.a, module.b), expected, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_adamax_has_no_second_moment_to_start():
    with pytest.raises(InputError, match="adamax has no second moment to start; allowed: 0"):
        settings(second_moment=1.0)
    with pytest.raises(InputError, match="unknown optimiser 'sgd'; allowed: adam, adamax"):
        settings(name="sgd")


# The decay of the rate, step by step


def fit(pair=None, **changed):
    given = {"objective": pyro_vae.IWAE(2), "epochs": 3, "batch_size": 5, "compile": False}
    model, guide = pair or tiny_pair()
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    return pyro_vae.fit(model, guide, x, progress=False, **(given | changed))


def test_every_step_multiplies_the_rate_down_to_the_floor():
    schedule = shaped("decay:0.5:0.1", 1.0)
    assert [schedule(step) for step in range(5)] == [1.0, 0.5, 0.25, 0.125, 0.1]
    assert shaped("decay:0.5", 1.0)(10) == 0.5**10
    paper = named_recipe("srvae").lr_schedule()
    # The floor of Gatopoulos 2020 is reached after log(20) / 1e-6 steps, longer than a run.
    assert paper(2_995_730) > 1e-4 == paper(2_995_732)
    # Three steps an epoch: the row has the rate of its last one, however long training is.
    for epochs in (2, 3):
        small = Decay(2**-8, 0.5, 2**-12)
        rates = [row["lr"] for row in fit(lr_schedule=small, epochs=epochs).history]
        assert rates == [2**-8, 2**-10, 2**-12, 2**-12][: epochs + 1]


@pytest.mark.parametrize(
    "shape",
    ["decay", "decay:0", "decay:1.1", "decay:0.5:2", "decay:0.5:-1", "decay:half", "decay:1:0:0"],
)
def test_a_decay_that_is_none_is_refused(shape):
    with pytest.raises(InputError, match=r"decay:FACTOR or decay:FACTOR:FLOOR"):
        shaped(shape, 1.0)


def test_adamax_and_its_decay_resume_exactly_and_not_as_another_recipe(tmp_path):
    chosen = {"optimiser": settings(clip_norm=1.0), "lr_schedule": Decay(0.05, 0.9, 0.01)}
    path = tmp_path / "cut.pt"
    whole, pair = tiny_pair(), tiny_pair(seed=5)
    expected = fit(whole, **chosen)
    fit(checkpoint=path, max_minutes=1e-9, **chosen)
    assert load_checkpoint(path)["progress"]["step"] == 1
    for changed, match in (
        (
            {"optimiser": settings(name="adam", clip_norm=1.0)},
            "optimiser = adamax, this run has adam",
        ),
        ({"lr_schedule": Decay(0.05, 0.8, 0.01)}, r"lr = 0.05 along decay:0\.9:0\.01"),
    ):
        with pytest.raises(InputError, match=match):
            fit(tiny_pair(), checkpoint=path, resume=True, **(chosen | changed))
    result = fit(pair, checkpoint=path, resume=True, **chosen)
    assert str(result.history) == str(expected.history)
    for one, other in zip(pair, whole, strict=True):
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_a_recorded_step_moves_as_the_plain_one():
    """The gradients of a graph are divided in place, which the next step must not see."""
    plain, recorded = tiny_pair(), tiny_pair()
    x = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    for pair in (plain, recorded):
        gradients = Gradients(pyro_vae.IWAE(2), *pair)
        if pair is recorded:
            gradients.compile(x, compiler=False)
        step = GradientStep(pair, settings(clip_norm=0.1))
        torch.manual_seed(1)
        with pyro.validation_enabled(False):
            for _ in range(3):
                assert step(len(x), gradients(x).value.item()).clipped
    for one, other in zip(plain, recorded, strict=True):
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
