"""``--init data``: a pair that starts from independent components and factors of their magnitudes.

====  ==========================================  ==============================================
step  part                                        from
====  ==========================================  ==============================================
1     p(x | z1): columns and bias                 ``ica.independent_components``
2     q(z1 | x): location and scale               ``linear_posterior``, through ``pairs``
3     p(z1 | z2): scale                           ``magnitude_factors``, through ``pairs``
4     q(z2 | x), or q(z2 | z1) bottom-up          ``regression`` on the factors' posterior means
====  ==========================================  ==============================================

No labels, windows or Gabor functions enter. What no source or factor takes starts at its prior,
where q equals p: those units, with small columns, and the levels above z2. Training then changes
all of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_data
from pyro_vae.options import read_part
from pyro_vae.programs.assembly import likelihood_of
from pyro_vae.programs.guides import BottomUpGuide, Guide
from pyro_vae.programs.likelihoods import LIKELIHOODS, Gaussian
from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.programs.networks import ACTIVATIONS, MergedLinear
from pyro_vae.programs.sizes import Architecture
from pyro_vae.programs.start.heads import level_of, recognition, set_heads_
from pyro_vae.programs.start.ica import independent_components, worth_modelling
from pyro_vae.programs.start.linear_posterior import linear_posterior
from pyro_vae.programs.start.magnitude_factors import (
    MagnitudeFactors,
    expected_magnitudes,
    magnitude_factors,
    scale_model,
)
from pyro_vae.programs.start.pairs import capacity, carry_, carrying
from pyro_vae.programs.start.regression import regress_
from pyro_vae.torch_state import own_generators

QUIET = 0.01  # what the columns of units without a source are multiplied by
REGRESSION_ROWS = 20_000
FEW = 10  # rows a dimension, below which components of noise look like sources
WANTED = (
    "--init data wants a linear decoder with Gaussian pixels of fixed noise (--model td or sparse, "
    "--hidden decoder=linear, --likelihood gaussian); this model starts with --init random"
)


class DataStart:
    """Starts a pair of this library from rows.

    Args:
        model: with a linear decoder and Gaussian pixels of fixed noise, any number of levels.
        guide: top-down, mean-field or bottom-up, as ``build_guide`` makes them.
        seed: of all that is drawn; the global generators are left as they were.

    Raises:
        InputError: another decoder or other pixels.
    """

    def __init__(self, model: HierarchicalVAE, guide: Guide, *, seed: int = 0) -> None:
        self.model, self.guide, self.seed = model, guide, seed
        self.likelihood = model.likelihood
        if not _linear(model.likelihood):
            raise InputError(WANTED)
        self.notices: list[str] = []

    @staticmethod
    def check(architecture: Architecture) -> None:
        """InputError where no pair of this architecture can start from data."""
        made, settings = read_part("likelihood", likelihood_of(architecture), LIKELIHOODS)
        fixed = issubclass(made, Gaussian) and settings.get("scale") == "fixed"
        if not fixed or architecture.decoder or architecture.of_images:
            raise InputError(WANTED)
        if architecture.network != "mlp":
            raise InputError(
                f"a start from the data carries signals through layers of the kind mlp, not "
                f"{architecture.network}; take --network mlp or --init random"
            )
        for part in ("encoders", "priors"):
            carrying(ACTIVATIONS[architecture.activation_of(part)])

    def initialise_(self, rows: Tensor) -> list[str]:
        """Start from the training rows (N, D).

        Returns:
            lines that say what was done instead where something did not fit.

        Raises:
            InputError: rows of another width, fewer than two, not finite or all equal; hidden
                layers that hold no source at all; a guide of another kind.
        """
        check_data(rows, self.likelihood.features, "rows")
        table = rows.detach().cpu().numpy().astype(np.float64)
        self.notices = []
        with torch.no_grad(), own_generators():
            torch.manual_seed(self.seed)
            magnitudes = self._start_z1(table)
            factors = self._start_scales(magnitudes) if self.model.num_levels > 1 else None
            if factors is not None:
                self._start_z2(table, magnitudes, factors)
            for level in range(2 if factors is None else 3, self.model.num_levels + 1):
                set_heads_(recognition(self.guide, level).heads, level_of(self.model, level))
            for level in range(2, self.model.num_levels):
                set_heads_(self.model.conditionals[level - 1], level_of(self.model, level))
        return self.notices

    def _start_z1(self, table: np.ndarray) -> np.ndarray:
        """Decoder and q(z1 | x); returns the magnitudes (N, r) of the units with a source."""
        sources, noise = independent_components(table, seed=self.seed), self.likelihood.noise
        constant = int((np.ptp(table, axis=0) == 0).sum())
        if constant:
            self.notices.append(
                f"{constant} of {table.shape[1]} pixels are constant: no column covers them"
            )
        if not sources.converged:
            self.notices.append(
                "ICA had not settled when its iterations ended: its columns are used as they are "
                "(more rows or fewer components would settle it)"
            )
        number = self._number_of_sources(sources.columns.shape[1], len(table))
        chosen = np.argsort(-worth_modelling(sources, noise), kind="stable")[:number]
        level = level_of(self.model, 1)
        columns = sources.columns[:, chosen] / math.sqrt(level.variance)
        decoder = self.likelihood.loc.parts[0]
        decoder.weight[:, number:] *= QUIET
        decoder.weight[:, :number] = self._like(columns)
        decoder.bias.copy_(self._like(sources.centre))

        posterior = linear_posterior(columns, noise, level.variance)
        reached, scales = recognition(self.guide, 1), level.scales_of(posterior.variance)
        offsets = -self._like(posterior.gain @ sources.centre)
        location = carry_(reached.trunk, self._like(posterior.gain), offsets)
        set_heads_(reached.heads, level, location=location, scales=scales)
        locations = posterior.locations(table - sources.centre)
        return expected_magnitudes(locations, scales, laplace=level.laplace)

    def _number_of_sources(self, rank: int, num_rows: int) -> int:
        """How many sources find a unit and a place in the encoder; the rest is told of."""
        trunk, units = recognition(self.guide, 1).trunk, self.model.latent_sizes[0]
        places = capacity(trunk)
        if not places:
            raise InputError(
                "z1's encoder has a hidden layer that is too narrow for a single source; take "
                "--hidden encoders=N/... with N twice the number of sources, or --init random"
            )
        number = int(min(rank, units, places))
        wide = rank * len(carrying(type(trunk.activation)).signs)
        if number < rank:
            reason = (
                f"z1 has room for {units} (--latent {rank} holds all)"
                if units <= places
                else f"the hidden layers of z1's encoder hold {places} (those of {wide} units hold "
                "all)"
            )
            self.notices.append(
                f"the rows have {rank} sources, {reason}: the {number} most worth modelling are "
                "started from"
            )
        if num_rows < FEW * rank:
            self.notices.append(
                f"{num_rows} rows are few for ICA in {rank} dimensions, columns will be noisy: "
                f"{FEW * rank} rows or fewer components would do"
            )
        return number

    def _start_scales(self, magnitudes: np.ndarray) -> MagnitudeFactors | None:
        """p(z1 | z2) by factors of the magnitudes; None where there is none, and z2 stays quiet."""
        conditional, units = self.model.conditionals[0], self.model.latent_sizes[1]
        level, above = level_of(self.model, 1), level_of(self.model, 2)
        wanted = int(min(units, capacity(conditional.trunk)))
        factors = None
        if wanted and min(magnitudes.shape) > 1:
            factors = magnitude_factors(magnitudes, wanted)
        found = 0 if factors is None else factors.number
        if found < units:
            self.notices.append(
                f"{found} of {units} units of z2 start as factors of the sources' magnitudes, as "
                f"many as {magnitudes.shape[1]} sources show and the hidden layers of p(z1 | z2) "
                "hold; the others start at their prior"
            )
        if factors is None or not found:
            set_heads_(conditional, level, scales=magnitudes.mean(axis=0))
            return None
        scales = scale_model(magnitudes, factors, laplace=level.laplace)
        factors_of_z2 = np.eye(found, units) / math.sqrt(above.variance)
        readout = carry_(conditional.trunk, self._like(factors_of_z2))
        set_heads_(
            conditional,
            level,
            scales=np.exp(scales.intercept),
            log_scale=self._like(scales.slope * factors.loadings) @ readout,
        )
        return factors

    def _start_z2(
        self, table: np.ndarray, magnitudes: np.ndarray, factors: MagnitudeFactors
    ) -> None:
        """q(z2 | x), or q(z2 | z1) of a bottom-up guide, learns the factors' posterior means."""
        above, reached = level_of(self.model, 2), recognition(self.guide, 2)
        set_heads_(reached.heads, above, scales=above.scales_of(above.variance * factors.variance))
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(table), generator=generator)[:REGRESSION_ROWS].numpy()
        targets = self._like(math.sqrt(above.variance) * factors.means(magnitudes[chosen]))
        below, x = recognition(self.guide, 1), self._like(table[chosen])
        bottom_up = isinstance(self.guide, BottomUpGuide)
        inputs = below.heads(x).sample() if bottom_up else below.trunk(x)
        whole: Any = reached.heads.loc.parts[0]
        head = nn.Linear(whole.in_features, factors.number).to(whole.weight)
        trunk = nn.Identity() if reached.trunk is None else reached.trunk
        with torch.enable_grad():
            regress_(
                nn.Sequential(trunk, head),
                [*trunk.parameters(), *head.parameters()],
                inputs,
                targets,
                generator=generator,
            )
        whole.weight[: factors.number], whole.bias[: factors.number] = head.weight, head.bias

    def _like(self, values: np.ndarray) -> Tensor:
        """As the pair's parameters are."""
        return torch.as_tensor(values).to(self.likelihood.loc.parts[0].weight)


def _linear(likelihood: Any) -> bool:
    """Whether p(x | z1) has a linear mean, pixel by pixel, and one fixed noise."""
    fixed = isinstance(likelihood, Gaussian) and likelihood.scale == "fixed"
    return fixed and isinstance(likelihood.loc, MergedLinear) and not likelihood.trunk.layers
