"""What is measured on every run: names, how, and on what each measurement depends."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from analysis.measures import units
from analysis.measures.by_name import Named
from analysis.probes.correlation_summary import correlate
from analysis.probes.decoding import decode_subject
from analysis.probes.draws import WEIGHTED_CHUNK_SIZE
from analysis.probes.fields import noise_basis, projective_fields, receptive_fields
from analysis.probes.image_rows import as_effects, first_rows
from analysis.probes.inpainting import inpaint
from analysis.probes.stimuli import contours
from analysis.reporting.store import Measurement
from pyro_vae.errors import InputError
from pyro_vae.evaluation import evaluate
from pyro_vae.evaluation.filters.gabor import fit_gabors
from pyro_vae.evaluation.posterior_moments import posterior_moments
from pyro_vae.evaluation.route_rates import route_rates
from pyro_vae.runs.prior_card import prior_card
from pyro_vae.torch_state import own_generators

if TYPE_CHECKING:
    from analysis.reporting.study import Subject

# Natural test rows, and labelled rows of either split: (dataset, split, setting of their number).
ROWS = {
    "natural": ("natural", "test", "test_size"),
    "labelled_train": ("labelled", "train", "labelled_train"),
    "labelled_test": ("labelled", "test", "labelled_test"),
}

PRIOR_ROWS = 5_000  # training rows that another prior is fitted to, at most


def _rows(subject: Subject, which: str) -> torch.Tensor:
    data, split, number = ROWS[which]
    return first_rows(getattr(subject, data), split, getattr(subject.settings, number))


def _terms(which: str, subject: Subject) -> Named:
    settings = subject.settings
    with own_generators():
        torch.manual_seed(settings.seed)
        found = evaluate(
            subject.run.model,
            subject.run.guide,
            _rows(subject, which)[: settings.test_size],
            bound_particles=subject.k,
            num_particles=settings.eval_particles,  # the same for all
        )
    return Named(found.columns())


def _moments(which: str, subject: Subject) -> Named:
    settings = subject.settings
    return posterior_moments(
        subject.run.model,
        subject.run.guide,
        _rows(subject, which),
        num_samples=settings.moment_draws,
        seed=settings.seed,
    )


def _weighted_moments(which: str, subject: Subject) -> Named:
    if not subject.weighted:
        return subject.measured(f"moments_{which}")
    settings = subject.settings
    return posterior_moments(
        subject.run.model,
        subject.run.guide,
        _rows(subject, which),
        k=subject.proposals,
        num_samples=settings.weighted_groups,
        seed=settings.seed,
        chunk_size=WEIGHTED_CHUNK_SIZE,
    )


def _weighted_correlations(subject: Subject) -> Named:
    if not subject.weighted:
        return subject.measured("correlations_q")
    return correlate(subject, sampling="ew")


def _activity(subject: Subject) -> Named:
    return units.activity(subject.measured("moments_natural"))


def _prior(subject: Subject) -> Named:
    data, settings = subject.natural, subject.settings
    with own_generators():
        found = prior_card(
            subject.run.model,
            subject.run.guide,
            data.train[:PRIOR_ROWS],
            _rows(subject, "natural")[: settings.test_size],
            steps=settings.refit_steps,
            binarise=subject.run.config.binarisation(data.pixels),
            image_shape=data.channels_first,
            seed=settings.seed,
        )
    return Named({name: np.asarray(value) for name, value in found.items()})


def _route_rates(subject: Subject) -> Named:
    """Columns of a row for every route; text as well as numbers."""
    run, settings = subject.run, subject.settings
    rows = first_rows(subject.natural, "test", settings.test_size)
    rates = [rate.row() for rate in route_rates(run.model, run.guide, rows, seed=settings.seed)]
    return Named({name: np.array([row[name] for row in rates]) for name in rates[0]})


def _filters(subject: Subject) -> Named:
    data = subject.natural
    received = receptive_fields(
        subject.run.guide, data.test.shape[1], basis=noise_basis(data), seed=subject.settings.seed
    )
    return Named(projective_fields(subject.run.model) | received)


def _gabor(subject: Subject) -> Named:
    images = as_effects(subject.measured("filters").projective, subject.natural)
    if images.ndim != 3:
        raise InputError(
            f"Gabor functions are fitted to grey images, not to rows of shape {images.shape[1:]}"
        )
    fits = fit_gabors(images)
    return Named({name: fits[name].to_numpy() for name in fits})


_MOMENTS = {
    f"moments_{which}": Measurement(
        partial(_moments, which),
        ("seed", "moment_draws", number, *(("labelled",) * (data == "labelled"))),
    )
    for which, (data, _, number) in ROWS.items()
}
_WEIGHTED_MOMENTS = {
    f"{name}_ew": Measurement(
        partial(_weighted_moments, name.removeprefix("moments_")), ("weighted_groups",), (name,)
    )
    for name in _MOMENTS
}
_TERMS = ("seed", "test_size", "eval_particles")

MEASUREMENTS: dict[str, Measurement] = {
    **_MOMENTS,
    "prior": Measurement(_prior, ("seed", "test_size", "refit_steps")),
    "route_rates": Measurement(_route_rates, ("seed", "test_size")),
    "activity": Measurement(_activity, reads=("moments_natural",)),
    "filters": Measurement(_filters, ("seed",)),
    "gabor": Measurement(_gabor, reads=("filters",)),
    "terms_natural": Measurement(partial(_terms, "natural"), _TERMS),
    "terms_labelled": Measurement(
        partial(_terms, "labelled_test"), (*_TERMS, "labelled_test", "labelled")
    ),
    **_WEIGHTED_MOMENTS,
    "decoding": Measurement(
        decode_subject,
        reads=("moments_labelled_train_ew", "moments_labelled_test_ew", "activity", "gabor"),
    ),
    "correlations_q": Measurement(
        partial(correlate, sampling="q"), ("patches", "draws"), ("activity",)
    ),
    "correlations": Measurement(_weighted_correlations, ("weighted_patches",), ("correlations_q",)),
    "inpainting": Measurement(inpaint, ("seed", "stimuli")),
    "contours": Measurement(contours, ("weighted_groups",), ("gabor", "filters", "activity")),
}
