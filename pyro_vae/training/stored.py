"""Functions as programs to train: what they take from Pyro's store, told as a module tells its own.

A module tells its parameters; a function that calls ``pyro.param`` or ``pyro.module`` does so only
while it runs. :func:`trainable_pair` runs both once and finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from types import MethodType
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError
from pyro_vae.programs.guides import Guide
from pyro_vae.programs.models import Generative
from pyro_vae.torch_state import evaluating, own_generators
from pyro_vae.weights.parameters import PairParameters


class StoredProgram:
    """A program with parameters in Pyro's store, and what training asks of a module.

    No ``nn.Module``: gradient estimators cut a module's parameters out of the graph, and those that
    a function keeps can only be reached by running it.

    Args:
        program: a function, or a module that takes parameters from the store as well.
        stored: name -> tensor of the store that an optimiser changes, in place.
    """

    def __init__(self, program: Callable, stored: Mapping[str, Tensor]) -> None:
        self.program = self.__wrapped__ = program
        self._stored = dict(stored)
        self._module = program if isinstance(program, nn.Module) else nn.Module()

    def __call__(self, *args, **kwargs):
        return self.program(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Levels, whether closed forms are right, and the like.
        if "program" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.program, name)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        return chain(self._module.named_parameters(), self._stored.items())

    def parameters(self) -> Iterator[Tensor]:
        return (parameter for _, parameter in self.named_parameters())

    def buffers(self) -> Iterator[Tensor]:
        return self._module.buffers()

    def modules(self) -> Iterator[nn.Module]:
        return self._module.modules()

    def state_dict(self) -> dict[str, Tensor]:
        stored = {name: tensor.detach() for name, tensor in self._stored.items()}
        return self._module.state_dict() | stored

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self._stored.items():
            tensor.copy_(state[name])
        own = {name: value for name, value in state.items() if name not in self._stored}
        self._module.load_state_dict(own)


class MethodProgram(nn.Module):
    """A method of a module as a program of its own, with the whole module's parameters."""

    def __init__(self, method: MethodType) -> None:
        super().__init__()
        self.owner = method.__self__
        self._name = method.__name__

    def forward(self, *args, **kwargs):
        return getattr(self.owner, self._name)(*args, **kwargs)


def trainable_pair(model: Callable, guide: Callable, x: Tensor, seed: int) -> tuple[Any, Any]:
    """The pair as training wants it: modules, or :class:`StoredProgram`, that tell all parameters.

    Modules whose parameters are all their own come back as they are, and nothing is drawn.

    Args:
        x: the first batch, which both are run on.
        seed: of first values that a program draws.

    Raises:
        InputError: a function that reads a parameter which is in no module given and not in Pyro's
            store either, so that nothing would train it.
    """
    model, guide = _program(model), _program(guide)
    if isinstance(model, Generative) and isinstance(guide, Guide):
        return model, guide
    told = isinstance(model, nn.Module) and isinstance(guide, nn.Module)
    # The first batch of training is checked, this look at it is not.
    with own_generators(), evaluating(model, guide), pyro.validation_enabled(False):
        torch.manual_seed(seed)
        try:
            found = PairParameters(model, guide, (x,))
        except Exception:
            if told:  # an objective of Pyro's may take what log-weights cannot be read from
                return model, guide
            raise
    leaves = {id(leaf): leaf for leaf in found.leaves()}
    modules = [part for part in (model, guide) if isinstance(part, nn.Module)]
    known = {id(parameter) for part in modules for parameter in part.parameters()}
    pair = []
    for program, stored in ((model, found.model_store), (guide, found.guide_store)):
        # What a module only registers, under a name that another one had before, it does not read.
        taken = {
            name: tensor
            for name, tensor in stored.items()
            if id(tensor) in leaves and id(tensor) not in known
        }
        known |= {id(tensor) for tensor in taken.values()}  # shared ones are trained with the model
        bare = isinstance(program, nn.Module) and not taken
        pair.append(program if bare else StoredProgram(program, taken))
    if not told:
        known.add(id(x))
        _check_all_are_known([leaf for key, leaf in leaves.items() if key not in known])
    return pair[0], pair[1]


def _program(program: Callable) -> Callable:
    if isinstance(program, MethodType) and isinstance(program.__self__, nn.Module):
        return MethodProgram(program)
    return program


def _check_all_are_known(forgotten: list[Tensor]) -> None:
    if forgotten:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in forgotten[:3])
        more = ", ..." if len(forgotten) > 3 else ""
        raise InputError(
            f"model or guide reads {len(forgotten)} parameters (of shapes {shapes}{more}) that "
            "nothing would train: register them in the function by pyro.module or pyro.param, give "
            "a module instead of the function, or freeze them with requires_grad_(False)"
        )
