"""What a pair is worth before its first step, kept in the run beside what it is worth trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from pyro_vae.datasets import Dataset
from pyro_vae.evaluation import evaluate
from pyro_vae.evaluation.activity import posterior_means
from pyro_vae.programs import Generative, Guide
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.judging import ACTIVITY_DATA, activity_of, filters_of
from pyro_vae.runs.summary import Start
from pyro_vae.torch_state import evaluating, own_generators

# Enough for a bound to a nat or so, in a second or two.
PARTICLES, SAMPLES = 100, 20
_ESTIMATES = ("elbo", "bound", "reconstruction", "kl_z")


def judge_start(
    model: Generative,
    guide: Guide,
    data: Dataset,
    config: RunConfig,
    notices: Sequence[str] = (),
    *,
    figures: bool = True,
) -> Start:
    """Judge an untrained pair on the test data that the trained one will be judged on.

    ELBO, L_k, reconstruction and KL terms in nats per datum, and active units, all by the functions
    that judge the trained pair, with some 100 particles and 20 draws. The noise follows the run's
    seed, and the generators of training are left as they were.

    Args:
        notices: what the start said.
        figures: False to write down these alone.
    """
    if not figures:
        return Start(config.pair.init, tuple(notices))
    num_particles = config.objective.num_particles
    particles = num_particles * max(1, PARTICLES // num_particles)
    with own_generators(), evaluating(model, guide):
        torch.manual_seed(config.seed)
        test = data.test.to(next(model.parameters()).device)
        found = evaluate(
            model,
            guide,
            test[: config.evaluation.test_size],
            num_particles=particles,
            bound_particles=num_particles,
            khat=False,
        )
        means = posterior_means(guide, test[:ACTIVITY_DATA], num_samples=SAMPLES)
        # Random columns are the noise that a trained run's filters are compared with anyway.
        random = config.pair.init == "random"
        filters = None if random else filters_of(model, data, means, num_noise=0)
    return Start(
        init=config.pair.init,
        notices=tuple(notices),
        elbo_of_data=tuple(found.elbo.tolist()),
        test={name: row for name, row in found.summary().items() if name.startswith(_ESTIMATES)},
        active_units=activity_of(means),
        particles=particles,
        filters=None if filters is None or isinstance(filters, str) else filters.counts(),
    )


def lines_of(start: Start) -> Iterator[str]:
    """What the command says of a start."""
    yield from (f"start: {line}" for line in start.notices)
    if start.test:
        units = ", ".join(f"{one.active} of {name}" for name, one in start.active_units.items())
        elbo = start.estimate("elbo").mean
        told = f"start ({start.init}): ELBO {elbo:.1f} on test data, active units: {units}"
        if start.filters is not None:
            told += f", localised filters: {start.filters.localised} of {start.filters.units}"
        yield told
