"""One optimiser step: Adam's arithmetic, its variants, and what is skipped."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pyro_vae import InputError, OptimiserSettings
from pyro_vae.training import optimisation
from pyro_vae.training.optimisation import GradientStep

NUM_DATA = 20


class Weights(nn.Module):
    """Parameters of two shapes, and one that never gets a gradient."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.a = nn.Parameter(torch.randn(4, 3, generator=generator))
        self.b = nn.Parameter(torch.randn(5, generator=generator))
        self.unused = nn.Parameter(torch.ones(2))


def gradients(step, norm, num_data=NUM_DATA):
    """Random gradients of a and b, summed over the data, of this norm per datum."""
    generator = torch.Generator().manual_seed(100 + step)
    found = [torch.randn(4, 3, generator=generator), torch.randn(5, generator=generator)]
    size = torch.cat([g.flatten() for g in found]).norm()
    return [g * (norm * num_data / size) for g in found]


def taken(gradient_step, found, loss=1.0, num_data=NUM_DATA):
    """One call; what it says, as plain numbers."""
    for parameter, gradient in zip(gradient_step.parameters, found, strict=False):
        parameter.grad = gradient.clone()
    answer = gradient_step(num_data, loss)
    assert all(p.grad is None for p in gradient_step.parameters)
    return float(answer.norm), bool(answer.clipped), bool(answer.skipped)


