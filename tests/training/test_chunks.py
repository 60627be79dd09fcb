"""Gradients in chunks of data and particles: those of one pass on its noise, in less memory."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import pyro_vae
from pyro_vae import InputError, bounds
from pyro_vae.objectives import make_objective
from pyro_vae.training.fitting import CPU_CHUNK, default_chunk_size
from pyro_vae.training.gradients import Gradients
from tests.conftest import tiny_pair
from tests.contract.test_thinning import diagonal_pair
from tests.statistics import double_precision, flat

BETAS = {"z2": 0.4}
K = 23


class Noise:
    """Stands for the standard normals of ``Normal.rsample``: records them, or gives recorded ones.

    Every run of a guide of two levels draws twice, z2 and then z1, each (particles, data, units).
    """

    def __init__(self, patch):
        self.drawn = []
        self.given = []
        self.real = torch.distributions.normal._standard_normal
        patch.setattr(torch.distributions.normal, "_standard_normal", self)

    def __call__(self, shape, dtype, device):
        if self.given:
            noise = self.given.pop(0)
            assert noise.shape == shape
            return noise
        self.drawn.append(self.real(shape, dtype=dtype, device=device))
        return self.drawn[-1]

    def runs(self):
        """The recorded runs of a guide: [z2, z1] of each."""
        return [self.drawn[i : i + 2] for i in range(0, len(self.drawn), 2)]


def joined(runs, dim):
    """One run's noise from that of several, put side by side."""
    return [torch.cat(level, dim) for level in zip(*runs, strict=True)]


@pytest.fixture
def noise(monkeypatch):
    with double_precision():
        yield Noise(monkeypatch)


def gradient_of(parameters):
    return flat([p.grad for p in parameters])


def bound_by_hand(name, log_w):
    if name == "renyi":
        return (torch.logsumexp(0.5 * log_w, 0) - torch.tensor(float(len(log_w))).log()) / 0.5
    return torch.logsumexp(log_w, 0) - torch.tensor(float(len(log_w))).log()


def one_pass(name, model, guide, x, num_particles, betas):
    """Loss and gradient by hand: log-mean-exp of all particles at once, no code of the library."""
    still = {key: p.detach() for key, p in guide.named_parameters()}
    with pyro.plate("particles", num_particles, dim=-2):
        drawn = poutine.trace(guide).get_trace(x)
        scored = drawn
        if name == "dreg":  # densities with still parameters at live draws

            def frozen(x):
                return torch.func.functional_call(guide, still, (x,))

            scored = poutine.trace(poutine.replay(frozen, drawn)).get_trace(x)
        p = poutine.trace(poutine.replay(model, drawn)).get_trace(x)
    p.compute_log_prob()
    scored.compute_log_prob()
    log_w = p.nodes["x"]["log_prob"]
    for level in ("z2", "z1"):
        term = p.nodes[level]["log_prob"] - scored.nodes[level]["log_prob"]
        log_w = log_w + betas.get(level, 1.0) * term
    loss = -bound_by_hand(name, log_w).sum()
    model_parameters, own = list(model.parameters()), list(guide.parameters())
    if name != "dreg":
        found = torch.autograd.grad(loss, [*model_parameters, *own])
        return loss.detach(), flat(found)
    weights = log_w.softmax(0).detach()
    shared = torch.autograd.grad(loss, model_parameters, retain_graph=True)
    squared = -(weights**2 * log_w).sum()
    for level, beta in betas.items():  # the scores of annealed levels, at still draws
        assert level == "z2"
        again = poutine.replay(guide, _still(drawn))
        with pyro.plate("particles", num_particles, dim=-2):
            q = poutine.trace(again).get_trace(x)
        q.compute_log_prob()
        squared = squared - (1 - beta) * (weights * q.nodes[level]["log_prob"]).sum()
    return loss.detach(), flat([*shared, *torch.autograd.grad(squared, own)])


def _still(trace):
    trace = trace.copy()
    for name in ("z1", "z2"):
        trace.nodes[name]["value"] = trace.nodes[name]["value"].detach()
    return trace


OBJECTIVES = {
    "iwae": pyro_vae.IWAE(K),
    "dreg": pyro_vae.DReG(K),
    "renyi": pyro_vae.RenyiELBO(0.5, K),
}


