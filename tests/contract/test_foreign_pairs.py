"""Models and guides that this library did not write, and this library's pairs under plain SVI."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam, pyro_method
from torch import nn

import pyro_vae
from pyro_vae import bounds
from tests.conftest import tiny_pair

OBJECTIVES = [pyro_vae.IWAE, pyro_vae.DReG]
# Two pixels around (3, -1) with spread 1.5 in each: far from what the untrained models expect.
X = torch.tensor([3.0, -1.0]) + 1.5 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0))


class ForeignModel(PyroModule):
    """z ~ N(0, I), x ~ N(z + shift, scale): the evidence is N(shift, 1 + scale^2)."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2))
        self.scale = PyroParam(torch.ones(2), constraints.positive)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z + self.shift, self.scale).to_event(1), obs=x)


class ForeignGuide(PyroModule):
    def __init__(self):
        super().__init__()
        self.encoder = PyroModule[nn.Linear](2, 2)
        self.scale = PyroParam(torch.ones(2), constraints.positive)

    @pyro_method
    def draw(self, x):
        pyro.sample("z", dist.Normal(self.encoder(x), self.scale).to_event(1))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            self.draw(x)


def best_bound():
    """Mean evidence of X under the best model of this family, in nats per datum."""
    fitted = torch.distributions.Normal(X.mean(0), X.std(0, unbiased=False))
    return fitted.log_prob(X).sum(-1).mean().item()


def evidence(shift, scale):
    spread = (1 + scale**2).sqrt()
    return torch.distributions.Normal(shift, spread).log_prob(X).sum(-1).mean().item()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pyro_modules_train_with_a_torch_optimiser(objective):
    model, guide = ForeignModel(), ForeignGuide()
    before = copy.deepcopy([dict(model.named_parameters()), dict(guide.named_parameters())])
    assert evidence(model.shift, model.scale) < best_bound() - 1.5
    loss_fn = objective(num_particles=5)(model, guide)
    adam = torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=0.1)
    for _ in range(130):
        adam.zero_grad()
        loss_fn(X).backward()
        adam.step()
    for old, program in zip(before, (model, guide), strict=True):
        for name, parameter in program.named_parameters():
            assert (parameter - old[name]).abs().max() > 1e-2, name
    assert evidence(model.shift, model.scale) > best_bound() - 0.1


def plain_model(x):
    shift = pyro.param("shift", torch.zeros(2))
    scale = pyro.param("noise", torch.ones(2), constraint=constraints.positive)
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z + shift, scale).to_event(1), obs=x)


def plain_guide(x):
    weight = pyro.param("weight", 0.1 * torch.eye(2))
    bias = pyro.param("bias", torch.zeros(2))
    scale = pyro.param("spread", torch.ones(2), constraint=constraints.positive)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x @ weight + bias, scale).to_event(1))


