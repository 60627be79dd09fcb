"""The VampPrior: a mixture of the guide's own posteriors at learned or chosen inputs."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.distributions import MixtureOfNormals
from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.options import Setting
from pyro_vae.programs.conditionals import FAMILIES
from pyro_vae.programs.priors.mixture import WEIGHTS
from pyro_vae.torch_state import evaluating

STARTS = ("random", "data")
INPUTS = ("learned", "fixed")


class VampPrior(nn.Module):
    """p(zL) = sum_m pi_m q(zL | u_m), the variational mixture of posteriors.

    Tomczak and Welling 2018 (https://arxiv.org/abs/1705.07120). The u_m are pseudo-inputs, rows of
    the width of the data. The best prior of an ELBO is the aggregated posterior, the same mixture
    over all N training rows; this is one of M that training chooses. Where the u_m are the N rows
    themselves the marginal KL of these rows is zero (and the prior knows each of them).

    **The guide is held, not registered**: it is in neither the parameters nor the state of the
    model, so that optimisers, gradient norms and checkpoints have it once. Its parameters do get
    the gradient of log p(zL). Copy model and guide together, ``deepcopy((model, guide))``: a copy
    of the model alone has a guide of its own.

    Args:
        features: number of units of zL.
        family: of its units, for parts that ask.
        components: M.
        start: "random": Normal(0.05, 0.01) of the interval of a pixel, as the authors have it on
            binary images, or Normal(0, 1) where it has none; "data": different training rows.
        inputs: "learned" pseudo-inputs are parameters, "fixed" ones stay where they start.
        weights: "equal", pi = 1 / M, or "learned" by their logits.

    Raises:
        InputError: unknown words; components below 1, or more than there are rows with
            ``start="data"``; a prior that is called before :meth:`bind_`, or with ``start="data"``
            before it was given rows.
    """

    settings: ClassVar = {
        "components": Setting(500, "number M of pseudo-inputs", kind=int),
        "start": Setting("random", "random, or data: different training rows", kind=str),
        "inputs": Setting("learned", f"pseudo-inputs: {' or '.join(INPUTS)}", kind=str),
        "weights": Setting("equal", f"of the components: {' or '.join(WEIGHTS)}", kind=str),
    }

    def __init__(
        self,
        features: int,
        family: str = "normal",
        *,
        components: int = 500,
        start: str = "random",
        inputs: str = "learned",
        weights: str = "equal",
    ) -> None:
        super().__init__()
        self.family = FAMILIES[check_choice("family", family, FAMILIES)]
        self.features = check_count("number of units", features)
        self.components = check_count("components of the prior 'vamp'", components)
        self.start = check_choice("start of the prior 'vamp'", start, STARTS)
        self.learned = check_choice("inputs of the prior 'vamp'", inputs, INPUTS) == "learned"
        check_choice("weights of the prior 'vamp'", weights, WEIGHTS)
        self.interval: tuple[float, float] | None = None
        self._guide: tuple[nn.Module, ...] = ()  # in a tuple, where torch registers no module
        self._missing = "it is not bound to a guide: call bind_(guide, rows)"
        logits = torch.zeros(components)
        if weights == "learned":
            self.logits = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits, persistent=False)

    @property
    def held_modules(self) -> tuple[nn.Module, ...]:
        """Modules that it runs without owning them, see ``torch_state.modules_of``."""
        return self._guide

    def bind_(self, guide: Any, rows: Tensor, interval: tuple[float, float] | None = None) -> None:
        """Hold the guide, and make pseudo-inputs of the rows' width and kind.

        Args:
            guide: with a method ``top(x)`` that gives q(zL | x), as this library's guides have.
            rows: training rows (N, D), or (0, D): then ``start="data"`` waits for loaded weights.
            interval: (lowest, highest) value of a pixel, to which pseudo-inputs are clamped.

        Raises:
            InputError: a guide without such a density (of bottom-up guides those of several
                levels), units that are not this prior's, or fewer rows than components.
        """
        if hasattr(guide, "read_by_top"):  # a representation of the rows, where that is smaller
            rows = guide.read_by_top(rows)
        self._check(guide, rows)
        self._guide, self.interval = (guide,), interval
        inputs = self._started(rows)
        if self.learned:
            self.inputs = nn.Parameter(inputs)
        else:
            self.register_buffer("inputs", inputs)

    def _check(self, guide: Any, rows: Tensor) -> None:
        if not hasattr(guide, "top"):
            raise InputError(
                f"the prior 'vamp' is a mixture of q(zL | u), and {type(guide).__name__} has no "
                "method top(x) that gives it"
            )
        with torch.no_grad(), evaluating(guide):
            try:
                found = _top(guide, rows.new_zeros(1, rows.shape[1])).event_shape
            except InputError as error:
                raise InputError(f"the prior 'vamp' wants q(zL | x): {error}") from error
        if found != (self.features,):
            raise InputError(
                f"the prior 'vamp' has {self.features} units and the guide's top level "
                f"{tuple(found)}; both must agree"
            )

    def _started(self, rows: Tensor) -> Tensor:
        count, width = self.components, rows.shape[1]
        self._missing = ""
        if self.start == "data":
            if not len(rows):
                self._missing = (
                    "its pseudo-inputs start at training rows, and there are none: build the pair "
                    "with rows, or load its weights"
                )
                return rows.new_zeros(count, width)
            if count > len(rows):
                raise InputError(
                    f"{count} components of the prior 'vamp' want as many different training "
                    f"rows, and there are {len(rows)}; allowed: components=1 to {len(rows)}"
                )
            return rows[torch.randperm(len(rows))[:count].to(rows.device)].clone()
        noise = torch.randn(count, width).to(rows)
        if self.interval is None:
            return noise
        low, high = self.interval
        return low + (high - low) * (0.05 + 0.01 * noise)

    @property
    def pseudo_inputs(self) -> Tensor:
        """u_1, ..., u_M, rows (M, D) of the data's kind.

        Clamped to the interval of a pixel by a straight-through gradient: what lies beyond it gets
        the gradient of the clamped value, and so can come back. The gradient of a clamp would be 0
        there for good.
        """
        self._check_whole()
        if self.interval is None:
            return self.inputs
        return self.inputs + (self.inputs.clamp(*self.interval) - self.inputs).detach()

    def posteriors(self) -> dist.TorchDistribution:
        """q(zL | u_m) of every pseudo-input, batch shape (M,)."""
        inputs = self.pseudo_inputs
        return _top(self._guide[0], inputs)

    def forward(self) -> dist.TorchDistribution:
        posteriors = self.posteriors()
        units = getattr(posteriors, "base_dist", None)
        if type(units) is dist.Normal and isinstance(posteriors, torch.distributions.Independent):
            return MixtureOfNormals(self.logits, units.loc, units.scale)
        # Of other families, and of flows, there is no product of matrices.
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), posteriors)

    @torch.no_grad()
    def responsibilities(self, z: Tensor) -> Tensor:
        """p(m | z) of every component: z (..., features) -> (..., M), which sum to 1."""
        mixture = self()
        if isinstance(mixture, MixtureOfNormals):
            joint = mixture.log_joint(z)
        else:
            log_p = mixture.component_distribution.log_prob(z[..., None, :]).double()
            joint = log_p + self.logits.log_softmax(-1)
        return joint.softmax(-1).to(z.dtype)

    def _check_whole(self) -> None:
        if self._missing:
            raise InputError(f"the prior 'vamp' cannot be used yet: {self._missing}")

    def _apply(self, fn: Any, recurse: bool = True) -> VampPrior:
        """Moved or cast the guide goes with it, so that a model alone can be used where it is."""
        for held in self._guide:
            held._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if self._guide and f"{prefix}inputs" in state_dict:
            self._missing = ""
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _top(guide: Any, read: Tensor) -> dist.TorchDistribution:
    """q(zL | .) at rows of what the guide's top level reads."""
    return guide.top_of(read) if hasattr(guide, "top_of") else guide.top(read)
