"""A combination of registered parts and an objective, and the training step that it takes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from pyro_vae.objectives import CATALOGUE, make_objective
from pyro_vae.objectives.estimators import ESTIMATORS
from pyro_vae.programs.assembly import GUIDES
from pyro_vae.programs.likelihoods import LIKELIHOODS
from pyro_vae.programs.networks import NETWORKS
from pyro_vae.programs.posteriors import POSTERIORS
from pyro_vae.programs.priors import PRIORS
from pyro_vae.runs import new_config
from pyro_vae.runs.job import build, fit_pair

PARTICLES, ROWS = 4, 6
STARTS = 5  # random ones that a combination has
SIDE, HALVED_SIDE = 4, 8  # of images, and of those that convolutions halve three times
LATENT, HIDDEN = (4, 4), "6"  # units of z1 and z2, and of every hidden layer

# Settings that make a part small, or that it cannot be without.
_FEW = {
    "mixture": "components=3",
    "realnvp": "transforms=1,hidden=6",
    "maf": "transforms=1,hidden=6",
    "spline": "transforms=1,hidden=6",
    "spatial": "shape=1x2x2,scales=1,couplings=1,width=4",
    "vamp": "components=3",
    "flow": "transforms=1,hidden=6,context=2",
    "iaf": "transforms=1,hidden=6,context=2",
    "logistic-mixture": "components=2",
    "pixelcnn": "window=1,layers=1,width=4",
    "pixelcnn-levels": "window=1,layers=1,width=4,components=2",
}
# A value for every setting that an objective wants.
_WANTED: Mapping[str, Mapping[str, Any]] = {
    "power": {"power": 0.5},
    "ciwae": {"beta": 0.3},
    "miwae": {"inner": 2},
    "piwae": {"inner": 2},
    "beta-vae": {"beta": 2.0},
    "capacity": {"capacity": "0.5"},
    "free-bits": {"free_bits": 0.001},
}


def _losses() -> dict[str, dict[str, Any]]:
    """Every objective with every estimator that it has, thinned, and free bits of single units."""
    found = {}
    for name in CATALOGUE:
        plain = {"objective": name, **_WANTED.get(name, {})}
        found[name] = plain
        for estimator in ESTIMATORS:
            if estimator != "pathwise" and objective_takes(name, estimator=estimator):
                found[f"{name}, {estimator}"] = plain | {"estimator": estimator}
        if objective_takes(name, thin=2):
            found[f"{name}, thinned"] = plain | {"thin": 2}
    found["free-bits, by unit"] = found["free-bits"] | {"groups": "unit"}
    return found


def objective_takes(name: str, **settings: Any) -> bool:
    """Whether an objective is made with such an estimator or such a thinning at all."""
    wanted = dict(_WANTED.get(name, {}))
    if "capacity" in wanted:
        wanted["capacity"] = float(wanted["capacity"])
    try:
        make_objective(name, PARTICLES, **wanted, **settings)
    except InputError:
        return False
    return True


LOSSES = _losses()
ONE_STEP: Mapping[str, Any] = {
    "dataset": "made here",
    "num_particles": PARTICLES,
    "batch_size": ROWS,
    "epochs": 1,
    "recipe": "minutes-digits",  # a constant learning rate
    "init": "random",
    "compile": False,
    "precision": "float32",
    "device": "cpu",
}
DECODERS = (*NETWORKS, "convolutions", "all levels")


@dataclass(frozen=True)
class Combination:
    """Names of the parts; what is not named is the plainest there is.

    Attributes:
        decoder: one of ``DECODERS``: the kind of all hidden layers, "convolutions" between image
            and z1, or "all levels", which the decoder reads then.
        family: of the units of all levels.
    """

    prior: str = "standard"
    guide: str = "topdown"
    levels: int = 1
    posterior: str = "locscale"
    loss: str = "elbo"
    likelihood: str = "gaussian"
    decoder: str = "mlp"
    family: str = "normal"

    @property
    def data(self) -> Dataset:
        """What it is trained on."""
        return data_for(self.likelihood, HALVED_SIDE if self.decoder == "convolutions" else SIDE)

    @property
    def axes(self) -> Mapping[str, Sequence]:
        return AXES

    def settings(self) -> dict[str, Any]:
        """What the command line would be given."""
        images = self.decoder == "convolutions"
        sizes = {"model": "image", "preset": "conv"} if images else {"model": "burda1"}
        hidden = {"hidden": (HIDDEN,)}
        if images:
            hidden = {"hidden": (f"encoders=linear/{HIDDEN}",)} if self.levels > 1 else {}
        return {
            **sizes,
            **hidden,
            **LOSSES[self.loss],
            "network": self.decoder if self.decoder in NETWORKS else None,
            "decoder_reads": "all" if self.decoder == "all levels" else None,
            "guide": self.guide,
            "latent": LATENT[: self.levels],
            "family": (self.family,),
            "prior": small(self.prior),
            "posterior": small(self.posterior),
            "likelihood": small(self.likelihood),
            **ONE_STEP,
        }


AXES: dict[str, tuple] = {
    "prior": tuple(PRIORS),
    "guide": GUIDES,
    "levels": (1, 2),
    "posterior": tuple(POSTERIORS),
    "loss": tuple(LOSSES),
    "likelihood": tuple(LIKELIHOODS),
    "decoder": DECODERS,
    "family": ("normal", "laplace"),
}


def small(name: str) -> str:
    """``NAME:key=value`` of a part of few numbers."""
    return f"{name}:{_FEW[name]}" if name in _FEW else name


@dataclass(frozen=True)
class Outcome:
    """What became of a combination's training step.

    Attributes:
        refused: the reason, one line; None where the step was taken.
        failed: what went wrong otherwise, which nothing should; None where nothing did.
        starts: how many random ones it took.
    """

    refused: str | None = None
    failed: str | None = None
    starts: int = 1

    @property
    def taken(self) -> bool:
        return self.refused is None and self.failed is None


class Trial(Protocol):
    """A dataclass of names, each of an axis, whose defaults are the plainest there are."""

    @property
    def axes(self) -> Mapping[str, Sequence]:
        """The values of every field."""

    @property
    def data(self) -> Dataset:
        """What it is trained on."""

    def settings(self) -> dict[str, Any]:
        """What the command line would be given."""


def attempt(combination: Trial) -> Outcome:
    """One step as a command takes it: configuration, pair, objective, gradient, optimiser.

    Gated layers under a bottom-up guide may start where the first gradient is out of all proportion
    and its step skipped, since the scale of a level is the exponential of draws of another. One
    step tells nothing then, and another start is drawn.
    """
    for seed in range(STARTS):
        outcome = replace(_attempt(combination, seed), starts=seed + 1)
        if not outcome.failed:
            break
    return outcome


def _attempt(combination: Trial, seed: int) -> Outcome:
    try:
        config = new_config(combination.settings() | {"seed": seed})
        data = combination.data
        model, guide = build(config, data)
        before = [_values(program) for program in (model, guide)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rows that teach nothing; what moves is looked at
            fitted = fit_pair(model, guide, config, data)
    except InputError as error:
        return Outcome(refused=str(error))
    except Exception as error:
        return Outcome(failed=f"{type(error).__name__}: {error}")
    if fitted.history[-1]["epoch"] != 1:
        return Outcome(failed="no epoch was trained")
    for program, old in zip((model, guide), before, strict=True):
        new = _values(program)
        if not torch.isfinite(new).all():
            return Outcome(failed=f"parameters of the {type(program).__name__} are not finite")
        if torch.equal(new, old):
            return Outcome(failed=f"no parameter of the {type(program).__name__} has moved")
    return Outcome()


def _values(program: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in program.parameters()])


@cache
def data_for(likelihood: str, side: int = SIDE) -> Dataset:
    """Few images of the pixel space that the likelihood is for."""
    pixels = LIKELIHOODS[likelihood].pixels
    x = torch.rand(ROWS, side * side, generator=torch.Generator().manual_seed(0))
    rows = {"binary": x.round(), "levels": (255 * x).round() / 255}.get(pixels, x)
    return Dataset("made here", rows, rows[:0], rows, (side, side), pixels)
