"""A code beside the known factors of its images: both scores, and each factor on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyro_vae.datasets.factors import Factor
from pyro_vae.errors import check_count
from pyro_vae.evaluation.disentanglement.gap import InformationGap, information_gap
from pyro_vae.evaluation.disentanglement.pair_accuracy import PairScore, pair_score
from pyro_vae.evaluation.disentanglement.readout import FactorReadout, factor_readout
from pyro_vae.evaluation.encoding import encode
from pyro_vae.rows import Data

_NUM_DRAWS = 4
_BLIND = (
    "the pair score does not see a missing factor (pairs that share it are told by exclusion) and "
    "hardly sees mixed axes: read it beside the gap and the table"
)


@dataclass(frozen=True)
class Disentanglement:
    """What the code of one level shows of the factors of its images.

    Attributes:
        level: of the latents, or what the code is. num_images, num_units: of the code.
        pairs: the score of Higgins et al. 2017, of the posterior means.
        gap: MIG of Chen et al. 2018, of draws.
        readout: each factor, from one draw.
    """

    level: str
    num_images: int
    num_units: int
    pairs: PairScore
    gap: InformationGap
    readout: tuple[FactorReadout, ...]

    def entries(self) -> dict[str, Any]:
        """As JSON has them."""
        factors = {
            one.factor.name: {
                "values": one.factor.size,
                "kind": one.factor.kind,
                "measure": one.measure,
                "linear": one.linear.as_dict(),
                "forest": one.forest.as_dict(),
                "chance": one.chance,
                "gap": float(self.gap.gaps[place]),
                "best_units": self.gap.units[place].tolist(),
                "information_over_entropy": self.gap.shares[:, place].tolist(),
            }
            for place, one in enumerate(self.readout)
        }
        return {
            "level": self.level,
            "num_images": self.num_images,
            "num_units": self.num_units,
            "pair_score": self.pairs.score.as_dict()
            | {
                "values": self.pairs.values.tolist(),
                "chance": self.pairs.chance,
                "batch": self.pairs.batch,
            },
            "mig": self.gap.mig.as_dict()
            | {
                "nulls": self.gap.nulls.tolist(),
                "largest_bias_removed": self.gap.largest_bias,
                "bins": self.gap.bins,
            },
            "factors": factors,
        }

    def lines(self) -> Iterator[str]:
        """What is printed: never a score without its chance level, its error and what it hides."""
        pairs, gap = self.pairs, self.gap
        yield (
            f"{self.level}: {self.num_units} units, {self.num_images} images, "
            f"{len(self.readout)} factors"
        )
        yield (
            f"pair score  {_number(pairs.score.mean)} ± {_number(pairs.score.standard_error)}   "
            f"chance {_number(pairs.chance)}   (Higgins et al. 2017; {len(pairs.values)} repeats, "
            f"{pairs.num_train} + {pairs.num_test} points of {pairs.batch} pairs; means)"
        )
        yield (
            f"MIG         {_number(gap.mig.mean)} ± {_number(gap.mig.standard_error)}   null "
            f"{_number(gap.nulls.mean())}, at most {_number(gap.nulls.max())} of {len(gap.nulls)} "
            f"shuffles   (Chen et al. 2018; draws, {gap.bins} bins; up to {gap.largest_bias:.2f} "
            "nats of bias taken off)"
        )
        yield f"note: {_BLIND}"
        yield (
            f"{'factor':<10} {'values':>6}  {'best units':<10} {'I / H':>13} {'gap':>6}   "
            f"{'linear':>13} {'forest':>13} {'chance':>6}"
        )
        for place, one in enumerate(self.readout):
            units = gap.units[place]
            names = ", ".join(map(str, units))
            shares = " ".join(f"{_number(gap.shares[unit, place]):>6}" for unit in units)
            read = " ".join(
                f"{_number(found.mean):>5} ± {_number(found.standard_error)}"
                for found in (one.linear, one.forest)
            )
            yield (
                f"{one.factor.name:<10} {one.factor.size:>6}  {names:<10} {shares:>13} "
                f"{_number(gap.gaps[place]):>6}   {read} {_number(one.chance):>6}  {one.measure}"
            )


def _number(value: float) -> str:
    return f"{value:.3f}"


def code_disentanglement(
    means: np.ndarray,
    draws: np.ndarray,
    factors: np.ndarray,
    described: Sequence[Factor],
    *,
    level: str = "code",
    seed: int = 0,
    **settings: Any,
) -> Disentanglement:
    """Both scores and the readouts of any code: of pixels, principal components, the factors.

    Args:
        means: (N, U).
        draws: (S, N, U); ``means[None]`` of a code that is no random number.
        factors: (N, F), whole numbers from 0.
        described: the F factors.
        level: what to call the code. settings: of :func:`pair_score`.

    Raises:
        InputError: see :func:`pair_score`, :func:`information_gap` and :func:`factor_readout`.
    """
    return Disentanglement(
        level=level,
        num_images=len(means),
        num_units=means.shape[1],
        pairs=pair_score(means, factors, seed=seed, **settings),
        gap=information_gap(draws, factors, seed=seed),
        readout=factor_readout(draws[0], factors, described, seed=seed),
    )


def disentanglement(
    model: Callable,
    guide: Callable,
    x: Data,
    factors: np.ndarray,
    described: Sequence[Factor],
    *,
    num_draws: int = _NUM_DRAWS,
    seed: int = 0,
    **settings: Any,
) -> tuple[Disentanglement, ...]:
    """Pair score, MIG and readouts of each level's code of images whose factors are known.

    >>> data = pyro_vae.load_dataset("sprites", pixels="binary")
    >>> known = data.factors
    >>> (z1,) = evaluation.disentanglement(m, g, data.test, known.of("test"), known.described)

    Args:
        x: (N, D), in any form that :func:`pyro_vae.rows.as_data` takes.
        factors: (N, F), whole numbers from 0.
        described: the F factors.
        num_draws: of q(z | x) behind MIG.
        seed: of draws, halves, pairs and shuffles.
        settings: of :func:`pair_score`.

    Returns:
        of z1, z2, ..., in this order.

    Raises:
        InputError: codes and factors that cannot be judged.
    """
    check_count("num_draws", num_draws)
    code = encode(model, guide, x, num_draws=num_draws, seed=seed)
    return tuple(
        code_disentanglement(
            code.means[level],
            code.draws[level],
            factors,
            described,
            level=level,
            seed=seed,
            **settings,
        )
        for level in code.levels
    )
