"""Training a model and guide of this library under plain ``pyro.infer.SVI``."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pyro
from torch import nn

_serial = itertools.count()


class _Registered(nn.Module):
    """A program whose parameters are registered in Pyro's store, under a name of its own."""

    def __init__(self, name: str, program: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.program = program

    def forward(self, *args, **kwargs):
        # DReG runs the guide once more on detached parameters; those are not to be registered.
        if any(parameter.requires_grad for parameter in self.program.parameters()):
            pyro.module(self.name, self.program)
        return self.program(*args, **kwargs)


def for_svi(model: Callable, guide: Callable) -> tuple[Callable, Callable]:
    """The pair as ``pyro.infer.SVI`` wants it: every parameter a ``pyro.param`` statement.

    SVI optimises what it finds in Pyro's parameter store and is silent about the rest, so a model
    that is a plain ``torch.nn.Module`` would train nothing, and two models registered under one
    name would share parameters. Each call registers under fresh names::

        svi = pyro.infer.SVI(*pyro_vae.for_svi(model, guide), optim, loss=pyro_vae.IWAE(50))

    The parameters trained are those of ``model`` and ``guide`` themselves. Functions come back as
    they are: they register what they take from the store themselves.
    """
    serial = next(_serial)

    def registered(word: str, program: Callable) -> Callable:
        if not isinstance(program, nn.Module):
            return program
        return _Registered(f"{word}_{serial}", program)

    return registered("model", model), registered("guide", guide)


def forget(*programs: Callable) -> None:
    """Take the parameters of pairs from :func:`for_svi` out of Pyro's store; modules keep them."""
    store = pyro.get_param_store()
    for program in programs:
        if isinstance(program, _Registered):
            prefix = f"{program.name}$$$"
            for name in [name for name in store if name.startswith(prefix)]:
                # A parameter that model and guide share has two names, of which the store knows
                # one way back only.
                store._param_to_name[store._params[name]] = name
                del store[name]
