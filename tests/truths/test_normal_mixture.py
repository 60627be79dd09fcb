"""Mixtures of Normals by a matrix product: torch's own density, in less memory."""

import pyro
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyro_vae.distributions import MixtureOfNormals
from pyro_vae.errors import InputError
from tests.statistics import double_precision

PARTICLES, DATA, UNITS, COMPONENTS = 50, 4, 40, 500


def twin(logits, loc, scale):
    components = Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)
    weights = Categorical(logits=logits, validate_args=False)
    return MixtureSameFamily(weights, components, validate_args=False)


def parameters(*batch, components=COMPONENTS, units=UNITS, spread=1.0, log_scale=0.0, **dtype):
    torch.manual_seed(0)
    logits = torch.randn(*batch, components, **dtype)
    loc = spread * torch.randn(*batch, components, units, **dtype)
    scale = (log_scale + 0.3 * torch.randn(*batch, components, units, **dtype)).exp()
    return logits, loc, scale


def gradients(make, given, value):
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (*given, value)]
    log_p = make(*leaves[:3]).log_prob(leaves[3])
    weights = torch.linspace(-1, 2, log_p.numel(), dtype=log_p.dtype).reshape(log_p.shape)
    return log_p, torch.autograd.grad((weights * log_p).sum(), leaves)


@pytest.mark.parametrize("batch", [(), (4,), (3, 1)])
def test_density_gradients_and_moments_are_those_of_torch(batch):
    with double_precision():
        given = parameters(*batch, components=6, units=5)
        value = torch.randn(7, 3, 4, 5) if batch else torch.randn(7, 5)
        ours, theirs = MixtureOfNormals(*given), twin(*given)
        torch.testing.assert_close(ours.mean, theirs.mean)
        torch.testing.assert_close(ours.variance, theirs.variance)
        found, expected = (gradients(make, given, value) for make in (MixtureOfNormals, twin))
        torch.testing.assert_close(found[0], expected[0])
        torch.testing.assert_close(found[1], expected[1])
        for tensor in given:  # each parameter counts
            tensor += 0.1 * torch.randn_like(tensor)
            changed = MixtureOfNormals(*given).log_prob(value)
            assert (changed - found[0]).abs().max() > 1e-3


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if torch.is_tensor(tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // 8)
        return output


@pytest.mark.parametrize("batch", [(), (DATA,)])
def test_no_array_is_over_components_and_units_forward_or_backward(batch):
    """K = 50, 500 components: nothing larger than float64 over particles, data and components."""
    given = parameters(*batch)
    value = torch.randn(PARTICLES, DATA, UNITS)
    parameters_alone = 2 * given[1].numel()  # [-1 / 2 scale^2, loc / scale^2]
    allowed = max(PARTICLES * DATA * COMPONENTS, parameters_alone)
    saved = []

    def save(tensor):
        saved.append(tensor.untyped_storage().nbytes() // 8)
        return tensor

    def peak(make):
        saved.clear()
        hooks = torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor)
        with Largest() as made, hooks:
            gradients(make, given, value)
        return made.elements, max(saved)

    assert max(peak(MixtureOfNormals)) <= allowed
    # torch's own has (K, B, components, units), in float32.
    assert min(peak(twin)) >= PARTICLES * DATA * COMPONENTS * UNITS // 2


def in_float32(logits, loc, scale):
    """The same product without the precision that it wants."""
    precision = scale.square().reciprocal()

    def log_prob(z):
        square = z.square() @ (-0.5 * precision).mT + z @ (loc * precision).mT
        constant = logits.log_softmax(-1) - scale.log().sum(-1)
        constant = constant - 0.5 * (loc.square() * precision).sum(-1) - 0.9189385332 * UNITS
        return (square + constant).logsumexp(-1)

    return log_prob


@pytest.mark.parametrize(("log_scale", "lost"), [(-3.0, 0.05), (-5.0, 2.0)])
def test_narrow_components_far_apart_lose_nothing_in_single_precision(log_scale, lost):
    given = parameters(spread=5.0, log_scale=log_scale)
    double = tuple(tensor.double() for tensor in given)
    value = MixtureOfNormals(*given).sample((400,))
    truth = twin(*double).log_prob(value.double())
    found = MixtureOfNormals(*given).log_prob(value)
    assert found.dtype == torch.float32
    assert (found - truth).abs().max() < 1e-4
    assert (in_float32(*given)(value) - truth).abs().max() > lost
    # Values that no component is near have responsibilities all the same.
    away = MixtureOfNormals(*given).log_joint(value + 3).softmax(-1)
    expected = MixtureOfNormals(*double).log_joint(value.double() + 3).softmax(-1)
    torch.testing.assert_close(away, expected, rtol=1e-5, atol=1e-9)


def test_autocast_rounds_nothing():
    given = parameters(spread=5.0, log_scale=-3.0)
    value = MixtureOfNormals(*given).sample((10,))
    plain = MixtureOfNormals(*given).log_prob(value)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(MixtureOfNormals(*given).log_prob(value), plain)
        rounded = in_float32(*given)(value).float()
    assert (rounded - plain).abs().max() > 100


def test_density_and_gradient_are_one_record():
    def run(*given):
        return gradients(lambda *p: MixtureOfNormals(*p, validate_args=False), given[:3], given[3])

    given = (*parameters(components=6, units=5), torch.randn(3, 4, 5))
    record = make_fx(run)(*given)
    other = *(tensor * 0.7 for tensor in given[:3]), torch.randn(3, 4, 5)
    for found, expected in zip(tree_leaves(record(*other)), tree_leaves(run(*other)), strict=True):
        assert torch.equal(found, expected)


def test_a_prior_is_expanded_without_copies():
    mixture = MixtureOfNormals(*parameters())
    expanded = mixture.expand((PARTICLES, DATA))
    assert expanded.loc is mixture.loc
    draws = expanded.sample((2,))
    assert draws.shape == (2, PARTICLES, DATA, UNITS)
    torch.testing.assert_close(expanded.log_prob(draws), mixture.log_prob(draws))
    assert expanded.log_prob(draws[0, 0, 0]).shape == (PARTICLES, DATA)
    assert expanded.mean.shape == expanded.variance.shape == (PARTICLES, DATA, UNITS)
    with pyro.plate("data", 6, dim=-1), pyro.plate("particles", 3, dim=-2):
        assert pyro.sample("z", mixture).shape == (3, 6, UNITS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MixtureOfNormals(torch.zeros(0), torch.zeros(0, 2), torch.ones(0, 2)),
            "number of components must be a whole number of at least 1, got 0",
        ),
        (
            lambda: MixtureOfNormals(torch.zeros(3), torch.zeros(4, 2), torch.ones(4, 2)),
            r"loc has shape \(4, 2\) and logits \(3,\)",
        ),
        (
            lambda: MixtureOfNormals(torch.zeros(3), *torch.zeros(2, 3, 2), validate_args=True),
            "scale of MixtureOfNormals holds 0, which breaks .* allowed: positive numbers",
        ),
        (
            lambda: MixtureOfNormals(*parameters(), validate_args=True).log_prob(torch.zeros(3)),
            r"a value of shape \(3,\) has no event of shape \(40,\)",
        ),
        (
            lambda: MixtureOfNormals(*parameters()).expand((2, 3)).expand((4,)),
            r"batch shape \(2, 3\) cannot be expanded to \(4,\)",
        ),
    ],
)
def test_what_cannot_be_is_named_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