def values(module):
    return [p.detach().clone() for p in module.parameters()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture(params=["numbers", "tensors"])
def kind(request, monkeypatch):
    """Numbers, as on a CPU; or tensors that are never read, as on a GPU."""
    if request.param == "tensors":
        monkeypatch.setattr(optimisation, "number", lambda tensor: tensor)
    return request.param


def loss_of(kind, value):
    return torch.tensor(value) if kind == "tensors" else value


# Adam's arithmetic

NORMS = [1.0, 3.0, 50.0, 0.2, 12.0, 10.0, 9.0, 400.0, 1e-4, 0.0]


def by_hand(settings, norms, skipped=()):
    """Parameters after mean gradients, clipped explicitly, under torch's plain Adam."""
    module = Weights()
    adam = torch.optim.Adam(
        module.parameters(), lr=settings.lr, betas=settings.betas, eps=settings.eps
    )
    for index, norm in enumerate(norms):
        if index in skipped:
            continue
        for parameter, gradient in zip((module.a, module.b), gradients(index, norm), strict=True):
            parameter.grad = gradient / NUM_DATA
        torch.nn.utils.clip_grad_norm_(module.parameters(), settings.clip_norm)
        adam.step()
    return values(module)


@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_the_step_is_adam_on_clipped_mean_gradients(kind, eps):
    settings = OptimiserSettings(lr=0.05, betas=(0.8, 0.95), eps=eps, clip_norm=10.0)
    module = Weights()
    step = GradientStep([module], settings)
    for index, norm in enumerate(NORMS):
        found, clipped, skipped = taken(step, gradients(index, norm), loss_of(kind, 1.0))
        assert found == pytest.approx(norm, rel=1e-5)
        assert not skipped
        if norm != 10.0:
            assert clipped == (norm > 10.0)
    for mine, expected in zip(values(module), by_hand(settings, NORMS), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-6)
    # Without clipping, or with gradients of the sum, the parameters would be elsewhere.
    unclipped = OptimiserSettings(lr=0.05, betas=(0.8, 0.95), eps=eps, clip_norm=1e9)
    assert (values(module)[0] - by_hand(unclipped, NORMS)[0]).abs().max() > 1e-3
    assert same(values(module)[2:], [torch.ones(2)])  # a parameter without gradient stays


# Adam's variants, against the formula written out

VARIANTS = {
    "plain": {},
    "beta1 0.99": {"betas": (0.99, 0.999)},
    "eps 1e-4": {"eps": 1e-4},
    "sum": {"gradient": "sum"},
    "second moment 1": {"second_moment": 1.0},
    "sum, eps 1e-4": {"gradient": "sum", "eps": 1e-4},
    "as Burda's code": {
        "gradient": "sum",
        "eps": 1e-4,
        "second_moment": 1.0,
        "betas": (0.99, 0.999),
    },
}


# Small enough for eps = 1e-4 to count; one of them is clipped.
SMALL_NORMS = [1e-3, 3e-3, 5e-2, 2e-4, 8e-3, 0.0, 1e-3, 2e-3]


def variant(name):
    return OptimiserSettings(**{"lr": 0.05, "clip_norm": 1e-2, **VARIANTS[name]})


def adam_in_numpy(settings, norms):
    """a and b after Adam with its moments spelt out, in float64; clipped per datum."""
    module, (beta1, beta2) = Weights(), settings.betas
    values_ = [module.a.detach().double().numpy(), module.b.detach().double().numpy()]
    m = [np.zeros_like(value) for value in values_]
    v = [np.full_like(value, settings.second_moment) for value in values_]
    for t, norm in enumerate(norms, start=1):
        shrunk = min(1.0, settings.clip_norm / norm) if norm else 1.0
        for i, summed in enumerate(gradients(t - 1, norm)):
            g = shrunk * summed.double().numpy()
            g = g / NUM_DATA if settings.gradient == "mean" else g
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g**2
            m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
            values_[i] = values_[i] - settings.lr * m_hat / (np.sqrt(v_hat) + settings.eps)
    return values_


def stepped(settings, norms, kind):
    """a, b and the unused one, after the library's steps in float64; and which were clipped."""
    module = Weights().double()
    step = GradientStep([module], settings)
    clipped = []
    for index, norm in enumerate(norms):
        found = [gradient.double() for gradient in gradients(index, norm)]
        found_norm, was_clipped, _ = taken(step, found, loss_of(kind, 1.0))
        assert found_norm == pytest.approx(norm, rel=1e-5)  # per datum, whatever Adam sees
        clipped.append(was_clipped)
    return [parameter.numpy() for parameter in values(module)], clipped


def farthest(some, others):
    """The largest distance between two lists, of the largest way that ``some`` have come."""
    start = [parameter.numpy() for parameter in values(Weights().double())]

    def largest(others):
        return max(np.abs(a - b).max() for a, b in zip(some, others, strict=False))

    return largest(others) / largest(start)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_adam_as_written_out(kind, name):
    mine, clipped = stepped(variant(name), SMALL_NORMS, kind)
    assert clipped == [norm > 1e-2 for norm in SMALL_NORMS]
    assert farthest(mine, adam_in_numpy(variant(name), SMALL_NORMS)) < 1e-6
    assert (mine[2] == 1).all()
    for other in VARIANTS.keys() - {name}:
        off = farthest(mine, adam_in_numpy(variant(other), SMALL_NORMS))
        # Where eps is next to nothing, Adam does not see the size of its gradients.
        assert off < 1e-3 if {name, other} == {"plain", "sum"} else off > 0.01, other


def test_sum_and_mean_differ_through_eps_and_second_moment_alone(kind):
    def off(**settings):
        found = [
            stepped(OptimiserSettings(lr=0.05, gradient=gradient, **settings), SMALL_NORMS, kind)
            for gradient in ("mean", "sum")
        ]
        return farthest(found[0][0], found[1][0])

    assert off(eps=1e-15) < 1e-6
    assert off(eps=1e-4) > 0.1
    assert off(eps=1e-15, second_moment=1.0) > 0.1


def test_a_second_moment_of_one_starts_slowly():
    """The first step is lr g / sqrt(v / (1 - beta2)), v nearly 1, where Adam's is lr."""
    settings = OptimiserSettings(lr=0.05, second_moment=1.0, eps=1e-15)
    (a, _, _), _ = stepped(settings, [1e-3], "numbers")
    g = gradients(0, 1e-3)[0].double() / NUM_DATA
    first = 0.05 * g / ((0.999 + 0.001 * g**2) / 0.001).sqrt()
    moved = Weights().a.detach().double() - torch.from_numpy(a)
    torch.testing.assert_close(moved, first, rtol=1e-5, atol=1e-14)
    assert first.abs().max() < 1e-5


@pytest.mark.parametrize("gradient", ["mean", "sum"])
def test_outliers_are_judged_per_datum(kind, gradient):
    settings = OptimiserSettings(clip_norm=10.0, skip_norm=100.0, gradient=gradient)
    step = GradientStep([Weights()], settings)
    for norm in (1.0, 9.0, 50.0, 99.0, 101.0):
        _, clipped, skipped = taken(step, gradients(0, norm), loss_of(kind, 1.0))
        assert (clipped, skipped) == (10 < norm < 100, norm > 100)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"gradient": "median"}, "unknown gradient 'median'; allowed: mean, sum"),
        ({"second_moment": -1.0}, "second_moment must be finite and at least 0, got -1.0"),
        ({"second_moment": math.nan}, "second_moment must be finite"),
        ({"second_moment": math.inf}, "second_moment must be finite"),
    ],
)
def test_variants_that_there_are_not_are_refused(settings, match):
    with pytest.raises(InputError, match=match):
        OptimiserSettings(**settings)


