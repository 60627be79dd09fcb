"""State that is borrowed and given back: generators, modes of modules, denormal numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import getclosurevars
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Bytes: below 32 MB with the allocator's own, and with torch's alignment.
LARGEST_KEPT = 31 * 2**20


def own_generators():
    """Global generators, of all devices, are put back after the block.

    All of them, since ``torch.manual_seed`` seeds all of them.
    """
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()))


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """States of the generators that draw the particles on this device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generator_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Put back what :func:`generator_states` returned."""
    torch.set_rng_state(states["cpu"].cpu())
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def noise_states() -> tuple[Tensor, ...]:
    """States of torch's generators, of the CPU and of every GPU if any is in use.

    Reading them waits for no device.
    """
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    return tuple(states)


def same_noise(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> bool:
    """Whether nothing was drawn between the two times that :func:`noise_states` was called."""
    return all(map(torch.equal, first, second))


def set_noise_states(states: tuple[Tensor, ...]) -> None:
    """Put back what :func:`noise_states` returned."""
    torch.set_rng_state(states[0])
    for device, state in enumerate(states[1:]):
        torch.cuda.set_rng_state(state, device)


def other_noise_states() -> tuple:
    """States of Python's and NumPy's generators; comparing them takes a tenth of a millisecond."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 - programs may use the global one
    return random.getstate(), numpy_state[1].tobytes(), *numpy_state[2:]


def modules_of(program: Callable) -> Iterator[nn.Module]:
    """The modules that a program is made of, whose modes and buffers a run of it may change.

    A module is its own, with those that its parts run without owning them (``held_modules``: the
    guide of a VampPrior). Of a function, a method, a ``functools.partial`` or a program inside a
    handler of Pyro's they are those that it holds or names: in its closure, among the globals that
    its body mentions, its defaults and bound arguments, its owner; and those of the functions of
    the same file that it names. What is reached through lists, or through other files, is not seen.
    """
    roots = [program, getattr(program, "__wrapped__", None)]
    waiting: list[Any] = list(roots)
    seen: set[int] = set()
    file = None
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, nn.Module):
            yield one
            waiting += [held for part in one.modules() for held in _held(part)]
        elif isinstance(one, partial):
            waiting += [one.func, *one.args, *one.keywords.values()]
        elif isinstance(one, MethodType):
            waiting += [one.__func__, *_members(one.__self__)]
        elif isinstance(one, FunctionType):
            file = file or one.__code__.co_filename
            if one.__code__.co_filename == file:
                waiting += _named_in(one)
        elif any(one is root for root in roots):
            waiting += _members(one)


def _held(part: nn.Module) -> tuple[nn.Module, ...]:
    return getattr(part, "held_modules", ())


def _members(owner: Any) -> list[Any]:
    return (
        [owner] if isinstance(owner, nn.Module) else list(getattr(owner, "__dict__", {}).values())
    )


def _named_in(function: FunctionType) -> list[Any]:
    names = getclosurevars(function)
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return [*names.nonlocals.values(), *names.globals.values(), *defaults]


@contextmanager
def evaluating(*programs: Callable) -> Iterator[None]:
    """The modules of the programs (:func:`modules_of`) are in evaluation mode inside the block.

    Afterwards every part of them is in the mode that it was in.
    """
    modules = [module for program in programs for module in modules_of(program)]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        if any(training for _, training in modes):
            for module in modules:
                module.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training


def reseed(seed: int, step: int, rank: int) -> None:
    """Start the noise of one process of several, from a step on; rank 0 follows ``seed`` itself."""
    key = () if rank == step == 0 else (rank, step)
    words = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)
    torch.manual_seed(seed if not key else int(words[0] >> np.uint64(1)))


def keep_freed_memory() -> None:
    """Let the process keep the memory that a step on the CPU frees, up to 64 MB.

    glibc returns freed blocks to the system above limits that it raises to the largest block that
    was ever freed, if that has at most 32 MB (mallopt(3), ``M_MMAP_THRESHOLD``), and every new one
    then costs a fault per page: a fifth of a step of convolutions of 28x28. This frees such a
    block, which nothing was written to. Other allocators do as they did.
    """
    torch.empty(LARGEST_KEPT, dtype=torch.uint8)


def denormals_are_flushed() -> bool:
    """Whether float32 arithmetic in this thread flushes denormal results to zero."""
    # A denormal made in integer registers, so that no earlier flush has touched it.
    denormal = torch.tensor([1], dtype=torch.int32).view(torch.float32)
    return (denormal * 1.0).item() == 0.0


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flush denormals inside the block, and put back what held before.

    Normalised weights of losing particles underflow, their gradients are denormal, and matrix
    products on such numbers take up to ten times as long. Flushing changes nothing above 1e-38.
    """
    before = denormals_are_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
