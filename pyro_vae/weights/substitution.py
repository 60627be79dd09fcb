"""Running modules with other tensors in the place of their parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import Tensor, nn


@contextlib.contextmanager
def substituted(module: nn.Module, replace: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block every parameter and buffer p of the module is ``replace(p)``.

    Every place that holds a tensor is visited once, however many paths lead to it;
    ``torch.func.functional_call`` visits a submodule once per path, and puts back the wrong tensor
    where model and guide share one.
    """
    held = []
    for part in module.modules():
        for table in (part._parameters, part._buffers):
            held += [(table, name, tensor) for name, tensor in table.items() if tensor is not None]
    try:
        for table, name, tensor in held:
            table[name] = replace(tensor)
        yield
    finally:
        for table, name, tensor in held:
            table[name] = tensor
