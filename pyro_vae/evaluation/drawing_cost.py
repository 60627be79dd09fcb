"""What a model costs to draw from: seconds and learnt numbers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from pyro_vae.errors import check_count
from pyro_vae.programs.models import Generative
from pyro_vae.torch_state import own_generators
from pyro_vae.weights.simulation import simulate

IMAGES = (1, 100)  # that are drawn together, as Gatopoulos 2020 (table 7.1) has them
REPEATS = 5


@dataclass(frozen=True)
class GenerationCost:
    """Seconds to draw images from a model, and how many numbers the pair has learnt.

    Attributes:
        seconds: number of images that are drawn together -> median seconds.
        repeats: draws behind each median.
        device: where they were drawn.
        model, guide: learnt numbers of each.
        both: of the two, those that they share once.
    """

    seconds: Mapping[int, float]
    repeats: int
    device: str
    model: int
    guide: int
    both: int

    def lines(self) -> Iterator[str]:
        """What is printed."""
        yield f"parameters: {self.both:,} (model {self.model:,}, guide {self.guide:,})"
        told = ", ".join(
            f"{number} image{'s' if number > 1 else ''} {seconds:.4f} s"
            for number, seconds in self.seconds.items()
        )
        yield f"drawing: {told} (median of {self.repeats}, on {self.device})"


def generation_cost(
    model: Generative,
    guide: nn.Module,
    *,
    images: Sequence[int] = IMAGES,
    repeats: int = REPEATS,
) -> GenerationCost:
    """Seconds to draw so many images from the model, and the learnt numbers of both programs.

    Args:
        images: numbers of images, each drawn together.
        repeats: see :func:`drawing_seconds`.
    """
    return GenerationCost(
        seconds=drawing_seconds(model, images, repeats=repeats),
        repeats=repeats,
        device=next(model.parameters()).device.type,
        model=num_parameters(model),
        guide=num_parameters(guide),
        both=num_parameters(model, guide),
    )


def drawing_seconds(
    model: Generative, images: Sequence[int] = IMAGES, *, repeats: int = REPEATS
) -> dict[int, float]:
    """Number of images -> seconds that drawing them together takes, median of ``repeats``.

    Draws are those of :func:`pyro_vae.weights.simulation.simulate`, without E[x | z], and wait for
    the device; one that is not timed comes first, since the first call also prepares. Generators
    are put back after.
    """
    check_count("repeats", repeats)
    with own_generators():
        simulate(model, 1)
        return {
            number: statistics.median(_seconds(model, number) for _ in range(repeats))
            for number in images
        }


def _seconds(model: Generative, number: int) -> float:
    started = time.perf_counter()
    simulate(model, number)[0].cpu()  # waits for a GPU
    return time.perf_counter() - started


def num_parameters(*modules: nn.Module) -> int:
    """Learnt numbers of modules; those that several share are counted once."""
    learnt = {id(p): p.numel() for module in modules for p in module.parameters()}
    return sum(learnt.values())
