"""The objectives by name, as ``--objective NAME`` takes them, and what each wants to be told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro.infer

from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.objectives import pyro_losses
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


@dataclass(frozen=True)
class Entry:
    """An objective of the catalogue: all that is known of it by name.

    Attributes:
        make: class or function that takes the settings by name, and num_particles.
        title: as papers name the model that it trains.
        source: author and year, and a link where there is one.
        bound: whether its expectation is a lower bound on log p(x): "yes", "no" or when.
        settings: name -> :class:`Setting`; a default of None must be given.
        weighted: whether training gives its particles importance weights, so that what it fits to
            the posterior is q_EW, the guide resampled, and not the guide (Vas 2024, section 4.1).
        group: the setting that says how many particles are weighed against each other, where these
            are not all of them.
        thins: whether thinning was measured to win in bound per minute, and is on by default from
            50 particles on (benchmarks/README.md): all particles are then weighted, but only one in
            eight is differentiated, chosen at random so that the gradient stays unbiased.
    """

    make: Callable[..., pyro.infer.ELBO]
    title: str
    source: str
    bound: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    weighted: bool = True
    group: str | None = None
    thins: bool = False

    @property
    def can_thin(self) -> bool:
        """Whether the particles have weights of which few can stand for all."""
        return getattr(self.make, "can_thin", False)


_BURDA = "Burda et al. 2016, https://arxiv.org/abs/1509.00519"
_TUCKER = "Tucker et al. 2019, https://arxiv.org/abs/1810.04152"
_ROEDER = "Roeder et al. 2017, https://arxiv.org/abs/1703.09194"
_LI = "Li and Turner 2016, https://arxiv.org/abs/1602.02311"
_RAINFORTH = "Rainforth et al. 2018, https://arxiv.org/abs/1802.04537"
_KINGMA = "Kingma and Welling 2014, https://arxiv.org/abs/1312.6114"
_ARNAL = "Arnal et al. 2021, section 2.3"

_ALPHA = Setting(0.0, "order of the Renyi bound (default: 0, IWAE)")
_INNER = Setting(None, "particles of each inner bound", int, "K1")

CATALOGUE: dict[str, Entry] = {
    "iwae": Entry(IWAE, "IWAE", _BURDA, "yes", thins=True),
    "dreg": Entry(DReG, "IWAE (DReG)", _TUCKER, "yes", thins=True),
    "stl": Entry(STL, "IWAE (STL)", _ROEDER, "yes"),
    "elbo": Entry(ELBO, "VAE", _KINGMA, "yes", weighted=False),
    "elbo-analytic": Entry(
        AnalyticELBO, "VAE (analytic KL)", "Vas 2024, section 3.2", "yes", weighted=False
    ),
    "renyi": Entry(RenyiELBO, "Renyi VAE", _LI, "for alpha >= 0", {"alpha": _ALPHA}, thins=True),
    "power": Entry(
        PowerMean,
        "power mean",
        _ARNAL,
        "for p <= 1",
        {"power": Setting(None, "exponent p of the weights", metavar="P")},
    ),
    # One or two particles of middling weight teach the pair; the weights choose, and weigh nothing.
    "median": Entry(MedianWeight, "median weight", _ARNAL, "no", weighted=False),
    "ciwae": Entry(CIWAE, "CIWAE", _RAINFORTH, "yes", {"beta": Setting(None, "share of the ELBO")}),
    "miwae": Entry(MIWAE, "MIWAE", _RAINFORTH, "yes", {"inner": _INNER}, group="inner"),
    "piwae": Entry(PIWAE, "PIWAE", _RAINFORTH, "yes", {"inner": _INNER}),
    "beta-vae": Entry(
        BetaELBO,
        "beta-VAE",
        _ARNAL,
        "for beta >= 1",
        {
            "beta": Setting(
                None, "factor of the KL (the L_alpha of Arnal et al. 2021 has beta = alpha)"
            )
        },
        weighted=False,
    ),
    "capacity": Entry(
        CapacityELBO,
        "capacity VAE",
        "Burgess et al. 2018, https://arxiv.org/abs/1804.03599",
        "no",
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
        "Kingma et al. 2016, appendix C.8, https://arxiv.org/abs/1606.04934",
        "on average over the batch, not annealed",
        {
            "free_bits": Setting(None, "nats of KL that a group has free", metavar="NATS"),
            "groups": Setting(
                "level",
                "groups of each level; single units want a prior of independent ones, no mixture "
                "or flow (default: level)",
                str,
                "level|unit|N",
            ),
        },
        weighted=False,
    ),
    "pyro-elbo": Entry(pyro_losses.trace_elbo, "VAE", _KINGMA, "yes", weighted=False),
    "pyro-renyi": Entry(
        pyro_losses.renyi_elbo, "Renyi VAE", _LI, "for alpha >= 0", {"alpha": _ALPHA}
    ),
}
OBJECTIVES = tuple(CATALOGUE)
SETTINGS = tuple(dict.fromkeys(name for entry in CATALOGUE.values() for name in entry.settings))
_ARGUMENTS = {"inner": "num_inner"}  # settings that the classes call otherwise


def can_thin(name: str) -> bool:
    """Whether the particles of the named objective have weights, so that few can stand for all."""
    return CATALOGUE[name].can_thin


def num_proposals(name: str, num_particles: int, settings: Mapping[str, Any]) -> int:
    """Proposals behind each draw of what the objective fits to the posterior.

    With k proposals that is q_EW, one of k draws of the guide picked by weight; with 1 it is the
    guide: for objectives without weights, and MIWAE with inner bounds of one particle.

    Args:
        settings: of the objective; others in it do not matter (so a whole configuration will do).
    """
    entry = CATALOGUE[check_choice("objective", name, OBJECTIVES)]
    if not entry.weighted:
        return 1
    return num_particles if entry.group is None else int(settings[entry.group])


def make_objective(
    name: str,
    num_particles: int = 50,
    *,
    estimator: str | None = None,
    thin: int | None = None,
    **settings: Any,
) -> pyro.infer.ELBO:
    """The objective that ``--objective NAME`` trains.

    :data:`CATALOGUE` has the names; the class of an entry has the formula in its docstring.

    Args:
        estimator: of the gradient (``objectives.estimators``); default pathwise, or the one that
            the name says.
        thin: see :class:`ImportanceWeightedELBO`.
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
            told = entry.settings[key].help
            flag = key.replace("_", "-")
            raise InputError(
                f"objective {name!r} wants {key}, {told}: {key}=VALUE, or --{flag} VALUE"
            )
    arguments = {_ARGUMENTS.get(key, key): value for key, value in values.items()}
    known = inspect.signature(entry.make).parameters
    if thin is not None:
        if not entry.can_thin:
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


def check_objective_fits(objective: pyro.infer.ELBO, guide: object) -> None:
    """Refuse analytic KL terms for guides in which they are wrong (bottom-up chains), by name."""
    if isinstance(objective, ImportanceWeightedELBO):
        analytic = objective.analytic
    else:
        analytic = pyro_losses.in_closed_form(objective)
    if analytic and not getattr(guide, "analytic_kl", True):
        raise InputError(
            f"the analytic KL of {type(objective).__name__} (such as 'elbo-analytic') is wrong for "
            f"the bottom-up guide {type(guide).__name__}: the model's parents of a level descend "
            "from it in the guide. Use the pathwise estimator, or a top-down or mean-field guide"
        )
