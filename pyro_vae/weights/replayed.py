"""Many runs of a pair on rows of one shape: its handlers run twice, then its tensor operations.

What Pyro's handlers do in Python takes a tenth of the time of a run of 2500 particles. ``make_fx``
records the tensor operations that they lead to, and the record draws from the same generators in
the same order: its terms are those of the programs to the last bit, which is looked at before it
is used.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.programs.guides import Guide
from pyro_vae.programs.models import Generative
from pyro_vae.rows import Data
from pyro_vae.torch_state import noise_states, same_noise, set_noise_states
from pyro_vae.weights.log_weights import LogWeights, log_weights, run_pair

WORTH_RECORDING = 150  # runs, of which each saves a millisecond or two; recording takes 0.2 s

Record = Callable[[Tensor], tuple[dict[str, Tensor], ...]]


class WeightRuns:
    """Log-weights of fresh particles, run by run; call it without gradients and in evaluation mode.

    Records are kept for pairs of this library's classes alone: a foreign program may do more in
    Python than a record tells. Nor are there any inside other handlers, which would not see them.

    Args:
        runs: how many there will be.
    """

    def __init__(self, model: Callable, guide: Callable, runs: int) -> None:
        self.model, self.guide = model, guide
        known = isinstance(model, Generative) and isinstance(guide, Guide) and model.recordable
        self._worth = known and runs >= WORTH_RECORDING and not _PYRO_STACK
        self._records: dict[tuple, Record | None] = {}
        self._tried: set[tuple] = set()

    def __call__(self, rows: Data, num_particles: int) -> LogWeights:
        """The terms of ``num_particles`` particles for each of the rows."""
        if not self._worth or not isinstance(rows, Tensor):
            return log_weights(self.model, self.guide, rows, num_particles)
        key = rows.shape, num_particles
        record = self._records.get(key)
        if record is not None:
            likelihoods, prior, guide = record(rows)
            return LogWeights(likelihoods, prior, guide, latents={})
        before = noise_states()
        terms = log_weights(self.model, self.guide, rows, num_particles)
        if key not in self._records:  # a shape that comes once is not worth it
            self._records[key] = None
        elif key not in self._tried:
            self._tried.add(key)
            self._records[key] = self._exact_record(rows, num_particles, before, terms)
        return terms

    def _exact_record(
        self, rows: Tensor, num_particles: int, before: tuple[Tensor, ...], expected: LogWeights
    ) -> Record | None:
        """A record that gives the expected terms from the generators' states ``before``."""
        after = noise_states()

        def terms(x: Tensor) -> tuple[dict[str, Tensor], ...]:
            return _parts(run_pair(self.model, self.guide, (x,), {}, num_particles))

        try:
            with pyro.validation_enabled(False):  # checks read numbers, which no record can
                record = make_fx(terms)(rows)
            set_noise_states(before)
            found = record(rows)
            same = same_noise(after, noise_states()) and _equal(found, _parts(expected))
        except Exception:  # what cannot be recorded is run as it is
            same = False
        finally:
            set_noise_states(after)
        return record if same else None


def _parts(terms: LogWeights) -> tuple[dict[str, Tensor], ...]:
    parts = (terms.log_likelihoods, terms.log_prior, terms.log_guide)
    return tuple(dict(part) for part in parts)


def _equal(found: tuple[dict[str, Tensor], ...], expected: tuple[dict[str, Tensor], ...]) -> bool:
    return all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(found, expected, strict=True)
    )