def guide_with_pyro_module():
    encoder = nn.Linear(2, 2)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(encoder(x), 0.7).to_event(1))

    return guide


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("make_guide", [lambda: plain_guide, guide_with_pyro_module])
def test_functions_with_params_train_under_svi(objective, make_guide):
    guide = make_guide()
    svi = pyro.infer.SVI(
        plain_model, guide, pyro.optim.Adam({"lr": 0.1}), loss=objective(num_particles=5)
    )
    svi.step(X)
    store = pyro.get_param_store()
    before = {name: value.detach().clone() for name, value in store.items()}
    assert evidence(before["shift"], before["noise"]) < best_bound() - 1.5
    for _ in range(130):
        svi.step(X)
    for name, value in store.items():
        assert (value - before[name]).abs().max() > 1e-2, name
    assert evidence(store["shift"], store["noise"]) > best_bound() - 0.1


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("make_guide", [lambda: plain_guide, guide_with_pyro_module])
def test_functions_with_params_train_with_a_torch_optimiser(objective, make_guide):
    guide = make_guide()
    loss_fn = objective(num_particles=5)(plain_model, guide)
    loss_fn(X)  # fills the parameter store
    raw = [value for _, value in pyro.get_param_store().named_parameters()]
    assert len(raw) >= 4
    adam = torch.optim.Adam(raw, lr=0.1)
    for _ in range(130):
        adam.zero_grad()
        loss_fn(X).backward()
        assert all(value.grad.abs().max() > 0 for value in raw)
        adam.step()
    store = pyro.get_param_store()
    assert evidence(store["shift"], store["noise"]) > best_bound() - 0.1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pyro_modules_train_under_svi(objective):
    model, guide = ForeignModel(), ForeignGuide()
    svi = pyro.infer.SVI(
        *pyro_vae.for_svi(model, guide),
        pyro.optim.Adam({"lr": 0.1}),
        loss=objective(num_particles=5),
    )
    assert evidence(model.shift, model.scale) < best_bound() - 1.5
    for _ in range(130):
        svi.step(X)
    assert evidence(model.shift, model.scale) > best_bound() - 0.1


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("pair", [(plain_model, plain_guide), (ForeignModel(), ForeignGuide())])
def test_loss_is_minus_the_bound_summed_over_the_data(objective, pair):
    torch.manual_seed(5)
    loss = objective(num_particles=4)(*pair)(X)
    torch.manual_seed(5)
    log_w = pyro_vae.log_weights(*pair, X, 4).log_w
    assert log_w.shape == (4, 40)
    torch.testing.assert_close(loss, -bounds.iwae(log_w).sum())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_of_svi_and_of_the_loss_module_are_the_same(objective):
    model, guide = tiny_pair(num_pixels=2)
    torch.manual_seed(5)
    objective(3)(model, guide)(X).backward()
    expected = {name: p.grad.clone() for name, p in guide.named_parameters()}
    guide.zero_grad()
    torch.manual_seed(5)
    objective(3).loss_and_grads(*pyro_vae.for_svi(model, guide), X)
    for name, parameter in guide.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


