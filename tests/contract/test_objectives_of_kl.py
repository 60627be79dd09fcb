"""Objectives that weigh the KL: capacity, free bits, and closed forms where they are right."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.objectives import (
    ELBO,
    BetaELBO,
    CapacityELBO,
    FreeBitsELBO,
)
from pyro_vae.training import Gradients
from pyro_vae.training.schedules import LinearWarmUp
from pyro_vae.weights.log_weights import run_pair
from tests.conftest import tiny_pair
from tests.linear_gaussian import oracle
from tests.objectives import K, on_same_noise
from tests.statistics import flat, gradients

pytestmark = pytest.mark.usefixtures("float64")


def kl_and_reconstruction(model, guide, x):
    """The two terms as scalars with gradients, on the usual noise."""
    torch.manual_seed(4)
    terms = pyro_vae.log_weights(model, guide, x, K)
    kl = {name: ratio.mean() for name, ratio in terms.log_ratios.items()}
    return kl, terms.log_likelihood.mean(0).sum()


def test_truth_20_the_gradient_flips_at_the_capacity():
    model, _, guide, x = oracle(5, size=0.2)
    parameters = [*model.parameters(), *guide.parameters()]
    kl, reconstruction = kl_and_reconstruction(model, guide, x)
    total = sum(kl.values())
    pull = gradients(total, parameters)
    base = gradients(-reconstruction, parameters)
    for capacity, sign in ((total.item() - 0.5, 1), (total.item() + 0.5, -1)):
        for gamma in (1.0, 7.0):
            objective = CapacityELBO(capacity, gamma, K)
            loss = on_same_noise(objective, model, guide, x)
            expected = -reconstruction + len(x) * gamma * (total - capacity).abs()
            assert abs(loss - expected) < 1e-11 * abs(expected)
            found = gradients(loss, parameters)
            torch.testing.assert_close(found, base + sign * gamma * len(x) * pull)
    assert pull.abs().max() > 0.1


def test_the_capacity_follows_its_schedule_in_training():
    objective = CapacityELBO(LinearWarmUp(0.0, 8.0, 0.5), 1.0, 2)
    assert objective.scheduled
    assert not objective.compilable
    seen = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        objective.at(progress)
        seen.append(objective.capacity)
    assert seen == [0.0, 4.0, 8.0, 8.0]
    assert CapacityELBO(3.0).compilable


def test_truth_20_training_reaches_the_capacity():
    """KL ends at C, far from where the ELBO leaves it."""
    x = torch.randn(200, 6) @ torch.randn(6, 6)
    ends = {}
    for name, objective in (("elbo", ELBO(4)), ("capacity", CapacityELBO(2.0, 50.0, 4))):
        pair = [program.double() for program in tiny_pair(levels=1, families=("normal",))]
        pyro_vae.fit(
            *pair,
            x,
            objective=objective,
            epochs=60,
            batch_size=50,
            progress=False,
            optimiser=pyro_vae.OptimiserSettings(lr=1e-2),
        )
        ends[name] = pyro_vae.evaluation.evaluate(*pair, x, num_particles=50, khat=False)
    assert abs(ends["capacity"].kl["z1"].mean() - 2.0) < 0.3
    assert ends["elbo"].kl["z1"].mean() > 3.5


class Independents(nn.Module):
    """A pair whose two levels have four and two independent units; the data have three columns."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(4, 3))
        self.scales = nn.ParameterDict({n: torch.randn(d).exp() for n, d in (("z1", 4), ("z2", 2))})
        self.loc = nn.ParameterDict({n: torch.randn(d) for n, d in (("z1", 4), ("z2", 2))})

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z1 @ self.W, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            for name in ("z2", "z1"):
                q = dist.Normal(self.loc[name], self.scales[name].abs()).to_event(1)
                pyro.sample(name, q)

    def kl(self, name):
        """Closed form, per unit."""
        scale = self.scales[name].abs()
        return 0.5 * (scale.square() + self.loc[name].square() - 1) - scale.log()


