"""Truth 21, and training to a known optimum: exact resume, and SVI on the oracle."""

import math
import os
import signal

import pyro
import pytest
import torch

import pyro_vae
from pyro_vae.storage import load_checkpoint
from pyro_vae.training.recipes import named_recipe
from tests.linear_gaussian import elbo, oracle, perturbed

EPOCHS, ROWS, BATCH = 4, 22, 5  # five steps an epoch, the last on two rows

pytestmark = pytest.mark.usefixtures("float64")


def pair(seed):
    """A small Bernoulli pair of two levels."""
    arch = pyro_vae.Architecture(
        units=(3, 2),
        families=("normal", "normal"),
        encoders=((4,), (3,)),
        feedback=((3,),),
        priors=((3,),),
        decoder=(4,),
        pixels="binary",
        activation="tanh",
    )
    torch.manual_seed(seed)
    return pyro_vae.build_model(arch, 6), pyro_vae.build_guide("topdown", arch, 6)


def train(checkpoint, modules=None, *, epochs=EPOCHS, seed=7, **settings):
    """Returns the modules and the result of a short run on random pixels."""
    model, guide = modules or pair(seed=0)
    generator = torch.Generator().manual_seed(0)
    data = torch.rand(ROWS, 6, generator=generator, dtype=torch.float64)
    settings = {"binarise": "access", "objective": pyro_vae.DReG(3)} | settings
    if settings["binarise"] is None:
        data = data.round()
    result = pyro_vae.fit(
        model,
        guide,
        data,
        valid=data[:4].round(),
        epochs=epochs,
        batch_size=BATCH,
        seed=seed,
        checkpoint=checkpoint,
        progress=False,
        compile=False,
        **settings,
    )
    return model, guide, result


def identical(a, b):
    """Whether two nested tables hold the same numbers, bit for bit (NaN equals NaN)."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    if torch.is_tensor(a):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


def interrupt_at(guide, call):
    """Send this process Ctrl-C during the given forward pass of the guide in training."""
    seen = {"calls": 0}

    def count(module, inputs, output):
        if torch.is_grad_enabled():
            seen["calls"] += 1
            if seen["calls"] == call:
                os.kill(os.getpid(), signal.SIGINT)

    return guide.register_forward_hook(count)


# What training is resumed with beside its defaults; Burda's learning rates fall within epochs here.
BURDA = named_recipe("burda-code")
RECIPES = {
    "constant": {},
    "burda": {"optimiser": BURDA.optimiser, "lr_schedule": BURDA.lr_schedule(EPOCHS)},
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("binarise", ["access", "epoch", None])
@pytest.mark.parametrize("objective", [pyro_vae.IWAE(3), pyro_vae.make_objective("renyi", 3)])
def test_truth_21_resume_in_mid_epoch_is_exact(tmp_path, binarise, objective, recipe):
    """Parameters, Adam's state, generators and history after an interruption, with annealing."""
    settings = {"binarise": binarise, "objective": objective, **RECIPES[recipe]}
    model, guide, whole = train(tmp_path / "whole.pt", **settings)

    cut_model, cut_guide = pair(seed=0)
    hook = interrupt_at(cut_guide, 8)
    *_, part = train(tmp_path / "cut.pt", (cut_model, cut_guide), **settings)
    hook.remove()
    assert part.stopped == "interrupted"
    progress = load_checkpoint(tmp_path / "cut.pt")["progress"]
    assert (progress["epoch"], progress["step"]) == (1, 8)
    assert 0 < progress["batch"] < 5

    torch.rand(3)  # the caller's own generator plays no part
    resumed_model, resumed_guide, rest = train(
        tmp_path / "cut.pt", pair(seed=99), resume=True, **settings
    )
    assert rest.stopped == "finished"
    assert identical(rest.history, whole.history)
    assert len(rest.history) == EPOCHS + 1
    assert identical(model.state_dict(), resumed_model.state_dict())
    assert identical(guide.state_dict(), resumed_guide.state_dict())
    contents = [load_checkpoint(tmp_path / name) for name in ("whole.pt", "cut.pt")]
    assert identical(*contents)
    adam = contents[0]["optimiser"]["adam"]
    assert adam["state"][0]["step"] == EPOCHS * 5
    assert adam["param_groups"][0]["lr"] == (1e-3 if recipe == "constant" else 1e-4)
    assert (adam["state"][0]["exp_avg_sq"].mean() > 0.9) == (recipe == "burda")  # it began at one
    assert not identical(model.state_dict(), cut_model.state_dict())


def test_truth_21_two_halves_are_the_whole(tmp_path):
    """2n steps in one call, and n, save, load, n; another seed or a fresh Adam is another run."""
    settings = {"annealing": {}}  # annealing depends on the epochs asked for
    model, _, whole = train(tmp_path / "whole.pt", **settings)
    half_model, half_guide, _ = train(tmp_path / "half.pt", epochs=EPOCHS // 2, **settings)
    *_, rest = train(tmp_path / "half.pt", pair(seed=99), resume=True, **settings)
    assert identical(rest.history, whole.history)
    contents = [load_checkpoint(tmp_path / name) for name in ("whole.pt", "half.pt")]
    assert identical(*contents)

    other, *_ = train(tmp_path / "other.pt", seed=8, modules=pair(seed=0), **settings)
    assert not identical(other.state_dict(), model.state_dict())
    warm, *_ = train(tmp_path / "warm.pt", (half_model, half_guide), epochs=2, **settings)
    assert not identical(warm.state_dict(), model.state_dict())


def test_truth_21_training_leaves_the_callers_generator_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    modules = pair(seed=0)
    torch.manual_seed(5)
    train(tmp_path / "run.pt", modules, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def run_svi(model, guide, x, objective, steps=600):
    """Plain pyro.infer.SVI with a falling learning rate."""
    adam = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": 0.99}
    schedule = pyro.optim.ExponentialLR(adam)
    svi = pyro.infer.SVI(*pyro_vae.for_svi(model, guide), schedule, objective)
    for _ in range(steps):
        svi.step(x)
        schedule.step()


@pytest.mark.parametrize("objective", [pyro_vae.IWAE(5), pyro_vae.DReG(5)])
def test_svi_trains_the_guide_to_the_posterior(objective):
    """The exact ELBO reaches log p(x), from a start far outside the tolerance."""
    model, best, _, x = oracle(20)
    model.requires_grad_(False).train(False)
    guide = perturbed(best, 0.2)
    evidence, tolerance = model.log_evidence(x).mean(), 0.05
    assert evidence - elbo(model, guide, x).mean() > 20 * tolerance
    run_svi(model, guide, x, objective)
    assert evidence - elbo(model, guide, x).mean() < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("objective", [pyro_vae.IWAE(5), pyro_vae.DReG(5)])
def test_svi_trains_both_to_the_optimum(objective):
    """The pair reaches the likelihood of the best Gaussian, the most that any such model has."""
    model, best, _, _ = oracle(1)
    x = model.sample_x(60)
    fitted = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T, correction=0))
    optimum, tolerance = fitted.log_prob(x).mean(), 0.05
    model, guide = perturbed(model, 0.2), perturbed(best, 0.2)
    assert optimum - model.log_evidence(x).mean() > 8 * tolerance
    assert optimum - elbo(model, guide, x).mean() > 50 * tolerance
    run_svi(model, guide, x, objective)
    assert model.log_evidence(x).mean() < optimum + 1e-9
    assert optimum - elbo(model, guide, x).mean() < tolerance
