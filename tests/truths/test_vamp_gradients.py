"""Gradients of a VampPrior, which reach the guide that it shares by two ways."""

import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae.training import Gradients
from pyro_vae.weights.replayed import WORTH_RECORDING, WeightRuns
from tests.statistics import z_score
from tests.vamp import pair, rows

pytestmark = pytest.mark.usefixtures("float64")


def bound(model, guide, x, seed, k=3):
    torch.manual_seed(seed)
    return pyro_vae.bounds.iwae(pyro_vae.log_weights(model, guide, x, k).log_w).sum()


def gradient(model, guide, x, seed, objective):
    for parameter in (*model.parameters(), *guide.parameters()):
        parameter.grad = None
    torch.manual_seed(seed)
    objective.differentiable_loss(model, guide, x).backward()
    named = dict(model.named_parameters(prefix="model")) | dict(guide.named_parameters("guide"))
    return {
        name: torch.zeros_like(p) if p.grad is None else -p.grad.clone()
        for name, p in named.items()
    }


class Detached(nn.Module):
    """The prior as it would be if the guide inside it got no gradient."""

    def __init__(self, prior):
        super().__init__()
        self.prior, self.features = prior, prior.features

    def forward(self):
        mixture = self.prior()
        return type(mixture)(self.prior.logits, mixture.loc.detach(), mixture.scale.detach())


def test_the_gradient_of_the_shared_guide_is_that_of_finite_differences():
    model, guide = pair(data=rows(9), settings="components=4,start=data")
    x, step = rows(), 1e-6
    found = gradient(model, guide, x, 5, pyro_vae.IWAE(3))
    places = {
        "model.prior.inputs": model.prior.inputs,
        "guide.encoders.0.layers.0.parts.0.weight": guide.encoders[0].layers[0].parts[0].weight,
        "guide.conditionals.1.log_scale.parts.0.bias": guide.conditionals[1]
        .log_scale.parts[0]
        .bias,
        "guide.conditionals.0.loc.parts.0.weight": guide.conditionals[0].loc.parts[0].weight,
    }
    model_of_cut = pyro_vae.HierarchicalVAE(
        Detached(model.prior), model.conditionals, model.likelihood
    )
    cut = gradient(model_of_cut, guide, x, 5, pyro_vae.IWAE(3))
    for name, parameter in places.items():
        flat = parameter.data.view(-1)
        differences = torch.zeros_like(flat)
        with torch.no_grad():
            for index in range(min(len(flat), 12)):
                middle = flat[index].item()
                ends = []
                for sign in (1, -1):
                    flat[index] = middle + sign * step
                    ends.append(bound(model, guide, x, 5))
                flat[index] = middle
                differences[index] = (ends[0] - ends[1]) / (2 * step)
        mine = found[name].view(-1)[:12]
        torch.testing.assert_close(mine, differences[:12], rtol=1e-4, atol=1e-6)
        if name in cut and not name.endswith("0.loc.parts.0.weight"):
            # Without the path through the prior the upper level's gradients are others.
            assert (cut[name].view(-1)[:12] - mine).abs().max() > 1e-3, name


@pytest.mark.parametrize("guide_name", ["topdown", "meanfield"])
def test_doubly_reparameterised_gradients_are_unbiased_with_a_shared_guide(guide_name):
    """Against IWAE's: the prior's use of the guide is weighted w, that of the draws w^2."""
    model, guide = pair(guide_name, spread=0.2)
    x, draws = rows(3), 600
    many = x.repeat(40, 1)  # draws side by side

    def draws_of(objective, pair_):
        found = [gradient(*pair_, many, seed, objective) for seed in range(draws // 40)]
        return {name: torch.stack([one[name].flatten() for one in found]) for name in found[0]}

    model_of_cut = pyro_vae.HierarchicalVAE(
        Detached(model.prior), model.conditionals, model.likelihood
    )
    plain = draws_of(pyro_vae.IWAE(4), (model, guide))
    doubly = draws_of(pyro_vae.DReG(4), (model, guide))
    wrong = draws_of(pyro_vae.DReG(4), (model_of_cut, guide))
    shared = [name for name in plain if name.startswith("guide")]

    def worst(one):
        return max(z_score((one[name] - plain[name]), 0) for name in shared)

    assert worst(doubly) < 6
    assert worst(wrong) > 12


@pytest.mark.parametrize("estimator", ["pathwise", "dreg", "stl"])
def test_a_recorded_gradient_is_the_plain_one(estimator):
    objective = pyro_vae.make_objective("iwae", 3, estimator=estimator)
    one, other = pair(), pair()
    x, found = rows(), []
    for program in (one, other):
        gradients = Gradients(objective, *program)
        if program is other:
            gradients.compile(x, compiler=False)
        torch.manual_seed(3)
        gradients(x)
        found.append([p.grad for part in program for p in part.parameters()])
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)
    assert one[0].prior.inputs.grad.abs().min() > 0


def test_two_bounds_give_the_prior_that_of_the_model():
    """PIWAE: pseudo-inputs are the model's, and what the prior makes of the guide with them."""
    model, guide = pair()
    x = rows()
    piwae = gradient(model, guide, x, 2, pyro_vae.make_objective("piwae", 4, inner=2))
    iwae = gradient(model, guide, x, 2, pyro_vae.IWAE(4))
    for name in ("model.prior.inputs", "model.prior.logits"):
        torch.testing.assert_close(piwae[name], iwae[name])
    name = "guide.conditionals.1.loc.parts.0.bias"
    assert (piwae[name] - iwae[name]).abs().max() > 1e-3


def test_a_replayed_evaluation_gives_the_same_weights():
    model, guide = pair()
    x = rows()
    plain = WeightRuns(model, guide, 1)
    replayed = WeightRuns(model, guide, WORTH_RECORDING)
    with torch.no_grad():
        found = []
        for runs in (plain, replayed):
            torch.manual_seed(4)
            found.append([runs(x, 6).log_w for _ in range(5)])
    assert replayed._records[x.shape, 6] is not None
    assert all(map(torch.equal, *found))
