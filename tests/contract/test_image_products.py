"""What convolutions are computed by, and how their maps lie in memory: the same numbers, sooner."""

import platform
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pyro_vae
from pyro_vae import OptimiserSettings
from pyro_vae.programs import PairConfig
from pyro_vae.programs.networks import ELU, Down, Folded, Up, WeightNormConv
from pyro_vae.training import GradientStep
from pyro_vae.training.graph import CompiledGradient
from tests.statistics import double_precision

# Layer, shape of its input, whether it is computed as a product of matrices.
SHAPES = {
    "1x1, a place": (lambda: WeightNormConv(6, 4, 1), (3, 6, 1, 1), True),
    "1x1, few places": (lambda: WeightNormConv(6, 4, 1), (3, 6, 8, 8), True),
    "1x1, many places": (lambda: WeightNormConv(6, 4, 1), (3, 6, 8, 9), False),
    "two outputs": (lambda: WeightNormConv(20, 2), (3, 20, 5, 7), True),
    "one output, 5x5": (lambda: WeightNormConv(26, 1, 5), (3, 26, 5, 7), True),
    "two outputs of few": (lambda: WeightNormConv(17, 2), (3, 17, 5, 7), False),
    "three outputs": (lambda: WeightNormConv(40, 3), (3, 40, 5, 7), False),
    "halving": (lambda: Down(20, 2), (3, 20, 6, 8), False),
    "doubling": (lambda: Up(20, 2), (3, 20, 6, 8), False),
}


@pytest.mark.parametrize("name", SHAPES)
def test_products_are_the_convolutions(name):
    made, shape, product = SHAPES[name]
    with double_precision():
        torch.manual_seed(0)
        layer, x = made(), torch.randn(*shape, requires_grad=True)
        layer.conv.bias.data.normal_()
        called = []
        layer.conv.register_forward_hook(lambda *_: called.append(True))
        y = layer(x)
        assert (not called) is product
        wanted = layer.conv(x)
        torch.testing.assert_close(y, wanted)
        along, of = torch.randn(y.shape), [x, *layer.parameters()]
        found = torch.autograd.grad(y, of, along, retain_graph=True)
        for one, other in zip(found, torch.autograd.grad(wanted, of, along), strict=True):
            torch.testing.assert_close(one, other)


def test_few_outputs_are_summed_in_float32_under_autocast():
    """Nine shares of one output are not rounded to bfloat16 between them."""
    torch.manual_seed(0)
    layer, x = WeightNormConv(40, 1), torch.randn(2, 40, 6, 6)
    with torch.no_grad():
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            low = layer(x)
    assert low.dtype == torch.float32
    assert (low.bfloat16() != low).any()
    assert 0 < (low - exact).abs().max() < 0.1


def test_elu_is_that_of_torch_with_all_its_derivatives():
    x = torch.randn(500, generator=torch.Generator().manual_seed(0)) * 3
    x[:3] = torch.tensor([0.0, -30.0, 90.0])
    own, torchs = (x.clone().requires_grad_() for _ in range(2))
    y, wanted = ELU()(own), F.elu(torchs)
    assert torch.equal(y, wanted)
    y.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(own.grad, torchs.grad)
    with double_precision():
        points = torch.tensor([-2.0, -0.1, 0.3, 2.0], requires_grad=True)
        assert torch.autograd.gradcheck(ELU(), points)
        assert torch.autograd.gradgradcheck(ELU(), points)


class Seen(nn.Module):
    """Remembers whether maps, and the gradients that come back to them, have channels last."""

    def forward(self, x):
        x = x * 1
        self.maps, self.strides = channels_last(x), x.stride()
        if x.requires_grad:
            x.register_hook(lambda gradient: setattr(self, "gradient", channels_last(gradient)))
        return x


def channels_last(x):
    return x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_and_their_gradients_have_channels_last_from_the_first_layer_on(channels):
    first, after = Seen(), Seen()
    net = nn.Sequential(first, WeightNormConv(channels, 4), after, ELU())
    images = Folded(net, (channels, 6, 8))
    rows = torch.randn(2, 5, channels * 48, generator=torch.Generator().manual_seed(0))
    rows.requires_grad_()
    images(rows).square().sum().backward()
    assert first.strides[1] == 1  # told apart from channel first where there is one channel
    assert after.maps
    assert after.gradient
    wanted = net(rows.detach().reshape(10, channels, 6, 8)).reshape(2, 5, -1)
    torch.testing.assert_close(images(rows.detach()), wanted)


FAULTS = """
import resource, torch
from pyro_vae.torch_state import keep_freed_memory

def faults():
    def round():
        maps = [torch.ones(2**21) for _ in range(6)]  # 48 MB
    round(), round()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    round()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
keep_freed_memory()
print(plain, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators keep it or not")
def test_freed_memory_stays_with_the_process():
    printed = subprocess.check_output([sys.executable, "-c", FAULTS], text=True)
    plain, kept = map(int, printed.split())
    assert plain > 4000  # pages of 4 KB, or fewer of more
    assert kept < plain / 10


def test_a_recorded_step_moves_the_weights_that_a_plain_one_moves():
    """Their gradients are laid out as they are: fused Adam reads both in the order of memory."""
    x = torch.randint(0, 256, (4, 768), generator=torch.Generator().manual_seed(0)) / 255
    moved = []
    for recorded in (False, True):
        pair = PairConfig("image", preset="conv-small").build(768, (3, 16, 16), rows=x)
        objective = pyro_vae.ELBO(1)
        step = GradientStep(pair, OptimiserSettings())
        torch.manual_seed(1)
        if recorded:
            gradients = CompiledGradient(objective, *pair, x, {}, compiler=False)
            gradients(x, {})
        else:
            objective.estimate(*pair, (x,), {}).value.backward()
        parameters = [p for part in pair for p in part.parameters()]
        step.optimiser.step()
        moved.append([p.detach().clone() for p in parameters])
    for one, other in zip(*moved, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
