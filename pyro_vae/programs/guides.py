"""Recognition programs q(z1..zL | x): top-down, bottom-up and mean-field.

The top-down guide is that of Vas 2024 (section 3.2.2), after Csikor et al. 2022
(https://arxiv.org/abs/2206.00436); the bottom-up chain that of Burda et al. 2016
(https://arxiv.org/abs/1509.00519).

All are called with the model's arguments, sample z1..zL inside the plate ``data`` and encode x once
per datum: only what depends on a latent is computed per particle.

=============  ==========================================================  ============
guide          factorisation                                               analytic KL
=============  ==========================================================  ============
TopDownGuide   q(zL | x) prod_l q(z_l | x, z_{l+1})                        right
BottomUpGuide  q(z1 | x) prod_l q(z_{l+1} | z_l)                           wrong for L > 1
MeanFieldGuide prod_l q(z_l | x)                                            right
=============  ==========================================================  ============
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_data


class Guide(nn.Module):
    """What the three guides share: one conditional per level, from z1 upward."""

    reads_numbers = True  # integers given as data are pixels or counts, not labels
    # Whether sum_l KL(q_l || p_l) at sampled parents is the KL of the pair.
    analytic_kl: bool = True
    conditionals: Any  # a ModuleList, each called with what its level reads

    def __init__(self, conditionals: Sequence[nn.Module]) -> None:
        super().__init__()
        self.conditionals = nn.ModuleList(conditionals)

    @property
    def num_levels(self) -> int:
        return len(self.conditionals)

    def top(self, x: Tensor) -> dist.TorchDistribution:
        """q(zL | x) of rows x (B, D): a distribution of batch shape (B,).

        Raises:
            InputError: a guide that has no such density.
        """
        raise InputError(f"{type(self).__name__} does not tell q(z{self.num_levels} | x)")

    def read_by_top(self, x: Tensor) -> Tensor:
        """What q(zL | .) reads of rows x (B, D): the rows themselves, or a representation."""
        return x

    def top_of(self, read: Tensor) -> dist.TorchDistribution:
        """q(zL | .) at what :meth:`read_by_top` gives, or at rows of that width."""
        return self.top(read)

    def _check_data(self, x: Tensor, first: nn.Module) -> None:
        """Refuse rows that the first network cannot read, if it tells its width."""
        check_data(x, getattr(first, "in_features", x.shape[-1] if x.ndim else 0))

    def _check(self, what: str, parts: Sequence[nn.Module], wanted: int) -> nn.ModuleList:
        if len(parts) != wanted:
            raise InputError(
                f"{type(self).__name__} with {self.num_levels} levels wants {wanted} {what}, "
                f"got {len(parts)}"
            )
        return nn.ModuleList(parts)


class _Ladder(Guide):
    """A guide that first encodes the data level by level: h_l = encoder_l(h_{l-1}), h_0 = x."""

    def __init__(self, encoders: Sequence[nn.Module], conditionals: Sequence[nn.Module]) -> None:
        super().__init__(conditionals)
        self.encoders = self._check("encoders", encoders, self.num_levels)

    def encode(self, x: Tensor) -> list[Tensor]:
        """h_1, ..., h_L, each of shape (B, width)."""
        self._check_data(x, self.encoders[0])
        encodings = []
        for encoder in self.encoders:
            x = encoder(x)
            encodings.append(x)
        return encodings

    def top(self, x: Tensor) -> dist.TorchDistribution:
        """q(zL | x) of rows x (B, D): a distribution of batch shape (B,)."""
        return self.conditionals[-1](self.encode(x)[-1])


class TopDownGuide(_Ladder):
    """q(zL | x) prod_l q(z_l | x, z_{l+1}) with a shared encoding (Vas 2024, section 3.2.2).

    Args:
        encoders: h_1 = encoder_1(x) (MLP.a there), h_2 = encoder_2(h_1) (the trunk of MLP.b), ...
        conditionals: from z1 up; all but the last take (h_l, signal_l) (MLP.d), the last takes h_L.
        feedback: signal_l = feedback_l(z_{l+1}) for l = 1, ..., L-1 (MLP.c).
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        conditionals: Sequence[nn.Module],
        feedback: Sequence[nn.Module],
    ) -> None:
        super().__init__(encoders, conditionals)
        self.feedback = self._check("feedback networks", feedback, self.num_levels - 1)

    def forward(self, x: Tensor) -> None:
        encodings = self.encode(x)
        top = self.num_levels
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample(f"z{top}", self.conditionals[-1](encodings[-1]))
            for level in range(top - 1, 0, -1):
                signal = self.feedback[level - 1](z)
                q = self.conditionals[level - 1](encodings[level - 1], signal)
                z = pyro.sample(f"z{level}", q)


class MeanFieldGuide(_Ladder):
    """prod_l q(z_l | x): the ladder of encodings of TopDownGuide without its feedback."""

    def forward(self, x: Tensor) -> None:
        encodings = self.encode(x)
        with pyro.plate("data", len(x), dim=-1):
            # From the top down, the model's order, which Pyro's analytic-KL loss asks for.
            for level in range(self.num_levels, 0, -1):
                pyro.sample(f"z{level}", self.conditionals[level - 1](encodings[level - 1]))


class BottomUpGuide(Guide):
    """q(z1 | x) prod_l q(z_{l+1} | z_l): the chain of Burda et al. 2016
    (https://arxiv.org/abs/1509.00519; Arnal et al. 2021, section 2.1).

    Args:
        conditionals: q(z1 | x), q(z2 | z1), ..., from the data upward.
    """

    @property
    def analytic_kl(self) -> bool:  # type: ignore[override]
        # The parents of z_l in the model (z_{l+1}) descend from z_l in this guide.
        return self.num_levels == 1

    def top(self, x: Tensor) -> dist.TorchDistribution:
        """q(z1 | x), of one level.

        Raises:
            InputError: two levels or more: q(zL | x) is an integral over the levels below.
        """
        if self.num_levels > 1:
            raise InputError(
                f"q(z{self.num_levels} | x) of a bottomup guide of {self.num_levels} levels is an "
                "integral over the levels below and no density in closed form; allowed: topdown, "
                "meanfield, or one level"
            )
        self._check_data(x, self.conditionals[0])
        return self.conditionals[0](x)

    def forward(self, x: Tensor) -> None:
        self._check_data(x, self.conditionals[0])
        z = x
        with pyro.plate("data", len(x), dim=-1):
            for level, conditional in enumerate(self.conditionals, start=1):
                z = pyro.sample(f"z{level}", conditional(z))
