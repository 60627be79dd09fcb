"""The objectives by name, as ``--objective NAME`` takes them, and what each wants to be told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro.infer
from torch import nn

from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.objectives.base import ImportanceWeightedELBO
from pyro_vae.objectives.controlled import BetaELBO, CapacityELBO, FreeBitsELBO
from pyro_vae.objectives.piwae import PIWAE
from pyro_vae.objectives.weighted import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    STL,
    AnalyticELBO,
    DReG,
    MedianWeight,
    PowerMean,
    RenyiELBO,
)
from pyro_vae.options import Setting


def _pyro_elbo(num_particles: int) -> pyro.infer.ELBO:
    return pyro.infer.Trace_ELBO(num_particles, max_plate_nesting=1, vectorize_particles=True)


def _pyro_renyi(alpha: float, num_particles: int) -> pyro.infer.ELBO:
    return pyro.infer.RenyiELBO(
        alpha=alpha, num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True
    )


@dataclass(frozen=True)
class Entry:
    """An objective of the catalogue: all that is known of it by name.

    Attributes:
        make: class or function that takes the settings by name, and num_particles.
        title: as papers name the model that it trains.
        settings: name -> :class:`Setting`; a default of None must be given.
        weighted: whether its particles carry importance weights: posterior draws are resampled.
        thins: whether thinning was measured to win in bound per minute, and is on by default from
            50 particles on (benchmarks/README.md).
    """

    make: Callable[..., pyro.infer.ELBO]
    title: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    weighted: bool = True
    thins: bool = False


_ALPHA = Setting(0.0, "order of the Renyi bound (default: 0, IWAE)")
_INNER = Setting(None, "particles of each inner bound", int, "K1")
CATALOGUE: dict[str, Entry] = {
    "iwae": Entry(IWAE, "IWAE", thins=True),
    "dreg": Entry(DReG, "IWAE (DReG)", thins=True),
    "stl": Entry(STL, "IWAE (STL)"),
    "elbo": Entry(ELBO, "VAE", weighted=False),
    "elbo-analytic": Entry(AnalyticELBO, "VAE (analytic KL)", weighted=False),
    "renyi": Entry(RenyiELBO, "Renyi VAE", {"alpha": _ALPHA}, thins=True),
    "power": Entry(PowerMean, "power mean", {"power": Setting(None, "exponent of the weights")}),
    "median": Entry(MedianWeight, "median weight"),
    "ciwae": Entry(CIWAE, "CIWAE", {"beta": Setting(None, "share of the ELBO")}),
    "miwae": Entry(MIWAE, "MIWAE", {"inner": _INNER}),
    "piwae": Entry(PIWAE, "PIWAE", {"inner": _INNER}),
    "beta-vae": Entry(
        BetaELBO, "beta-VAE", {"beta": Setting(None, "factor of the KL")}, weighted=False
    ),
    "capacity": Entry(
        CapacityELBO,
        "capacity VAE",
        {
            "capacity": Setting(
                None,
                "nats of KL, constant or linear over a share of training",
                str,
                "C|START:END:SHARE",
            ),
            "gamma": Setting(1.0, "weight of |KL - C| (default: 1)"),
        },
        weighted=False,
    ),
    "free-bits": Entry(
        FreeBitsELBO,
        "free-bits VAE",
        {
            "free_bits": Setting(None, "nats of KL that a group has free", metavar="NATS"),
            "groups": Setting(
                "level", "groups of each level (default: level)", str, "level|unit|N"
            ),
        },
        weighted=False,
    ),
    "pyro-elbo": Entry(_pyro_elbo, "VAE", weighted=False),
    "pyro-renyi": Entry(_pyro_renyi, "Renyi VAE", {"alpha": _ALPHA}),
}
OBJECTIVES = tuple(CATALOGUE)
SETTINGS = tuple(dict.fromkeys(name for entry in CATALOGUE.values() for name in entry.settings))
IMPORTANCE_WEIGHTED = tuple(name for name, entry in CATALOGUE.items() if entry.weighted)
_ARGUMENTS = {"inner": "num_inner"}  # settings that the classes call otherwise


def can_thin(name: str) -> bool:
    """Whether the particles of the named objective have weights, so that few can stand for all."""
    return getattr(CATALOGUE[name].make, "can_thin", False)


def make_objective(
    name: str,
    num_particles: int = 50,
    *,
    estimator: str | None = None,
    thin: int | None = None,
    **settings: Any,
) -> pyro.infer.ELBO:
    """The objective that ``--objective NAME`` trains.

    ==============  ==========================================================  ==============
    name            class (its docstring has formula, source, bound or not)     settings
    ==============  ==========================================================  ==============
    iwae            :class:`IWAE`
    dreg, stl       iwae with ``estimator="dreg"`` or ``"stl"``
    elbo            :class:`ELBO`, the k-sample VAE
    elbo-analytic   elbo with ``estimator="analytic"``, S0's vanilla TDVAE
    renyi           :class:`RenyiELBO`                                          alpha (0)
    power           :class:`PowerMean`                                          power
    median          :class:`MedianWeight`
    ciwae           :class:`CIWAE`                                              beta
    miwae           :class:`MIWAE`                                              inner
    piwae           :class:`PIWAE`                                              inner
    beta-vae        :class:`BetaELBO`, S4's L_alpha with beta = alpha           beta
    capacity        :class:`CapacityELBO`                                       capacity, gamma (1)
    free-bits       :class:`FreeBitsELBO`                                       free_bits, groups
    pyro-elbo       Pyro's own Trace_ELBO, to compare with; never compiled
    pyro-renyi      Pyro's own RenyiELBO, to compare with; never compiled       alpha (0)
    ==============  ==========================================================  ==============

    Args:
        estimator: of the gradient (``objectives.estimators``); default pathwise, or the one that
            the name says. thin: see :class:`ImportanceWeightedELBO`.
        settings: those of the objective; None stands for the default.

    Raises:
        InputError: an unknown name, a setting that is missing or belongs to another objective, or
            an estimator or thinning that the objective has no right gradient for.
    """
    entry = CATALOGUE[check_choice("objective", name, OBJECTIVES)]
    check_count("num_particles", num_particles)
    given = {key: value for key, value in settings.items() if value is not None}
    for key in given:
        if key not in entry.settings:
            owners = [other for other, one in CATALOGUE.items() if key in one.settings]
            raise InputError(
                f"{key} belongs to the objective {' or '.join(owners)}, not to {name}"
                if owners
                else f"unknown setting {key!r} of an objective; there are {', '.join(SETTINGS)}"
            )
    values = {key: setting.default for key, setting in entry.settings.items()} | given
    for key, value in values.items():
        if value is None:
            raise InputError(f"objective {name!r} wants {key}")
    arguments = {_ARGUMENTS.get(key, key): value for key, value in values.items()}
    known = inspect.signature(entry.make).parameters
    if thin is not None:
        if not can_thin(name):
            able = ", ".join(filter(can_thin, OBJECTIVES))
            raise InputError(f"objective {name!r} cannot be thinned; those that can: {able}")
        arguments["thin"] = thin
    if estimator is not None:
        if "estimator" not in known:
            raise InputError(
                f"objective {name!r} has its own gradient estimator; leave estimator out, or use "
                "iwae or elbo, which take one"
            )
        arguments["estimator"] = estimator
    return entry.make(num_particles=num_particles, **arguments)


def check_objective_fits(objective: pyro.infer.ELBO, guide: nn.Module) -> None:
    """Refuse analytic KL terms for guides in which they are wrong (bottom-up chains), by name."""
    analytic = isinstance(objective, pyro.infer.TraceMeanField_ELBO) or (
        isinstance(objective, ImportanceWeightedELBO) and objective.analytic
    )
    if analytic and not getattr(guide, "analytic_kl", True):
        raise InputError(
            f"the analytic KL of {type(objective).__name__} (such as 'elbo-analytic') is wrong for "
            f"the bottom-up guide {type(guide).__name__}: the model's parents of a level descend "
            "from it in the guide. Use the pathwise estimator, or a top-down or mean-field guide"
        )
