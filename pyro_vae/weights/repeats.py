"""Programs that run more than once in a step: every run is the first one over again.

A second run of a program sees the parameters and the buffers that the first began with (running
statistics, power iterations) and the noise that the first drew (dropout, denoising, stochastic
depth); what it does to buffers is dropped, so that statistics are updated once per step. Programs
whose sites are all that is random pay nothing for it: once the latents are given, a second run of
them draws nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from pyro_vae.errors import InputError
from pyro_vae.torch_state import noise_states, other_noise_states, same_noise, set_noise_states
from pyro_vae.weights import traces
from pyro_vae.weights.handlers import DetachParameters, Redraw, SetValues
from pyro_vae.weights.module_parts import drawing_parts, parts
from pyro_vae.weights.site import Sites
from pyro_vae.weights.substitution import Place, holding, places

Result = TypeVar("Result")
# Inverses of flows and products of low precision may be far off in a few places; other noise is so
# in nearly all.
MOST = 0.9
THINNED = "thinning runs the programs again with the kept particles alone"


class Beginning:
    """What programs begin a step with; made before their first run in it."""

    def __init__(self, *programs: Callable) -> None:
        self.programs = programs
        self.places = places(*programs)
        self._buffers = [place for place in self.places if place.is_buffer]
        self._values = [place.tensor.clone() for place in self._buffers]
        self.noise = noise_states()

    @contextlib.contextmanager
    def buffers(self) -> Iterator[None]:
        """Buffers as they were at the beginning; what becomes of them in the block is dropped."""
        with holding(self._buffers, [value.clone() for value in self._values]):
            yield

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """What becomes of the buffers in the block is undone in place, so that they stay the same.

        For runs that are no step: what looks at the buffers in the block sees the real ones.
        """
        try:
            yield
        finally:
            for place, value in zip(self._buffers, self._values, strict=True):
                place.table[place.name] = place.tensor
                with torch.no_grad():
                    place.tensor.copy_(value)

    @contextlib.contextmanager
    def _same_buffers(self) -> Iterator[None]:
        """:meth:`buffers`, and InputError if thinned particles update them otherwise than all."""
        first = [place.table[place.name] for place in self._buffers]
        with self.buffers():
            yield
            second = [place.table[place.name] for place in self._buffers]
        if compared():
            for place, one, other in zip(self._buffers, first, second, strict=True):
                if one.shape != other.shape or not torch.allclose(one.double(), other.double()):
                    raise InputError(
                        f"the programs keep statistics of what runs through them (buffer "
                        f"{self._name(place)!r}), and {THINNED}, which have others: train without "
                        "thin, or put the programs into eval()"
                    )

    def redo(
        self, run: Callable[[Redraw], Result], latents: Mapping[str, Tensor], num_particles: int
    ) -> tuple[Result, bool]:
        """``run`` of some of the particles, and whether the programs draw more than their sites.

        Where they do it is run on the noise that ``num_particles`` of them began with: what was
        drawn once for all particles is drawn again, what was drawn for each of them is not.
        """
        before = noise_states()
        with self._same_buffers(), torch_noise_only(THINNED):
            result = run(Redraw(latents))
        if same_noise(before, noise_states()):
            return result, False
        self.check_no_graph(THINNED)
        with self.buffers(), self.first_noise(before):
            return run(Redraw(latents, num_particles)), True

    @contextlib.contextmanager
    def first_noise(self, afterwards: tuple[Tensor, ...]) -> Iterator[None]:
        """Generators as they were at the beginning; afterwards in the given states."""
        set_noise_states(self.noise)
        try:
            yield
        finally:
            set_noise_states(afterwards)

    def check_no_graph(self, why: str) -> None:
        """InputError while a graph is traced, for programs that draw more than their sites."""
        if get_proxy_mode() is not None:
            raise InputError(f"{self.random_parts()}, and {why}: one graph cannot hold that")

    def random_parts(self) -> str:
        """The beginning of a line about programs that draw more than their sites."""
        named = drawing_parts(*self.programs) or "in their forward"
        return f"the programs draw random numbers beside their sites ({named})"

    def _name(self, place: Place) -> str:
        for path, part in parts(*self.programs):
            if part._buffers is place.table:
                return f"{path}.{place.name}" if path else place.name
        return place.name


class Repeat:
    """A program that is run again on the latents of its first run; made before that run.

    Args:
        handler: sets the latents as the first run met them: :class:`DrawAndSet` where it drew them,
            ``SetValues`` where it was given them.
        why: the end of an error's line: what runs the program again.
    """

    def __init__(
        self,
        program: Callable,
        args: tuple,
        kwargs: Mapping,
        handler: Callable[[Mapping[str, Tensor]], SetValues],
        why: str,
    ) -> None:
        self.program, self._call, self._why = program, (args, kwargs), why
        self._again = handler
        self.beginning = Beginning(program)

    def run(self, values: Mapping[str, Tensor], *, cut: bool = False) -> Sites:
        """The program's sites at these values of its latents.

        Args:
            cut: with the parameters of a module cut out of the graph, its other inputs left live;
                of a function only those that it keeps in Pyro's store are within reach.
        """
        before = noise_states()
        with torch_noise_only(self._why):
            sites = self._run(SetValues(values), cut)
        if same_noise(before, noise_states()):
            return sites
        self.beginning.check_no_graph(self._why)
        # The program has noise of its own. It is run once more from where the first run began, and
        # its latents are drawn too, though their values are given: what follows them is then met
        # with the generator where it was.
        with self.beginning.first_noise(before):
            return self._run(self._again(values), cut)

    def _run(self, handler: SetValues, cut: bool) -> Sites:
        args, kwargs = self._call
        with self.beginning.buffers():
            if not cut:
                return traces.run(self.program, args, kwargs, handler)
            where = self.beginning.places
            detached = [place.table[place.name].detach() for place in where]
            with holding(where, detached):
                return traces.run(self.program, args, kwargs, handler, DetachParameters())


@contextlib.contextmanager
def torch_noise_only(why: str) -> Iterator[None]:
    """InputError if a run of programs in the block draws from Python's or NumPy's generator.

    Looked at on the first batch, and of a graph that is traced: it takes a tenth of a millisecond.
    """
    before = other_noise_states() if _thorough() else None
    yield
    if before is not None and before != other_noise_states():
        raise InputError(
            "the programs draw from Python's or NumPy's generator, whose numbers do not come again "
            f"in a second run, and {why}; draw from torch's"
        )


def compared() -> bool:
    """Whether second runs are compared with first ones: on the first batch, but not in a graph."""
    return is_validation_enabled() and get_proxy_mode() is None


def check_same_weights(again: Tensor, first: Tensor, beginning: Beginning, random: bool) -> None:
    """InputError unless the kept particles have the log-weights (M, B) that they had among all.

    They have not where something was drawn for each of the particles, whose number is another now.

    Args:
        random: whether the programs are known to draw more than their sites.
    """
    if not (random or compared()) or _same(again, first, 1.0 if random else MOST):
        return
    reason = f"{beginning.random_parts()}, anew for every particle"
    if not random:
        reason = (
            "the programs give particles other weights without the others beside them (they draw "
            "from a generator of their own, or normalise over particles)"
        )
    raise InputError(
        f"{reason}, and {THINNED}: train without thin, or put the programs into eval()"
    )


def check_same_terms(
    what: str, why: str, again: Mapping[str, Tensor], first: Mapping[str, Tensor]
) -> None:
    """InputError unless a second run gave the same terms (K, B), site by site, as the first.

    Args:
        what: the word for the program.
        why: what runs it again.
    """
    for name, term in again.items():
        if not _same(term, first[name], MOST):
            off = (term - first[name]).abs().max().item()
            raise InputError(
                f"the {what} scores site {name!r} otherwise when it is run again (by {off:.2g} "
                f"nats), and {why}: what it draws beside its sites must come from torch's global "
                "generator, and flows want an exact inverse. Use the estimator 'pathwise'"
            )


def _same(again: Tensor, first: Tensor, share: float) -> bool:
    """Whether at least that share of the numbers came again."""
    first = first.detach()
    close = torch.isclose(again.detach(), first, rtol=1e-3, atol=1e-2, equal_nan=True)
    return close.double().mean().item() >= share


def check_cut(
    what: str, program: nn.Module, cut: Iterable[Tensor], open_paths: Iterable[Tensor]
) -> None:
    """InputError if a parameter still reaches the terms of a module that was run without its own.

    It is one that the module does not own, or that a distribution made before the call holds.

    Args:
        what: the word for the program.
        cut: terms (K, B).
        open_paths: what they may depend on.
    """
    if not _thorough():
        return
    seen = {part for tensor in open_paths if torch.is_tensor(tensor) for part in _origin(tensor)}
    waiting = [tensor.grad_fn for tensor in cut]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and leaf not in seen:
            names = [name for name, p in program.named_parameters() if p is leaf]
            raise InputError(
                f"the {what} {type(program).__name__} reads the parameter "
                f"{repr(names[0]) if names else f'of shape {tuple(leaf.shape)}'} where it cannot "
                "be cut out: parameters must be the module's own, and distributions of them made "
                "in its forward. Use the estimator 'pathwise', or a function instead of the module"
            )
        waiting.extend(parent for parent, _ in node.next_functions)


def _origin(tensor: Tensor) -> tuple:
    return (tensor, tensor.grad_fn)


def _thorough() -> bool:
    """Whether checks that take time are made: on the first batch, and of a graph that is traced."""
    return is_validation_enabled() or get_proxy_mode() is not None
