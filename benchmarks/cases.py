"""What is timed: four pairs of model and guide, their bare twins, and data."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import pyro_vae
from benchmarks.bare import BareBurda1, BareBurda2, BareTD, copy_parameters_
from pyro_vae.programs import Architecture, architecture, build_guide, build_model
from pyro_vae.torch_state import own_generators


@dataclass(frozen=True, eq=False)
class Case:
    """A pair with a top-down guide, at its initialisation or at trained parameters.

    Attributes:
        arch, num_pixels: what the pair is built from.
        bare: (arch, num_pixels) -> the twin in bare PyTorch.
        parameters: of the twin, in its order; None for the initialisation of seed 0.
    """

    name: str
    arch: Architecture
    num_pixels: int
    bare: Callable[[Architecture, int], nn.Module]
    parameters: tuple[Tensor, ...] | None = None

    def pair(self) -> tuple[nn.Module, nn.Module]:
        """A fresh model and guide; every call gives the same parameters."""
        with own_generators(), torch.no_grad():
            torch.manual_seed(0)
            model = build_model(self.arch, self.num_pixels)
            guide = build_guide("topdown", self.arch, self.num_pixels)
            if self.parameters is not None:
                ours = [*model.parameters(), *guide.parameters()]
                for parameter, value in zip(ours, self.parameters, strict=True):
                    parameter.copy_(value)
        return model, guide

    def twin(self) -> nn.Module:
        """The bare module, ``twin(x, num_particles) -> loss``, with the parameters of the pair."""
        twin = self.bare(self.arch, self.num_pixels)
        copy_parameters_(twin, *self.pair())
        return twin

    def at(self, twin: nn.Module) -> Case:
        """This case at the present parameters of a twin."""
        return replace(self, parameters=tuple(p.detach().clone() for p in twin.parameters()))

    def data(self, num_data: int) -> Tensor:
        """(num_data, num_pixels): random bits, or natural patches cut from bundled photographs."""
        if self.arch.pixels.drawn:
            generator = torch.Generator().manual_seed(0)
            pixels = torch.full((num_data, self.num_pixels), 0.3)
            return torch.bernoulli(pixels, generator=generator)
        return _patches()[:num_data].clone()


@functools.lru_cache(maxsize=1)
def _patches() -> Tensor:
    return pyro_vae.load_dataset("natural", num_train=4000).train


def _burda1(arch: Architecture, num_pixels: int) -> nn.Module:
    return BareBurda1()


_TD = architecture("td", "paper")
_TD_WIDE = replace(
    _TD,
    encoders=((2000,), (1000, 500)),
    feedback=((500, 1000, 2000),),
    priors=((500, 1000, 2000),),
)
CASES = {
    case.name: case
    for case in (
        Case("burda1", architecture("burda1", "paper"), 784, _burda1),
        Case("burda2", architecture("burda2", "paper"), 784, BareBurda2),
        Case("td", _TD, 400, BareTD),
        Case("td-wide", _TD_WIDE, 400, BareTD),
    )
}