@pytest.mark.parametrize("betas", [{}, BETAS], ids=["plain", "annealed"])
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(
    ("chunk_size", "parts", "sizes"),
    [
        (None, [7], [K]),  # the reference itself
        (K * 7, [7], [K]),
        (K * 3 + 1, [3, 2, 2], [K]),  # data
        (K, [1] * 7, [K]),
        (22, [1] * 7, [22, 1]),  # particles, with an uneven last chunk
        (10, [1] * 7, [10, 10, 3]),
    ],
)
def test_chunks_give_the_gradient_of_one_pass(noise, name, betas, chunk_size, parts, sizes):
    model, guide, x = diagonal_pair(7)
    parameters = [*model.parameters(), *guide.parameters()]
    gradients = Gradients(OBJECTIVES[name], model, guide, chunk_size)
    assert gradients.particles == (None if len(sizes) == 1 else chunk_size)
    loss = gradients(x, betas)
    found = gradient_of(parameters)
    assert not loss.value.requires_grad
    assert loss.kept_share == 1.0

    runs, columns = noise.runs(), []
    per_part = len(sizes) * (2 if len(sizes) > 1 else 1)
    assert len(runs) == per_part * len(parts)
    for index, rows in enumerate(parts):
        mine = runs[index * per_part : (index + 1) * per_part]
        assert [run[0].shape[:2] for run in mine] == [(size, rows) for size in sizes] * (
            per_part // len(sizes)
        )
        for first, second in zip(mine[: len(sizes)], mine[-len(sizes) :], strict=True):
            assert all(map(torch.equal, first, second))  # the second pass draws the same again
        columns.append(joined(mine[: len(sizes)], 0))
    noise.given = joined(columns, 1)
    expected_loss, expected = one_pass(name, model, guide, x, K, betas)
    assert not noise.given
    torch.testing.assert_close(loss.value, expected_loss, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert found.abs().max() > 0.01


@pytest.mark.parametrize("name", OBJECTIVES)
def test_weights_normalised_within_each_chunk_are_something_else(noise, name):
    """The naive way, a mean of chunks' bounds, which the tolerance above would not let pass."""
    model, guide, x = diagonal_pair(7)
    parameters = [*model.parameters(), *guide.parameters()]
    torch.manual_seed(1)
    right = Gradients(OBJECTIVES[name], model, guide, 10)(x).value
    exact = gradient_of(parameters)
    for parameter in parameters:
        parameter.grad = None
    torch.manual_seed(1)
    wrong = 0.0
    for row in x:
        for size in (10, 10, 3):
            part = type(OBJECTIVES[name])(num_particles=size)
            if name == "renyi":
                part.alpha = 0.5
            loss = part.differentiable_loss(model, guide, row[None]) * size / K
            loss.backward()
            wrong += loss.item()
    assert abs(wrong - right.item()) > 0.01 * len(x)
    assert (gradient_of(parameters) - exact).norm() > 0.05 * exact.norm()


@pytest.mark.parametrize("chunk_size", [K * 3, 10])
def test_the_next_call_draws_on(chunk_size):
    model, guide = tiny_pair()
    x = torch.randn(7, 6)
    gradients = Gradients(pyro_vae.IWAE(K), model, guide, chunk_size)
    losses = [gradients(x).value.item() for _ in range(3)]
    assert len(set(losses)) == 3
    torch.manual_seed(0)
    torch.randn(7, 6)
    assert [gradients(x).value.item() for _ in range(3)] == losses


def test_gradients_are_added_to_those_there_are():
    model, guide = tiny_pair()
    x = torch.randn(7, 6)
    parameters = [*model.parameters(), *guide.parameters()]
    for chunk_size in (None, K * 3, 10):
        gradients = Gradients(pyro_vae.IWAE(K), model, guide, chunk_size)
        found = []
        for times in (1, 2):
            for parameter in parameters:
                parameter.grad = None
            for _ in range(times):
                torch.manual_seed(4)
                gradients(x)
            found.append(gradient_of(parameters))
        torch.testing.assert_close(found[1], 2 * found[0], rtol=1e-4, atol=1e-4)


def test_the_share_of_kept_particles_is_averaged_over_the_data():
    """Of thinned data chunks of unequal size; the shares themselves are random."""
    model, guide = tiny_pair()
    x = torch.randn(7, 6)
    gradients = Gradients(pyro_vae.IWAE(20, thin=6), model, guide, 20 * 4)
    torch.manual_seed(2)
    share = gradients(x).kept_share
    torch.manual_seed(2)
    alone = Gradients(pyro_vae.IWAE(20, thin=6), model, guide)
    shares = [alone(part).kept_share for part in x.tensor_split(2)]
    assert shares[0] != shares[1]
    assert share.item() == pytest.approx((4 * shares[0] + 3 * shares[1]).item() / 7)


# What is refused


@pytest.mark.parametrize("name", ["pyro-elbo", "pyro-renyi"])
def test_particles_of_pyros_losses_are_not_split(name):
    pair = tiny_pair()
    objective = make_objective(name, 8)
    with pytest.raises(InputError, match=r"8 particles of .* do not fit into chunks of 7"):
        Gradients(objective, *pair, 7)
    Gradients(objective, *pair, 8)(torch.randn(3, 6))  # data chunks work for them too


def test_thinned_particles_are_not_split():
    pair = tiny_pair()
    with pytest.raises(InputError, match="a chunk size of at least 8, or do not thin"):
        Gradients(pyro_vae.IWAE(8, thin=2), *pair, 7)
    Gradients(pyro_vae.IWAE(8, thin=2), *pair, 8)(torch.randn(3, 6))


@pytest.mark.parametrize("chunk_size", [0, -1, 1.5])
def test_senseless_chunks_are_refused(chunk_size):
    with pytest.raises(InputError, match="chunk_size must be a whole number of at least 1"):
        Gradients(pyro_vae.IWAE(8), *tiny_pair(), chunk_size)


def test_what_is_split_into_particles_is_not_compiled():
    assert Gradients(pyro_vae.IWAE(8), *tiny_pair(), 8).can_compile
    assert not Gradients(pyro_vae.IWAE(8), *tiny_pair(), 7).can_compile


# Memory


class LargestOutput(TorchDispatchMode):
    """Numel of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        output = operation(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, (tuple, list)) else (output,):
            if torch.is_tensor(tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // 4)
        return output


class Saved:
    """Numbers held for backward passes: now, and at most."""

    def __init__(self):
        self.now = self.most = 0

    def pack(self, tensor):
        return _Held(self, tensor)

    def unpack(self, held):
        return held.tensor


class _Held:
    def __init__(self, saved, tensor):
        self.saved, self.tensor = saved, tensor
        saved.now += tensor.numel()
        saved.most = max(saved.most, saved.now)

    def __del__(self):
        self.saved.now -= self.tensor.numel()


def memory(num_particles, num_data, chunk_size, objective=pyro_vae.IWAE):
    model, guide = tiny_pair()
    saved, largest = Saved(), LargestOutput()
    gradients = Gradients(objective(num_particles), model, guide, chunk_size)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack), largest:
        gradients(torch.randn(num_data, 6))
    assert saved.now == 0
    return largest.numel, saved.most


@pytest.mark.parametrize("objective", [pyro_vae.IWAE, pyro_vae.DReG])
def test_memory_does_not_grow_with_the_particles(objective):
    """One datum at a time: beside the table of weights (K numbers) no tensor knows K."""
    table = 200
    largest, saved = memory(20, 5, 20, objective)
    many_largest, many_saved = memory(200, 5, 20, objective)
    assert many_largest <= max(largest, table)
    assert many_saved <= saved + table
    whole_largest, whole_saved = memory(200, 5, None, objective)
    assert whole_largest > 5 * many_largest
    assert whole_saved > 5 * many_saved


def test_memory_does_not_grow_with_the_data():
    largest, saved = memory(4, 10, 40)
    more_largest, more_saved = memory(4, 200, 40)
    data = 200 * 6
    assert more_largest <= max(largest, data)
    assert more_saved <= saved
    assert memory(4, 200, None)[1] > 10 * more_saved


# The default


class Foreign(nn.Module):
    """A model of somebody else."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.loc, 1.0).to_event(1), obs=x)


def test_the_default_is_for_the_librarys_models_on_a_cpu():
    model, _ = tiny_pair()
    assert default_chunk_size(model) == CPU_CHUNK
    assert default_chunk_size(Foreign()) is None
    assert default_chunk_size(model.to("meta")) is None


@pytest.mark.parametrize("chunk_size", [None, 12])
def test_fit_splits_batches_by_it(monkeypatch, chunk_size):
    """Batches of 10 with 4 particles: 40 at once by default, twelve or fewer where asked."""
    seen = []
    model, guide = tiny_pair()
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda x: seen.append(len(x)) or forward(x))
    pyro_vae.fit(
        model,
        guide,
        torch.randn(10, 6),
        objective=pyro_vae.IWAE(4),
        epochs=1,
        batch_size=10,
        chunk_size=chunk_size,
        compile=False,
        progress=False,
    )
    assert seen == ([10] if chunk_size is None else [3, 3, 2, 2])


def test_bounds_of_this_file_are_the_librarys():
    log_w = torch.randn(5, 3)
    torch.testing.assert_close(bound_by_hand("iwae", log_w), bounds.iwae(log_w))
    torch.testing.assert_close(bound_by_hand("renyi", log_w), bounds.renyi(log_w, 0.5))
