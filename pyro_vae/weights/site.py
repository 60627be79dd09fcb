"""What Pyro says of a sample site, by attribute."""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.util import site_is_subsample
from torch import Tensor

PARTICLE_PLATE = "particles"


class Site:
    """A view of the message of a sample site, while a handler acts on it and afterwards.

    What handlers change in the message later is seen; the message itself is changed by them alone.

    Args:
        message: what Pyro hands to ``_pyro_sample``, or a node of one of its traces.
        scored: its log-probability (K, B), where it was scored as the program sampled it.
    """

    __slots__ = ("message", "scored")

    def __init__(self, message: Mapping, scored: Tensor | None = None) -> None:
        self.message, self.scored = message, scored

    @property
    def name(self) -> str:
        return self.message["name"]

    @property
    def fn(self) -> dist.TorchDistribution:
        return self.message["fn"]

    @property
    def value(self) -> Tensor:
        return self.message["value"]

    @property
    def mask(self) -> Tensor | bool | None:
        return self.message["mask"]

    @property
    def scale(self) -> Tensor | float:
        return self.message["scale"]

    @property
    def plates(self) -> tuple[CondIndepStackFrame, ...]:
        """Frames of the plates around it."""
        return self.message["cond_indep_stack"]

    @property
    def is_observed(self) -> bool:
        return self.message["is_observed"]

    @property
    def is_drawn(self) -> bool:
        """Whether it has its value already, from a handler or as data."""
        return self.message["done"]

    @property
    def is_subsample(self) -> bool:
        """Whether it holds the indices of a plate."""
        return site_is_subsample(self.message)  # type: ignore[arg-type]  # it wants a TypedDict

    @property
    def is_auxiliary(self) -> bool:
        """Whether a guide marks it so: drawn on the way to a latent, absent in models."""
        return bool(self.message["infer"].get("is_auxiliary", False))

    @property
    def carries_probability(self) -> bool:
        """Neither the indices of a plate nor a ``pyro.deterministic`` site do."""
        return not self.is_subsample and not self.message["infer"].get("_deterministic", False)

    def draw(self) -> Tensor:
        """A value from its distribution, as Pyro would draw it."""
        return self.fn(*self.message["args"], **self.message["kwargs"])


Sites = Mapping[str, Site]