class EncoderGuide(nn.Module):
    """The guide that reads a linear encoder."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.7).to_event(1))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("registered", [True, False])
def test_a_function_around_a_module_gets_the_gradient_of_the_module(objective, registered):
    encoder = nn.Linear(2, 2)

    def guide(x):
        if registered:
            pyro.module("encoder", encoder)
        EncoderGuide.forward(guide, x)

    guide.encoder = encoder
    gradients = []
    for program in (EncoderGuide(encoder), guide):
        encoder.zero_grad()
        torch.manual_seed(5)
        objective(num_particles=4)(plain_model, program)(X).backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def parameters(*modules):
    return [p.detach().clone() for module in modules for p in module.parameters()]


def svi_of(model, guide, loss=None, lr=0.01):
    return pyro.infer.SVI(
        model, guide, pyro.optim.Adam({"lr": lr}), loss=loss or pyro_vae.IWAE(num_particles=5)
    )


@pytest.mark.parametrize(
    "loss",
    [
        pyro_vae.IWAE(5),
        pyro_vae.DReG(5),
        pyro_vae.RenyiELBO(0.0, 5),
        pyro.infer.Trace_ELBO(num_particles=5, vectorize_particles=True, max_plate_nesting=1),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_for_svi_trains_every_parameter_of_a_library_pair(loss):
    model, guide = tiny_pair(num_pixels=2)
    before = parameters(model, guide)
    svi = svi_of(*pyro_vae.for_svi(model, guide), loss, lr=0.03)
    start = pyro_vae.evaluation.log_likelihood(model, guide, X, 500).mean()
    for _ in range(60):
        svi.step(X)
    changes = [
        (new - old).abs().max() for old, new in zip(before, parameters(model, guide), strict=True)
    ]
    assert min(changes) > 1e-3
    end = pyro_vae.evaluation.log_likelihood(model, guide, X, 500).mean()
    assert end > start + 10  # nats per datum


def test_without_for_svi_nothing_is_trained():
    model, guide = tiny_pair(num_pixels=2)
    before = parameters(model, guide)
    svi = svi_of(model, guide)
    for _ in range(3):
        svi.step(X)
    for old, new in zip(before, parameters(model, guide), strict=True):
        assert torch.equal(old, new)


def test_two_pairs_in_one_process_share_nothing():
    first, second = tiny_pair(num_pixels=2, seed=0), tiny_pair(num_pixels=2, seed=1)
    svi = svi_of(*pyro_vae.for_svi(*first))
    svi.step(X)
    untouched = parameters(*second)
    other = svi_of(*pyro_vae.for_svi(*second))
    for _ in range(2):
        svi.step(X)
    for old, new in zip(untouched, parameters(*second), strict=True):
        assert torch.equal(old, new)
    at_rest = parameters(*first)
    for _ in range(2):
        other.step(X)
    for old, new in zip(at_rest, parameters(*first), strict=True):
        assert torch.equal(old, new)
    for old, new in zip(untouched, parameters(*second), strict=True):
        assert not torch.equal(old, new)


def test_model_and_guide_with_equal_attribute_names_are_both_trained():
    # HierarchicalVAE and the guides both have `conditionals`; under one name only one would train.
    model, guide = tiny_pair(num_pixels=2)
    registered = pyro_vae.for_svi(model, guide)
    svi_of(*registered).step(X)
    names = set(pyro.get_param_store().keys())
    wanted = sum(len(list(program.parameters())) for program in (model, guide))
    assert len(names) == wanted


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_svi_evaluate_loss(objective):
    model, guide = tiny_pair(num_pixels=2)
    svi = svi_of(*pyro_vae.for_svi(model, guide), objective(4))
    before = parameters(model, guide)
    torch.manual_seed(5)
    value = svi.evaluate_loss(X)
    torch.manual_seed(5)
    bound = bounds.iwae(pyro_vae.log_weights(model, guide, X, 4).log_w)
    assert isinstance(value, float)
    assert value == pytest.approx(-bound.sum().item(), rel=1e-5)
    assert all(p.grad is None for p in [*model.parameters(), *guide.parameters()])
    for old, new in zip(before, parameters(model, guide), strict=True):
        assert torch.equal(old, new)


def test_a_subsampled_data_plate_multiplies_the_finished_bound():
    size = len(X)

    def subsampled(program):
        def run(x):
            with pyro.plate("data", size, subsample=torch.arange(8), dim=-1):
                return program(x[:8])

        return run

    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(0.3 * x, 1.0).to_event(1))

    pair = subsampled(model), subsampled(guide)
    torch.manual_seed(5)
    loss = pyro_vae.IWAE(4)(*pair)(X)
    torch.manual_seed(5)
    terms = pyro_vae.log_weights(*pair, X, 4)
    assert terms.data_scale == size / 8
    torch.testing.assert_close(loss, -(size / 8) * bounds.iwae(terms.log_w).sum())


def test_a_scale_around_both_programs_multiplies_the_finished_bound():
    pair = poutine.scale(plain_model, 0.5), poutine.scale(plain_guide, 0.5)
    torch.manual_seed(5)
    loss = pyro_vae.IWAE(4)(*pair)(X)
    torch.manual_seed(5)
    full = pyro_vae.IWAE(4)(plain_model, plain_guide)(X)
    torch.testing.assert_close(loss, 0.5 * full)


def test_keyword_arguments_reach_both_programs():
    def model(x, *, spread):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), spread).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x, *, spread):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, spread).to_event(1))

    losses = []
    for spread in (0.5, 2.0):
        torch.manual_seed(5)
        losses.append(pyro_vae.IWAE(3)(model, guide)(X, spread=spread).item())
    assert losses[0] != losses[1]
