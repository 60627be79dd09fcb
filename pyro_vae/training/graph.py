"""The whole gradient (programs, terms, bound, derivatives) as one compiled graph.

The effect handlers run once, while ``make_fx`` records what tensor operations they lead to;
inductor compiles the record. Noise still comes from torch's global generators, so draws differ from
call to call, follow the seed, and are those of the plain path.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.infer
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.errors import InputError
from pyro_vae.objectives import ImportanceWeightedELBO, Loss
from pyro_vae.torch_state import own_generators
from pyro_vae.training.compiler_cache import (
    cache_folder,
    check_private,
    discard_broken_libraries,
    remember_libraries,
)
from pyro_vae.training.precision import matrix_products
from pyro_vae.weights.handlers import anneal
from pyro_vae.weights.substitution import substituted

OPTIONS = {
    # Draws by aten's generators, as the plain path has them, instead of inductor's own.
    "fallback_random": True,
    # Kernels on fewer numbers run in one thread: waking the others took a quarter of a small step.
    "cpp.min_chunk_size": 16_384,
}


class CompiledGradient:
    """One graph for batches of one shape; parameters, data and betas are its inputs.

    DReG spends a pass on annealed levels, so for it levels whose beta is exactly 1 are no inputs,
    and there is one graph while it anneals and one after.

    Args:
        x: a batch; only its shape, dtype and device matter.
        betas: annealed level -> beta; only which there are matters (for DReG: which differ from 1).
        precision: of matrix products.
        compiler: False runs the record operation by operation: bit for bit the plain gradient,
            without the time that Pyro's handlers and autograd's books take.

    Raises:
        InputError: a step changes buffers (running statistics), or draws random numbers beside the
            sites of a program that it runs twice.
    """

    def __init__(
        self,
        objective: ImportanceWeightedELBO,
        model: nn.Module,
        guide: nn.Module,
        x: Tensor,
        betas: Mapping[str, float],
        precision: str = "float32",
        compiler: bool = True,
    ) -> None:
        self.levels = self.annealed_levels(objective, betas)
        self.objective, self._pair = objective, nn.ModuleList([model, guide])
        self._parameters = list(self._pair.parameters())
        self._buffers = list(self._pair.buffers())
        inputs = self._inputs(x, betas)
        with matrix_products(precision, x.device):
            self.graph = self._trace(inputs)
        self.by_compiler = compiler
        self._run = self._compiled(inputs) if compiler else self.graph

    def _compiled(self, inputs: list[Any]) -> Callable[..., tuple[Tensor, ...]]:
        cache, started = cache_folder(), time.time()
        check_private(cache)
        discard_broken_libraries(cache)
        options = dict(OPTIONS)
        if inputs[0].device.type == "cuda":
            options["triton.cudagraphs"] = True
        with torch.no_grad(), own_generators(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its deprecated parts
            # Without guards on every input, which cost a tenth of a small step: shapes and dtypes
            # are checked by whoever chooses this graph.
            run = torch._inductor.compile(self.graph, inputs, options=options)
            run(*inputs)  # what is compiled at the first call is compiled now
        remember_libraries(cache, started)
        return run

    @staticmethod
    def annealed_levels(
        objective: ImportanceWeightedELBO, betas: Mapping[str, float]
    ) -> tuple[str, ...]:
        """The levels whose betas are inputs of the graph that serves ``betas``."""
        if objective.estimator != "dreg":
            return tuple(betas)
        return tuple(name for name, beta in betas.items() if beta != 1.0)

    def __call__(self, x: Tensor, betas: Mapping[str, float]) -> Loss:
        """Add the gradients at x to the parameters; the loss is detached, summed over the data."""
        if x.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()  # what the last call returned is used up
        with torch.no_grad():
            outputs = self._run(*self._inputs(x, betas))
        if x.device.type == "cuda":  # the next replay of the graph writes to the same memory
            outputs = [output.clone() for output in outputs]
        loss, kept_share, lost, *gradients = outputs
        for parameter, gradient in zip(self._trained, gradients, strict=True):
            if parameter.grad is None:
                parameter.grad = _laid_out_as(parameter, gradient)
            else:
                parameter.grad += gradient
        return Loss(loss, kept_share, lost)

    def _inputs(self, x: Tensor, betas: Mapping[str, float]) -> list[Tensor]:
        weights = torch.tensor([betas[name] for name in self.levels], dtype=x.dtype)
        tensors = [p.detach() for p in (*self._parameters, *self._buffers)]
        return [x, weights.to(x.device, non_blocking=True), *tensors]

    def _trace(self, inputs: list[Tensor]) -> GraphModule:
        own = [*self._parameters, *self._buffers]
        names = [name.partition(".")[2] for name, _ in self._pair.named_buffers()]
        changed: list[str] = []

        def gradient(x: Tensor, betas: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            values = {
                id(p): value.detach().requires_grad_(p.requires_grad)
                for p, value in zip(own, tensors, strict=True)
            }
            model, guide = self._pair
            with (
                anneal({name: betas[i] for i, name in enumerate(self.levels)}),
                substituted(self._pair, lambda p: values[id(p)]),
            ):
                loss = self.objective.estimate(model, guide, (x,), {})
                for name, old, new in zip(names, self._buffers, self._pair.buffers(), strict=True):
                    if new is not values[id(old)]:
                        changed.append(name)
            trained = [p for p in self._parameters if p.requires_grad]
            leaves = [values[id(p)] for p in trained]
            derivatives = torch.autograd.grad(loss.value, leaves, allow_unused=True)
            used = [(p, d) for p, d in zip(trained, derivatives, strict=True) if d is not None]
            self._trained = [p for p, _ in used]
            kept_share = torch.as_tensor(loss.kept_share, device=x.device)
            assert loss.lost is not None  # losses of Pyro's alone do not tell
            return loss.value.detach(), kept_share, loss.lost, *(d for _, d in used)

        # Copies of the buffers: a graph that cannot hold a program has not changed it either.
        first = len(inputs) - len(self._buffers)
        buffers = [buffer.clone() for buffer in inputs[first:]]
        with own_generators(), pyro.validation_enabled(False):
            traced = make_fx(gradient)(*inputs[:first], *buffers)
        kept = map(torch.equal, self._buffers, buffers)
        changed += [name for name, same in zip(names, kept, strict=True) if not same]
        if changed:
            raise InputError(
                f"buffer {changed[0]!r} changes with every step, which one graph cannot hold"
            )
        return _without_views_of_nothing(traced)


def _laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with the parameter's strides, which autograd sees to in a plain step.

    Convolutions of maps that are laid out channels last give gradients of their weights that are,
    and torch's fused Adam reads both in the order of memory: it would move other weights.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _without_views_of_nothing(traced: GraphModule) -> GraphModule:
    """Drop what only autograd asked for: other names of a tensor, and dead code."""
    transpose = torch.ops.aten.t.default
    for node in traced.graph.nodes:
        if node.target in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            node.replace_all_uses_with(node.args[0])
        elif node.target is transpose and node.args[0].target is transpose:
            node.replace_all_uses_with(node.args[0].args[0])
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced
