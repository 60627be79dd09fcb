"""The groups of a run's settings: a field is a flag, its help and an entry of ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro.infer

from pyro_vae.errors import InputError
from pyro_vae.objectives import OBJECTIVES, make_objective
from pyro_vae.objectives.estimators import ESTIMATORS
from pyro_vae.options import option
from pyro_vae.runs.devices import HELP as DEVICES
from pyro_vae.training.schedules import LinearWarmUp


@dataclass(frozen=True)
class ObjectiveConfig:
    """What training minimises; ``settings`` are those of the catalogue's objectives."""

    name: str = option(
        "iwae",
        f"{', '.join(OBJECTIVES)} (default: iwae; elbo with networks of images)",
        name="objective",
        may_change=True,
    )
    num_particles: int = option(
        50,
        "particles per datum (default: 50; 1 for the elbo of networks of images)",
        metavar="K",
        may_change=True,
    )
    estimator: str | None = option(
        None,
        "how the gradient is estimated, where the objective leaves it open: "
        f"{', '.join(ESTIMATORS)} (default: pathwise)",
        metavar="NAME",
        may_change=True,
    )
    thin: int | str | None = option(
        "auto",
        "differentiate at most M particles per datum, chosen at random so that the gradient stays "
        "unbiased (M left out: K / 8; default with 50 or more particles)",
        kind=int,
        nargs="?",
        const=0,
        metavar="M",
        may_change=True,
    )
    settings: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> pyro.infer.ELBO:
        """The objective; InputError where the settings do not fit it."""
        read = {"capacity": _capacity, "groups": _groups}
        settings = {
            name: read.get(name, lambda value: value)(value)
            for name, value in self.settings.items()
            if value is not None
        }
        thin: Any = self.thin  # a number, once it is resolved
        return make_objective(
            self.name, self.num_particles, estimator=self.estimator, thin=thin, **settings
        )


@dataclass(frozen=True)
class SpeedConfig:
    """How the numbers are computed; changes no result beyond rounding (of bf16 and tf32, too)."""

    compile: bool | None = option(
        None,
        "compile the step into one graph, or never (default: compile if a trial on the first batch "
        "succeeds, reproduces the uncompiled gradient and will pay for itself)",
        action="boolean",
        may_change=True,
    )
    chunk_size: int | None = option(
        None,
        "particles times data run at once (default: 5000 on a CPU, 500 with convolutions; all on a "
        "GPU)",
        kind=int,
        metavar="N",
        may_change=True,
    )
    precision: str = option(
        "auto",
        "precision of matrix products in training: float32, tf32 (GPU), bf16, or auto: bf16 where "
        "the first batch is faster by a tenth and its bound moves by less than its standard error "
        "(default: auto)",
        metavar="NAME",
        may_change=True,
    )
    device: str = option("auto", DEVICES, metavar="NAME", may_change=True)


@dataclass(frozen=True)
class EvaluationConfig:
    """What is judged, and with how many particles."""

    valid_size: int = option(500, "data judged per epoch (500)", metavar="N", may_change=True)
    test_size: int = option(200, "test data judged (200)", metavar="N", may_change=True)
    eval_particles: int = option(
        5_000,
        "particles of the test log-likelihood (5000; 512 with networks of images)",
        metavar="K",
        may_change=True,
    )
    posterior_data: int = option(50, "data in posterior.nc (50)", metavar="N", may_change=True)
    posterior_draws: int = option(
        100, "draws per datum in posterior.nc (100)", metavar="N", may_change=True
    )


def _capacity(given: str | float) -> float | LinearWarmUp:
    """``25`` or ``0:25:0.5``."""
    try:
        numbers = [float(part) for part in str(given).split(":")]
        return numbers[0] if len(numbers) == 1 else LinearWarmUp(*numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"--capacity {given!r} is not C or START:END:SHARE ({error})") from error


def _groups(given: str | int) -> str | int:
    return int(given) if str(given).isdecimal() else given
