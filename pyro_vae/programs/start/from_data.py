"""``--init data``: a pair that starts from independent components and factors of their magnitudes.

=====  ================================================  ==========================================
step   part                                              of
=====  ================================================  ==========================================
1      p(x | z1): the decoder's columns and bias         :mod:`ica`
2      q(z1 | x): location and scale                     :mod:`linear_posterior`, :mod:`pairs`
3      p(z1 | z2): scale                                 :mod:`magnitude_factors`, :mod:`pairs`
4      q(z2 | x), or q(z2 | z1) of a bottom-up guide     :mod:`regression`
=====  ================================================  ==========================================

What no source or factor takes starts at its prior: q equals p there, and its column is small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_data
from pyro_vae.options import read_part
from pyro_vae.programs.architectures import Architecture
from pyro_vae.programs.assembly import likelihood_of
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.guides import BottomUpGuide, Guide
from pyro_vae.programs.likelihoods import LIKELIHOODS, FixedNoiseGaussian
from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.programs.networks import ACTIVATIONS, MLP
from pyro_vae.programs.start.ica import independent_components, worth_modelling
from pyro_vae.programs.start.linear_posterior import linear_posterior
from pyro_vae.programs.start.magnitude_factors import (
    expected_magnitudes,
    magnitude_factors,
    scale_model,
)
from pyro_vae.programs.start.pairs import capacity, carry_, carrying, set_head_
from pyro_vae.programs.start.regression import regress_
from pyro_vae.torch_state import own_generators

QUIET = 0.01  # what the columns of units without a source are multiplied by
REGRESSION_ROWS = 20_000
WANTED = (
    "--init data wants a linear decoder with Gaussian pixels (--model td or sparse, --hidden "
    "decoder=linear, --likelihood gaussian); this model starts with --init random"
)
FEW = 10  # rows a source, below which the components of noise look like sources


@dataclass(frozen=True)
class Level:
    """A family's standard unit at one level: what "scale one" means.

    Attributes:
        scale, variance: of a unit under its prior, before anything is known of the levels above.
        laplace: whether units are Laplace, with variance 2 scale^2, or Normal.
    """

    scale: float
    variance: float
    laplace: bool

    def scale_of(self, variance: np.ndarray) -> np.ndarray:
        """Scales of units with these variances."""
        return np.sqrt(variance / (2 if self.laplace else 1))


class DataStart:
    """Starts a pair of this library from rows.

    Args:
        model: with a linear decoder and Gaussian pixels of fixed noise, any number of levels.
        guide: :class:`TopDownGuide`, :class:`MeanFieldGuide` or :class:`BottomUpGuide`.
        seed: of all that is drawn; the global generators are left as they were.

    Raises:
        InputError: a decoder that is not linear, pixels that are not Gaussian, an activation that
            carries no signals.
    """

    def __init__(self, model: HierarchicalVAE, guide: Guide, *, seed: int = 0) -> None:
        self.model, self.guide, self.seed = model, guide, seed
        self.likelihood = model.likelihood
        if not isinstance(model.likelihood, FixedNoiseGaussian) or model.likelihood.trunk.layers:
            raise InputError(WANTED)
        self.notices: list[str] = []

    @staticmethod
    def check(architecture: Architecture) -> None:
        """InputError where no pair of this architecture can start from data."""
        made, _ = read_part("likelihood", likelihood_of(architecture), LIKELIHOODS)
        if not issubclass(made, FixedNoiseGaussian) or architecture.decoder:
            raise InputError(WANTED)
        for part in ("encoders", "priors"):
            carrying(ACTIVATIONS[architecture.activation_of(part)])

    def initialise_(self, rows: Tensor) -> list[str]:
        """Start from the training rows (N, D).

        Returns:
            lines that say what was done instead where something did not fit.

        Raises:
            InputError: rows of another width, fewer than two, not finite, or all equal.
        """
        check_data(rows, self.likelihood.features, "rows")
        table = rows.detach().cpu().numpy().astype(np.float64)
        self.notices = list(_about(table))
        with torch.no_grad(), own_generators():
            torch.manual_seed(self.seed)
            magnitudes = self._start_decoder_and_z1(table)
            if self.model.num_levels > 1:
                self._start_z2(table, magnitudes)
            for level in range(3, self.model.num_levels + 1):
                self._quieten(level)
        return self.notices

    def _start_decoder_and_z1(self, table: np.ndarray) -> np.ndarray:
        """Steps 1 and 2; returns the magnitudes (N, r) of the units with a source under q."""
        sources, noise = independent_components(table, seed=self.seed), self.likelihood.noise
        if not sources.converged:
            self.notices.append(
                "ICA had not settled when its iterations ended; its columns are used as they are"
            )
        number = self._num_sources(sources.columns.shape[1], len(table))
        chosen = np.argsort(-worth_modelling(sources, noise), kind="stable")[:number]
        level = self._level(1)
        columns = sources.columns[:, chosen] / math.sqrt(level.variance)
        posterior = linear_posterior(columns, noise, level.variance)
        decoder = self.likelihood.loc.parts[0]
        decoder.weight[:, number:] *= QUIET
        decoder.weight[:, :number] = _like(decoder.weight, columns)
        decoder.bias.copy_(_like(decoder.bias, sources.centre))
        reached = recognition(self.guide, 1)
        gain = _like(decoder.weight, posterior.gain)
        offsets = -_like(decoder.weight, posterior.gain @ sources.centre)
        readout = carry_(reached.trunk, gain, offsets)
        scales = level.scale_of(posterior.variance)
        _set_heads_(reached.heads, level, readout, scales)
        locations = posterior.locations(table - sources.centre)
        return expected_magnitudes(locations, scales, laplace=level.laplace)

    def _num_sources(self, rank: int, num_rows: int) -> int:
        """How many sources find a unit and a place in the encoder, and what to say of the rest."""
        units, places = self.model.latent_sizes[0], capacity(recognition(self.guide, 1).trunk)
        number = int(min(rank, units, places))
        if number < rank:
            narrow = "z1 has" if units <= places else "the hidden layers of z1's encoder hold"
            change = (
                f"--latent {rank} ... has a unit for each"
                if units <= places
                else f"encoders of {2 * rank} units hold all"
            )
            self.notices.append(
                f"the rows have {rank} sources and {narrow} room for {number}: the {number} most "
                f"worth modelling are started from ({change})"
            )
        if num_rows < FEW * rank:
            self.notices.append(
                f"{num_rows} rows are few for ICA of {rank} dimensions: its columns will be noisy "
                f"(some {FEW * rank} rows or fewer --components would do)"
            )
        return number

    def _start_z2(self, table: np.ndarray, magnitudes: np.ndarray) -> None:
        """Steps 3 and 4."""
        level, above = self._level(1), self._level(2)
        conditional = self.model.conditionals[0]
        places = min(self.model.latent_sizes[1], capacity(conditional.trunk))
        if magnitudes.shape[1] < 2:
            self.notices.append("one source has no factors: z2 starts at its prior")
            _set_heads_(conditional, level)
            self._quieten(2)
            return
        factors = magnitude_factors(magnitudes, int(places))
        if factors.number < self.model.latent_sizes[1]:
            self.notices.append(
                f"{factors.number} of {self.model.latent_sizes[1]} units of z2 start as factors of "
                "the sources' magnitudes, as many as the rows show and p(z1 | z2)'s hidden layers "
                "hold; the others start at their prior"
            )
        self.scales = scales = scale_model(magnitudes, factors, laplace=level.laplace)
        weight = self.likelihood.loc.parts[0].weight
        spread = math.sqrt(above.variance)
        readout = carry_(
            conditional.trunk,
            torch.eye(factors.number, self.model.latent_sizes[1]).to(weight),
        )
        loadings = _like(weight, scales.slope * factors.loadings / spread)
        _set_heads_(conditional, level, None, np.exp(scales.intercept), loadings @ readout)
        reached = recognition(self.guide, 2)
        _set_heads_(reached.heads, above, None, above.scale_of(above.variance * factors.variance))
        self._regress_z2(table, spread * factors.means(magnitudes), reached)

    def _regress_z2(self, table: np.ndarray, targets: np.ndarray, reached: Recognition) -> None:
        """Let q(z2 | x), or q(z2 | z1), find the factors."""
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(table), generator=generator)[:REGRESSION_ROWS].numpy()
        head = reached.heads.loc.parts[0]
        x, y = _like(head.weight, table[chosen]), _like(head.weight, targets[chosen])
        below = recognition(self.guide, 1)
        if isinstance(self.guide, BottomUpGuide):
            inputs = below.heads(x).sample()
        else:
            inputs = below.trunk(x)
        number = y.shape[1]
        part = nn.Linear(head.in_features, number).to(head.weight)
        trunk = reached.trunk or nn.Identity()
        with torch.enable_grad():
            explained = regress_(
                lambda h: part(trunk(h)),
                [*trunk.parameters(), *part.parameters()],
                inputs,
                y,
                generator=generator,
            )
        head.weight[:number], head.bias[:number] = part.weight, part.bias
        self.explained = explained

    def _quieten(self, level: int) -> None:
        """Level 2, 3, ... starts at its prior, on both sides."""
        if level < self.model.num_levels:
            _set_heads_(self.model.conditionals[level - 1], self._level(level))
        if level > 2:
            _set_heads_(self.model.conditionals[level - 2], self._level(level - 1))
        _set_heads_(recognition(self.guide, level).heads, self._level(level))

    def _level(self, level: int) -> Level:
        """Scale and variance of the units of z_level under their prior."""
        if level < self.model.num_levels:
            laplace = self.model.conditionals[level - 1].family is dist.Laplace
            return Level(1.0, 2.0 if laplace else 1.0, laplace)
        prior = self.model.prior().base_dist
        variance = float(prior.variance.mean())
        laplace = isinstance(prior, dist.Laplace)
        return Level(math.sqrt(variance / (2 if laplace else 1)), variance, laplace)


@dataclass(frozen=True)
class Recognition:
    """How a guide reaches q(z_l | ...): a network of one input, and the heads that read it."""

    trunk: MLP | None
    heads: LocScale


def recognition(guide: Guide, level: int) -> Recognition:
    """Of level 1, 2, ...: its input is x for level 1, and else the encoding (or z) below."""
    conditional = guide.conditionals[level - 1]
    if isinstance(guide, BottomUpGuide):
        return Recognition(conditional.trunk, conditional)
    return Recognition(guide.encoders[level - 1], conditional)


def _about(table: np.ndarray) -> Sequence[str]:
    constant = int((np.ptp(table, axis=0) == 0).sum())
    if constant:
        yield f"{constant} of {table.shape[1]} pixels are constant: no column covers them"


def _like(parameter: Tensor, values: np.ndarray) -> Tensor:
    return torch.as_tensor(values).to(parameter)


def _set_heads_(
    conditional: LocScale,
    level: Level,
    location: Tensor | None = None,
    scale: np.ndarray | None = None,
    log_scale: Tensor | None = None,
) -> None:
    """Set the heads of the first units; the others are at location 0 and the level's scale.

    Args:
        location: (r, H), what the location reads of the last hidden layer; None for nothing.
        scale: (r,), at inputs of zero. log_scale: (r, H), what the logarithm of the scale reads.
    """
    units, like = conditional.features, conditional.loc.parts[0].weight
    raw = torch.full((units,), math.log(level.scale)).to(like)
    if scale is not None:
        raw[: len(scale)] = _like(like, np.log(scale))
    zero = torch.zeros(units).to(like)
    set_head_(conditional.loc, _padded(location, units), zero)
    gain = conditional.gain
    reads = None if log_scale is None else _padded(log_scale / gain, units)
    set_head_(conditional.log_scale, reads, raw / gain)


def _padded(weight: Tensor | None, units: int) -> Tensor | None:
    """Rows of zeros below, up to so many units."""
    if weight is None:
        return None
    return torch.cat([weight, weight.new_zeros(units - len(weight), weight.shape[1])])
