"""Running modules with other tensors in the place of their parameters and buffers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from pyro_vae.torch_state import modules_of


class Place(NamedTuple):
    """Where a module holds a tensor: ``table[name]``."""

    table: dict[str, Any]  # of tensors
    name: str
    tensor: Tensor
    is_buffer: bool


def places(*programs: Callable) -> list[Place]:
    """Every place in the modules of ``programs`` that holds a parameter or buffer, once each.

    ``torch.func.functional_call`` visits a submodule once per path that leads to it, and puts back
    the wrong tensor where model and guide share one.
    """
    found: list[Place] = []
    seen: set[nn.Module] = set()
    modules = [module for program in programs for module in modules_of(program)]
    for _, part in (pair for module in modules for pair in module.named_modules(memo=seen)):
        for is_buffer, table in enumerate((part._parameters, part._buffers)):
            found += [
                Place(table, name, tensor, bool(is_buffer))
                for name, tensor in table.items()
                if tensor is not None
            ]
    return found


@contextlib.contextmanager
def holding(where: Iterable[Place], tensors: Iterable[Tensor]) -> Iterator[None]:
    """Inside the block the places hold these tensors; afterwards what they held before."""
    pairs = list(zip(where, tensors, strict=True))
    before = [place.table[place.name] for place, _ in pairs]
    try:
        for place, tensor in pairs:
            place.table[place.name] = tensor
        yield
    finally:
        for (place, _), tensor in zip(pairs, before, strict=True):
            place.table[place.name] = tensor


@contextlib.contextmanager
def substituted(module: nn.Module, replace: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block every parameter and buffer p of the module is ``replace(p)``."""
    where = places(module)
    with holding(where, [replace(place.tensor) for place in where]):
        yield
