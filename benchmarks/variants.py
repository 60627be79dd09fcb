"""The variants of a training step by name: how each is built, checked, and where it applies."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from benchmarks import same_bound, steps
from benchmarks.cases import Case

Prepared = Callable[[], object]  # one training step on data fixed before


@dataclass(frozen=True)
class Variant:
    """One way to take the step.

    Attributes:
        prepare: (case, num_particles, x) -> the step. May raise NotImplementedError.
        check: compares its bound with the reference; None for our own, which is the reference
            and has tests of its own.
        package: what must be importable.
        supports: the cases that it can express.
        modules: what it imports when it is prepared, which is not memory of a step.
    """

    prepare: Callable[[Case, int, Tensor], Prepared]
    check: same_bound.Checks | None = None
    package: str = "torch"
    supports: Callable[[Case], bool] = lambda case: True
    modules: tuple[str, ...] = ()

    def why_not(self, case: Case) -> str | None:
        """Why the variant cannot run here, if it cannot."""
        if importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed"
        if not self.supports(case):
            return f"{self.package} has no such model"
        return None


def _torch(build: Callable[..., steps.Step], **options: bool | str):
    def prepare(case: Case, num_particles: int, x: Tensor) -> Prepared:
        return partial(build(case, num_particles, **options), x)

    return prepare


def _numpyro(case: Case, num_particles: int, x: Tensor) -> Prepared:
    from benchmarks.peers import numpyro_peer

    return numpyro_peer.prepare(case, num_particles, x)


def _pythae(case: Case, num_particles: int, x: Tensor) -> Prepared:
    from benchmarks.peers import pythae_peer

    return pythae_peer.prepare(case, num_particles, x)


_COMPILER = ("torch._dynamo", "torch._inductor.compile_fx")
VARIANTS = {
    "bare": Variant(_torch(steps.bare), same_bound.bare),
    "bare-compiled": Variant(
        _torch(steps.bare_compiled), same_bound.bare_compiled, modules=_COMPILER
    ),
    "ours": Variant(_torch(steps.ours)),
    "ours-compiled": Variant(_torch(steps.ours, compiled=True), modules=_COMPILER),
    "ours-thinned": Variant(_torch(steps.ours, compiled=True, thin=True), modules=_COMPILER),
    "ours-bf16": Variant(_torch(steps.ours, compiled=True, precision="bf16"), modules=_COMPILER),
    "ours-thinned-bf16": Variant(
        _torch(steps.ours, compiled=True, thin=True, precision="bf16"), modules=_COMPILER
    ),
    "pyro-renyi": Variant(_torch(steps.pyro_renyi), same_bound.pyro_renyi),
    "numpyro": Variant(
        _numpyro, same_bound.numpyro, "numpyro", modules=("benchmarks.peers.numpyro_peer",)
    ),
    "pythae-iwae": Variant(
        _pythae,
        same_bound.pythae,
        "pythae",
        lambda case: case.name == "burda1",
        ("benchmarks.peers.pythae_peer",),
    ),
}
