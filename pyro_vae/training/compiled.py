"""The whole gradient (programs, terms, bound, derivatives) as one compiled graph.

The effect handlers run once, while ``make_fx`` records what tensor operations they lead to;
inductor compiles the record. Noise still comes from torch's global generators, so draws differ from
call to call, follow the seed, and are those of the plain path.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.annealing import anneal
from pyro_vae.generators import own_generators
from pyro_vae.objectives import ImportanceWeightedELBO, Loss
from pyro_vae.training.precision import matrix_products

OPTIONS = {
    # Draws by aten's generators, as the plain path has them, instead of inductor's own.
    "fallback_random": True,
    # Kernels on fewer numbers run in one thread: waking the others took a quarter of a small step.
    "cpp.min_chunk_size": 16_384,
}


class _Estimate(nn.Module):
    """A pair and its objective as a module, whose parameters ``functional_call`` can replace."""

    def __init__(self, objective: ImportanceWeightedELBO, model: nn.Module, guide: nn.Module):
        super().__init__()
        self.objective, self.model, self.guide = objective, model, guide

    def forward(self, x: Tensor) -> Loss:
        return self.objective.estimate(self.model, self.guide, (x,), {})


class CompiledGradient:
    """One graph for batches of one shape; parameters, data and betas are its inputs.

    A level whose beta is exactly 1 is not an input: DReG spends a pass on annealed levels, which is
    not compiled in where there are none.

    Args:
        x: a batch; only its shape, dtype and device matter.
        betas: annealed level -> beta; only which of them differ from 1 matters.
        precision: of matrix products.
    """

    def __init__(
        self,
        objective: ImportanceWeightedELBO,
        model: nn.Module,
        guide: nn.Module,
        x: Tensor,
        betas: Mapping[str, float],
        precision: str = "float32",
    ) -> None:
        self.levels = self.annealed_levels(betas)
        self._module = _Estimate(objective, model, guide)
        self._parameters = dict(self._module.named_parameters())
        self._buffers = dict(self._module.named_buffers())
        inputs = self._inputs(x, betas)
        with matrix_products(precision, x.device):
            self.graph = self._trace(inputs)
        options = dict(OPTIONS)
        if x.device.type == "cuda":
            options["triton.cudagraphs"] = True
        with torch.no_grad(), own_generators(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its deprecated parts
            # Without guards on every input, which cost a tenth of a small step: shapes and dtypes
            # are checked by whoever chooses this graph.
            self._run = torch._inductor.compile(self.graph, inputs, options=options)
            self._run(*inputs)  # what is compiled at the first call is compiled now

    @staticmethod
    def annealed_levels(betas: Mapping[str, float]) -> tuple[str, ...]:
        """Levels whose beta differs from 1."""
        return tuple(name for name, beta in betas.items() if beta != 1.0)

    def __call__(self, x: Tensor, betas: Mapping[str, float]) -> Loss:
        """Add the gradients at x to the parameters; the loss is detached, summed over the data."""
        if x.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()  # what the last call returned is used up
        with torch.no_grad():
            loss, kept_share, *gradients = self._run(*self._inputs(x, betas))
        for parameter, gradient in zip(self._trained, gradients, strict=True):
            if parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad += gradient
        return Loss(loss, kept_share)

    def _inputs(self, x: Tensor, betas: Mapping[str, float]) -> list[Tensor]:
        weights = torch.tensor([betas[name] for name in self.levels], dtype=x.dtype)
        tensors = [p.detach() for p in (*self._parameters.values(), *self._buffers.values())]
        return [x, weights.to(x.device, non_blocking=True), *tensors]

    def _trace(self, inputs: list[Tensor]) -> GraphModule:
        names = [*self._parameters, *self._buffers]
        wanted = {name for name, p in self._parameters.items() if p.requires_grad}

        def gradient(x: Tensor, betas: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            values = dict(zip(names, tensors, strict=True))
            leaves = {name: values[name].detach().requires_grad_() for name in wanted}
            with anneal({name: betas[i] for i, name in enumerate(self.levels)}):
                loss = functional_call(self._module, {**values, **leaves}, (x,))
            derivatives = torch.autograd.grad(loss.value, leaves.values(), allow_unused=True)
            used = {n: d for n, d in zip(leaves, derivatives, strict=True) if d is not None}
            self._trained = [self._parameters[name] for name in used]
            kept_share = torch.as_tensor(loss.kept_share, device=x.device)
            return loss.value.detach(), kept_share, *used.values()

        with own_generators(), pyro.validation_enabled(False):
            return make_fx(gradient)(*inputs)
