"""What is found out about a run after training: test estimates, active units, posterior draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation import Evaluation, evaluate
from pyro_vae.evaluation.activity import (
    ACTIVITY_THRESHOLD,
    PosteriorMeans,
    active_units,
    pca_active_units,
    posterior_means,
)
from pyro_vae.evaluation.activity_gap import clear_gap
from pyro_vae.evaluation.draw_consistency import consistency
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.export import to_inference_data
from pyro_vae.objectives import num_proposals
from pyro_vae.programs import Generative, Guide
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.summary import Judged, LevelActivity, RunSummary, Start, Summary
from pyro_vae.ticking import ticking
from pyro_vae.torch_state import own_generators

if TYPE_CHECKING:
    from pyro_vae.evaluation.filters.decoder_filters import DecoderFilters
    from pyro_vae.export.arviz_forms import ArvizData

ACTIVITY_DATA = 1_000
ACTIVITY_SAMPLES = 100
DRAWS = 100  # images that are held against the representations they were drawn under


@dataclass(frozen=True)
class Judgement:
    """What :func:`judge` found.

    Attributes:
        filters: of the decoder with their Gabor fits, or why there are none.
        consistency: of draws with their representations, where the model has them.
    """

    estimates: Evaluation
    means: dict[str, PosteriorMeans]
    posterior: ArvizData
    settings: Judged
    filters: DecoderFilters | str
    consistency: dict[str, Mean]

    def elbo_gain(self, start: Start) -> Mean | None:
        """What training added to the ELBO; None where the start was judged on other data."""
        before, after = np.array(start.elbo_of_data, float), self.estimates.elbo
        return mean_and_error(after - before) if before.shape == after.shape else None

    def summary(self, run: RunSummary, start: Start | None = None) -> Summary:
        """The content of ``summary.json``."""
        filters = self.filters
        return Summary(
            start=start,
            elbo_gain=None if start is None else self.elbo_gain(start),
            filters=None if isinstance(filters, str) else filters.counts(),
            filters_missing=filters if isinstance(filters, str) else None,
            test=self.estimates.summary(),
            warning=self.estimates.warning,
            active_units=activity_of(self.means),
            settings=self.settings,
            run=run,
            consistency=self.consistency,
        )


def activity_of(means: Mapping[str, PosteriorMeans]) -> dict[str, LevelActivity]:
    """Active units of every level, as ``summary.json`` has them."""
    return {name: _level_activity(level) for name, level in sorted(means.items())}


def _level_activity(level: PosteriorMeans) -> LevelActivity:
    gap = clear_gap(level.activity.cpu().numpy())
    return LevelActivity(
        active=int(active_units(level).sum()),
        pca_active=pca_active_units(level),
        units=level.mean.shape[1],
        above_gap=None if gap is None else gap.above_gap,
        gap_low=None if gap is None else gap.gap_low,
        gap_high=None if gap is None else gap.gap_high,
    )


def filters_of(
    model: Generative, data: Dataset, means: Mapping[str, PosteriorMeans], **settings: Any
) -> DecoderFilters | str:
    """The decoder's filters with their Gabor fits, or why there are none.

    Args:
        means: of the levels, whose activity says which units count. settings: of
            :func:`pyro_vae.evaluation.filters.decoder_filters.decoder_filters`.
    """
    # pandas is slow to import, and nobody who trains without a run directory needs it.
    from pyro_vae.evaluation.filters.decoder_filters import decoder_filters

    try:
        return decoder_filters(model, data, means["z1"].activity.cpu().numpy(), **settings)
    except InputError as error:
        return str(error)


def judge(
    model: Generative,
    guide: Guide,
    data: Dataset,
    config: RunConfig,
    device: torch.device,
    progress: bool = False,
) -> Judgement:
    """Evaluate a pair on the test data; the noise follows the run's seed."""
    wanted, num_particles = config.evaluation, config.objective.num_particles
    with own_generators():
        torch.manual_seed(config.seed)
        test = data.test.to(device)
        judged = test[: wanted.test_size]
        with tqdm(total=len(judged), desc="test data", disable=not progress, leave=False) as bar:
            estimates = evaluate(
                model,
                guide,
                judged,
                num_particles=wanted.eval_particles,
                bound_particles=num_particles,
                on_progress=bar.update,
            )
        with ticking("posterior draws and active units", progress):
            means = posterior_means(guide, test[:ACTIVITY_DATA], num_samples=ACTIVITY_SAMPLES)
            objective = config.objective
            posterior = to_inference_data(
                model,
                guide,
                judged[: wanted.posterior_data],
                num_particles=num_proposals(objective.name, num_particles, objective.settings),
                num_draws=wanted.posterior_draws,
                diagnostics=estimates.first(wanted.posterior_data),
                attributes={
                    "model": config.pair.model,
                    "guide": config.pair.guide,
                    "objective": config.objective.name,
                    "dataset": data.name,
                    "seed": config.seed,
                },
            )
    settings = Judged(
        test_data=len(judged),
        particles=wanted.eval_particles,
        bound_particles=num_particles,
        activity_threshold=ACTIVITY_THRESHOLD,
        activity_data=min(ACTIVITY_DATA, len(test)),
        activity_samples=ACTIVITY_SAMPLES,
        bound_of=model.bound_of,
    )
    with ticking("filters of the decoder", progress):
        filters = filters_of(model, data, means, seed=config.seed)
        shares = consistency(model, DRAWS, seed=config.seed)
    return Judgement(estimates, means, posterior, settings, filters, shares)