@pytest.mark.parametrize("groups", ["level", "unit", 2])
def test_truth_20_a_group_below_lambda_has_no_kl_gradient(groups):
    pair, x = Independents(), torch.randn(5, 3)
    kl = {name: pair.kl(name) for name in ("z1", "z2")}
    parts = {
        "level": {name: value.sum().reshape(1) for name, value in kl.items()},
        "unit": kl,
        2: {name: value.reshape(2, -1).sum(1) for name, value in kl.items()},
    }[groups]
    everything = torch.cat(list(parts.values())).detach().sort().values
    free = (everything[len(everything) // 2 - 1] + everything[len(everything) // 2]).item() / 2
    if groups == "level":
        free = everything.mean().item()

    def objective(bits):
        return FreeBitsELBO(bits, groups, K, estimator="analytic")

    own = list(pair.loc.values()) + list(pair.scales.values())
    loss = on_same_noise(objective(free), pair.model, pair.guide, x)
    nothing = on_same_noise(objective(1e6), pair.model, pair.guide, x)  # all groups are free
    only_kl = flat(torch.autograd.grad(loss, own)) - flat(torch.autograd.grad(nothing, own))
    expected = len(x) * sum(
        group for part in parts.values() for group in part if group.item() > free
    )
    found = gradients(expected, own)
    torch.testing.assert_close(only_kl, found, rtol=1e-9, atol=1e-9)
    assert found.abs().max() > 0.1
    assert (found == 0).any()  # some units are free, and get none
    # Without free bits the loss is the ELBO's.
    plain = on_same_noise(ELBO(K, estimator="analytic"), pair.model, pair.guide, x)
    torch.testing.assert_close(on_same_noise(objective(0.0), pair.model, pair.guide, x), plain)


@pytest.mark.parametrize("groups", ["level", "unit"])
def test_free_bits_take_monte_carlo_terms_where_the_closed_form_is_wrong(groups):
    model, guide = (program.double() for program in tiny_pair("bottomup"))
    x = torch.randn(7, 6)
    torch.manual_seed(4)
    terms = run_pair(model, guide, (x,), {}, K, per_unit=True)
    kl = [ratio.mean((0, 1)) for ratio in terms.unit_log_ratios.values()]
    if groups == "level":
        kl = [units.sum().reshape(1) for units in kl]
    kl = torch.cat(kl)
    free = kl.median().item() + 0.01
    for bits, penalty in ((0.0, kl.clamp(min=0)), (free, kl.clamp(min=free))):
        expected = -len(x) * (terms.log_likelihood.mean() - penalty.sum())
        loss = on_same_noise(FreeBitsELBO(bits, groups, K), model, guide, x)
        torch.testing.assert_close(loss, expected)
    assert (kl < free).any()
    assert (kl > free).any()


def test_the_closed_form_is_refused_wherever_it_is_wrong():
    """Through the loss module and for guides that are not ours as well."""
    model, guide = tiny_pair("bottomup")
    x = torch.randn(7, 6)
    for objective in (
        ELBO(3, estimator="analytic"),
        BetaELBO(2.0, 3, estimator="analytic"),
        CapacityELBO(1.0, 1.0, 3, estimator="analytic"),
        FreeBitsELBO(1.0, estimator="analytic"),
    ):
        with pytest.raises(InputError, match="bottom-up"):
            Gradients(objective, model, guide)
        with pytest.raises(InputError, match="closed form are wrong for BottomUpGuide"):
            objective(model, guide)(x)
        with pytest.raises(InputError, match="closed form are wrong for BottomUpGuide"):
            objective.loss(model, guide, x)

    class Upward(nn.Module):
        def __init__(self, **told):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(4))
            vars(self).update(told)

        def forward(self, x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z1", dist.Normal(self.loc, 1.0).to_event(1))
                pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    pair, x = Independents(), torch.randn(5, 3)
    with pytest.raises(InputError, match="wrong for Upward, which draws z1, z2 in this order"):
        ELBO(3, estimator="analytic")(pair.model, Upward())(x)
    # Its levels are independent: told so, it is right.
    assert torch.isfinite(ELBO(3, estimator="analytic")(pair.model, Upward(analytic_kl=True))(x))
