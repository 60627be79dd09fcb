"""Parts of programs whose output depends on more than their input: on noise, or on the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyro.distributions.transforms import BatchNorm as BatchNormTransform
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from pyro_vae.errors import InputError
from pyro_vae.torch_state import modules_of


def parts(*programs: Callable) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules of all parts of the programs' modules, each once."""
    seen: set[nn.Module] = set()
    for program in programs:
        for module in modules_of(program):
            yield from module.named_modules(memo=seen)


def drawing_parts(*programs: Callable) -> str:
    """Those that are known to draw random numbers in their mode, for a line: type and name."""
    return ", ".join(_named(*pair) for pair in parts(*programs) if _draws(pair[1]))


def _draws(part: nn.Module) -> bool:
    if not part.training:
        return False
    if isinstance(part, _DropoutNd):
        return part.p > 0
    rate = getattr(part, "dropout", 0)
    return isinstance(part, nn.RReLU) or (isinstance(rate, float) and rate > 0)


def batch_normalisers(*programs: Callable) -> list[tuple[str, nn.Module]]:
    """Those that may normalise by the batch they are given."""
    kinds = (_BatchNorm, BatchNormTransform)
    return [pair for pair in parts(*programs) if isinstance(pair[1], kinds)]


def check_whole_batches(normalisers: list[tuple[str, nn.Module]], why: str) -> None:
    """InputError where one of them normalises by the batch now: it must see whole batches."""
    found = [pair for pair in normalisers if pair[1].training]
    if found:
        raise InputError(
            f"{_named(*found[0])} normalises by the statistics of whole batches, and {why} gives "
            "it parts of them; train on whole batches, or with it in eval()"
        )


def _named(name: str, part: nn.Module) -> str:
    return f"{type(part).__name__} {name!r}"
