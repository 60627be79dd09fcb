"""What the caller of ``train`` hears of a run and may do in it, and what it is given back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pyro_vae.datasets import Dataset
from pyro_vae.programs import Generative, Guide
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.runs.judging import PosteriorMeans
from pyro_vae.runs.summary import Summary
from pyro_vae.training import FitResult
from pyro_vae.training.progress import Row

if TYPE_CHECKING:
    from pyro_vae.evaluation.filters.decoder_filters import DecoderFilters
    from pyro_vae.export.arviz_forms import ArvizData


@dataclass(frozen=True)
class Trained:
    """A run whose training has ended, for whoever judges it; the pair is in ``eval()``."""

    directory: RunDirectory
    config: RunConfig
    model: Generative
    guide: Guide
    data: Dataset
    device: torch.device
    fitted: FitResult


@dataclass(frozen=True)
class Finished(Trained):
    """A run that was trained and judged, for whoever draws or exports it.

    Attributes:
        filters: of the decoder with their Gabor fits, or why there are none.
        summary: with the start.
    """

    posterior: ArvizData
    means: dict[str, PosteriorMeans]
    filters: DecoderFilters | str
    summary: Summary


@dataclass(frozen=True)
class Hooks:
    """What the caller wants to hear of, and to add or replace (docs/callbacks.md).

    Of several processes the first one alone calls them, ``initialise`` apart.

    Attributes:
        say: lines of progress.
        initialise: called with the pair before its first step, not on a resume: it may load the
            weights of another run.
        on_start: called with the pair before the first step of a call, on a resume too.
        on_epoch: called with the history after every epoch, once the files are written.
        judge: what is found out once training has ended, in place of the estimates, active units
            and posterior draws of :mod:`pyro_vae.runs.judging`; None for those.
        on_finish: called once the run is judged so, before ``summary.json`` is written: pictures.
        progress: show bars.
    """

    say: Callable[[str], None] = lambda line: None
    initialise: Callable[[Generative, Guide], None] = lambda model, guide: None
    on_start: Callable[[Generative, Guide], None] = lambda model, guide: None
    on_epoch: Callable[[list[Row]], None] = lambda history: None
    judge: Callable[[Trained], Summary] | None = None
    on_finish: Callable[[Finished], None] = lambda finished: None
    progress: bool = False

    def also(self, **callbacks: Callable[..., None]) -> Hooks:
        """The same with further callbacks, each called after the one that is there."""
        both: dict[str, Any] = {
            name: _both(getattr(self, name), call) for name, call in callbacks.items()
        }
        return dataclasses.replace(self, **both)


def _both(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    def call(*args: Any) -> None:
        first(*args)
        second(*args)

    return call


@dataclass(frozen=True)
class Outcome:
    """How :func:`pyro_vae.runs.train` ended.

    Attributes:
        fitted: what the training loop returned.
        summary: of ``summary.json``; None where a signal stopped the training, or in a process of
            several that is not the first.
    """

    fitted: FitResult
    summary: Summary | None = None
