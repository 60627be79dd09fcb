"""Which parameters a pair of programs has: those of its modules, and those in Pyro's store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pyro
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_vae.torch_state import evaluating
from pyro_vae.weights import traces
from pyro_vae.weights.densities import log_prob
from pyro_vae.weights.handlers import SetValues
from pyro_vae.weights.site import Sites


class _TakenNames(Messenger):
    """Notes which parameters a program takes from Pyro's store."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def _pyro_param(self, msg) -> None:
        self.names[msg["name"]] = None

    def tensors(self) -> dict[str, Tensor]:
        named = dict(pyro.get_param_store().named_parameters())  # unconstrained
        return {name: named[name] for name in self.names}


class PairParameters:
    """The parameters that model and guide read, found by one run of both on one particle.

    Attributes:
        model_store, guide_store: name in Pyro's store -> the tensor that an optimiser changes
            (unconstrained), of what each program took from there.
        sites: messages of the sample sites of guide and model, whose log-probabilities lead to
            every parameter that has a gradient.
    """

    def __init__(self, model: Callable, guide: Callable, args: tuple) -> None:
        of_model, of_guide = _TakenNames(), _TakenNames()
        with evaluating(model, guide), traces.particles(1):
            drawn = traces.run(guide, args, {}, of_guide)
            values = SetValues(traces.latent_values(drawn))
            scored = traces.run(model, args, {}, of_model, values)
        self.model_store, self.guide_store = of_model.tensors(), of_guide.tensors()
        self.sites: tuple[Sites, Sites] = drawn, scored
        self._model, self._guide = model, guide

    @property
    def model(self) -> list[Tensor]:
        """All trainable parameters of the model, each once."""
        return _trainable(self._model, self.model_store)

    @property
    def guide(self) -> list[Tensor]:
        """All trainable parameters of the guide, each once."""
        return _trainable(self._guide, self.guide_store)

    def leaves(self) -> Iterator[Tensor]:
        """Every tensor that gets a gradient from the programs' log-probabilities.

        Also those that a function reads without telling anybody, which nothing would train.
        """
        sites = [site for part in self.sites for site in traces.sample_sites(part).values()]
        total = sum(log_prob(site).sum() for site in sites)
        first = total.grad_fn if isinstance(total, Tensor) else None
        waiting = [] if first is None else [first]
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            if hasattr(node, "variable"):
                yield node.variable
            for parent, _ in node.next_functions:
                if parent is not None and parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)


def _trainable(program: Callable, stored: Mapping[str, Tensor]) -> list[Tensor]:
    own = list(program.parameters()) if isinstance(program, nn.Module) else []
    each = {id(parameter): parameter for parameter in (*stored.values(), *own)}
    return [parameter for parameter in each.values() if parameter.requires_grad]