# Steps that are skipped


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_outliers_are_skipped_until_patience_ends(kind, patience):
    settings = OptimiserSettings(lr=0.05, clip_norm=10.0, skip_norm=100.0, patience=patience)
    norms = [1.0, 500.0, 1.0, 500.0, 600.0, 700.0, 800.0, 900.0, 2.0, 500.0]
    in_a_row = [0, 1, 0, 1, 2, 3, 4, 5, 0, 1]
    expected = [0 < count <= patience for count in in_a_row]
    module = Weights()
    step = GradientStep([module], settings)
    for index, norm in enumerate(norms):
        before, state = values(module), str(step.optimiser.state_dict()["state"])
        _, clipped, skipped = taken(step, gradients(index, norm), loss_of(kind, 1.0))
        assert skipped == expected[index]
        assert clipped == (norm > 10 and not skipped)
        assert int(step.large_in_a_row) == in_a_row[index]
        if skipped:
            assert same(values(module), before)
            assert str(step.optimiser.state_dict()["state"]) == state
        else:
            assert int(step.skipped_in_a_row) == 0
            assert not same(values(module), before)
    skipped = [index for index, flag in enumerate(expected) if flag]
    for mine, wanted in zip(values(module), by_hand(settings, norms, skipped), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient", "both"])
def test_what_is_not_finite_changes_nothing_and_is_counted(kind, bad, where):
    module = Weights()
    step = GradientStep([module], OptimiserSettings(lr=0.05, patience=2))
    taken(step, gradients(0, 1.0), loss_of(kind, 1.0))
    for count in range(1, 6):  # patience does not let them through
        before, state = values(module), str(step.optimiser.state_dict()["state"])
        found = gradients(1, 1.0)
        if where != "loss":
            found[1][2] = bad
        loss = 1.0 if where == "gradient" else bad
        _, clipped, skipped = taken(step, found, loss_of(kind, loss))
        assert skipped
        assert not clipped
        assert int(step.skipped_in_a_row) == count
        assert same(values(module), before)
        assert str(step.optimiser.state_dict()["state"]) == state
    _, _, skipped = taken(step, gradients(2, 1.0), loss_of(kind, 1.0))
    assert not skipped
    assert int(step.skipped_in_a_row) == int(step.large_in_a_row) == 0
    for mine in values(module):
        assert mine.isfinite().all()
    assert not same(values(module), before)


def test_tensors_go_through_the_same_arithmetic_as_numbers(monkeypatch):
    settings = OptimiserSettings(lr=0.05, clip_norm=10.0, skip_norm=100.0, patience=2)
    norms = [1.0, 50.0, 500.0, math.nan, 1.0, 500.0, 500.0, 500.0, 500.0, math.inf, 3.0]
    found = {}
    for tensors in (False, True):
        if tensors:
            monkeypatch.setattr(optimisation, "number", lambda tensor: tensor)
        module = Weights()
        step = GradientStep([module], settings)
        books = []
        for index, norm in enumerate(norms):
            loss = torch.tensor(1.0) if tensors else 1.0
            answer = taken(step, gradients(index, norm), loss)
            counts = int(step.large_in_a_row), int(step.skipped_in_a_row)
            books.append((repr(round(answer[0], 3)), *answer[1:], *counts))
        assert torch.is_tensor(step.skipped_in_a_row) == tensors
        state = step.state_dict()
        assert {type(state[name]) for name in ("large_in_a_row", "skipped_in_a_row")} == {int}
        found[tensors] = books, values(module)
    assert found[True][0] == found[False][0]
    assert [book[2] for book in found[True][0]].count(True) == 5
    for one, other in zip(found[True][1], found[False][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["plain", "as Burda's code"])
def test_a_saved_step_goes_on_as_it_was(kind, name):
    settings = OptimiserSettings(lr=0.05, skip_norm=100.0, patience=3, **VARIANTS[name])
    norms = [1.0, 500.0, 500.0, 500.0, 500.0, 2.0]
    whole, broken = Weights(), Weights()
    step, other = GradientStep([whole], settings), GradientStep([broken], settings)
    for index, norm in enumerate(norms):
        if index == 3:
            state = other.state_dict()
            other = GradientStep([broken], settings)
            other.load_state_dict(state)
        first = taken(step, gradients(index, norm), loss_of(kind, 1.0))
        second = taken(other, gradients(index, norm), loss_of(kind, 1.0))
        assert first == second
    assert same(values(whole), values(broken))


def test_nothing_to_train_is_refused():
    module = Weights().requires_grad_(False)
    with pytest.raises(InputError, match="no parameter to train"):
        GradientStep([module], OptimiserSettings())
