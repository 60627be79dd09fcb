"""What a table finds out about a trained cell, beside the estimates of every run.

A measure is a function of what is judged; it returns numbers by the names that they have in
``table.csv``, and none where a cell has no such thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets import Batches
from pyro_vae.evaluation import activity, ais, pruned_log_likelihood
from pyro_vae.evaluation.activity import PosteriorMeans
from pyro_vae.evaluation.component_use import component_use
from pyro_vae.evaluation.draw_consistency import AT_ONCE, consistency
from pyro_vae.evaluation.drawing_cost import drawing_seconds, num_parameters
from pyro_vae.evaluation.estimates import Evaluation
from pyro_vae.evaluation.fid import features_of, fid
from pyro_vae.evaluation.fid.features import NUM_FEATURES
from pyro_vae.evaluation.fid.of_data import default_num_images
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.evaluation.surgery import elbo_surgery
from pyro_vae.runs import Trained
from pyro_vae.training.prior_refit import refit_prior
from pyro_vae.weights.simulation import simulate

PRUNING_IMAGES, PRUNING_PARTICLES = 100, 1_000
SURGERY_ROWS = 5_000
AGREEMENT_DRAWS = 100
ANNEALED_IMAGES, TEMPERATURES = 20, 250
DATA_SEED = 0  # all cells and seeds share their data, test images included


@dataclass(frozen=True)
class Judging:
    """A trained cell while it is judged.

    Attributes:
        test: the test images that are judged. estimates: of them.
        means: level -> posterior means of the test images.
    """

    trained: Trained
    test: Tensor
    estimates: Evaluation
    means: Mapping[str, PosteriorMeans]

    @property
    def pair(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        """Model and guide."""
        return self.trained.model, self.trained.guide

    def training_rows(self, number: int) -> Tensor:
        """The first training rows; where they are probabilities, 0/1 pixels drawn once."""
        data, config = self.trained.data, self.trained.config
        rows = data.train[:number]
        if config.binarisation(data.pixels) is not None:
            (rows,) = Batches(rows, len(rows), seed=DATA_SEED, binarise="access").epoch(0)
        return rows.to(self.trained.device)


Measure = Callable[[Judging], Mapping[str, float]]


def burda_units(judging: Judging) -> Mapping[str, float]:
    """Active units by the definition of Burda et al. 2016 (https://arxiv.org/abs/1509.00519)."""
    seen = judging.training_rows(activity.BURDA_DATA)
    counts = activity.count_active_units(judging.trained.guide, seen, definition="burda")
    return {f"active_burda_{name}": level.count for name, level in sorted(counts.items())}


def pruning_cost(judging: Judging) -> Mapping[str, float]:
    """What removing the inactive units costs in log-likelihood, nats, on the same noise."""
    test = judging.test[:PRUNING_IMAGES]
    active = {name: activity.active_units(level) for name, level in judging.means.items()}
    values = []
    for masks in ({}, active):
        torch.manual_seed(0)
        values.append(pruned_log_likelihood(*judging.pair, test, masks, PRUNING_PARTICLES))
    return _entries("pruning_cost", mean_and_error((values[0] - values[1]).double().numpy()))


def parameters(judging: Judging) -> Mapping[str, float]:
    """Numbers that model and guide have learnt, those that they share once."""
    return {"parameters": num_parameters(*judging.pair)}


def drawing(*images: int) -> Measure:
    """Seconds that drawing so many images together takes on this machine."""

    def measure(judging: Judging) -> Mapping[str, float]:
        found = drawing_seconds(judging.trained.model, images)
        return {f"seconds_{number}": seconds for number, seconds in found.items()}

    return measure


def terms(judging: Judging) -> Mapping[str, float]:
    """-E log p of every observed site, nats: the image, and its representations where it has any.

    Their sum is ``distortion``.
    """
    found = judging.estimates
    sites = found.reconstructions or {"x": found.reconstruction}
    return {f"distortion_{site}": -float(values.mean()) for site, values in sites.items()}


def agreement(judging: Judging) -> Mapping[str, float]:
    """Share of the numbers of drawn representations that the drawn image below agrees with."""
    shares = consistency(judging.trained.model, AGREEMENT_DRAWS)
    return {f"agree_{name}": share.mean for name, share in shares.items()}


def frechet(judging: Judging) -> Mapping[str, float]:
    """Frechet distances of drawn images from test images, and their null, per seed of the features.

    None where the test images are too few for the features; see :func:`pyro_vae.evaluation.fid`.
    """
    trained = judging.trained
    number = default_num_images(trained.data)
    if number <= NUM_FEATURES:
        return {}
    parts = torch.arange(number).split(AT_ONCE)
    drawn = torch.cat([simulate(trained.model, len(part))[0] for part in parts])
    features = features_of(trained.data, device=trained.device)
    found = fid(trained.data.test.to(trained.device), drawn, features)
    seeds = zip(found.seeds, found.values, found.nulls, strict=True)
    entries = {}
    for seed, distance, null in seeds:
        entries |= {f"fid_{seed}": float(distance), f"null_fid_{seed}": float(null)}
    return entries


def surgery(judging: Judging) -> Mapping[str, float]:
    """Rate, mutual information and marginal KL of the first training rows, and log of their number.

    Hoffman and Johnson 2016; see :func:`pyro_vae.evaluation.elbo_surgery`.
    """
    cut = elbo_surgery(*judging.pair, judging.training_rows(SURGERY_ROWS))
    return {
        "average_kl": cut.rate,
        "mutual_information": cut.mutual_information,
        "marginal_kl": cut.marginal_kl,
        "log_num_data": cut.log_num_data,
        "surgery_elbo": cut.elbo,
    }


def components_in_use(judging: Judging) -> Mapping[str, float]:
    """exp of the entropy of a mixture prior's components over the codes of the test images."""
    if not hasattr(judging.trained.model.prior, "responsibilities"):
        return {}
    return _entries("components", component_use(*judging.pair, judging.test).effective)


def annealed(judging: Judging) -> Mapping[str, float]:
    """How much annealed importance sampling finds over L_K, on the first test images; nats.

    Both are below log p(x) on average, so what the better one finds is what L_K is too low by, at
    least.
    """
    test = judging.test[:ANNEALED_IMAGES]
    found = ais(*judging.pair, test, num_temperatures=TEMPERATURES)
    over = found.lower - judging.estimates.log_likelihood[:ANNEALED_IMAGES]
    return _entries("annealed_over", mean_and_error(over))


def refit_gain(name: str, prior: str) -> Measure:
    """The ELBO that another prior would add, all else held fixed; nats per test image.

    Args:
        name: of the numbers. prior: as ``--prior`` takes it.
    """

    def measure(judging: Judging) -> Mapping[str, float]:
        trained = judging.trained
        refit = refit_prior(
            *judging.pair,
            trained.data.train.to(trained.device),
            prior,
            held_out=judging.test,
            binarise=trained.config.binarisation(trained.data.pixels),
            seed=trained.config.seed,
        )
        return _entries(name, refit.gain)

    return measure


def _entries(name: str, mean: Mean) -> dict[str, float]:
    return {name: mean.mean, f"{name}_standard_error": mean.standard_error}


def is_finite(found: Evaluation) -> bool:
    """Whether likelihood and ELBO are."""
    return bool(np.isfinite(found.log_likelihood.mean() + found.elbo.mean()))
