"""Flows over the units of a vector: couplings and autoregressive maps, with networks of zuko."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import Transform

from pyro_vae.errors import InputError, check_count
from pyro_vae.programs.flows.zuko_import import (
    CouplingTransform,
    GeneralCouplingTransform,
    LazyComposedTransform,
    LazyTransform,
    MaskedAutoregressiveTransform,
    MonotonicRQSTransform,
)


class _IndexedCoupling(CouplingTransform):
    """zuko's coupling between units that are given by their indices.

    zuko's finds the indices of a mask at each call, by an operation whose result has no known
    shape: no graph of a GPU can hold that. Nor does zuko's let a context have more leading axes.
    """

    def __init__(self, meta, kept: Tensor, moved: Tensor, order: Tensor) -> None:
        Transform.__init__(self)
        self.meta, self.idx_a, self.idx_b, self.order = meta, kept, moved, order

    def merge(self, x_a: Tensor, x_b: Tensor, shape: Size) -> Tensor:
        x_a = x_a.expand(*x_b.shape[:-1], -1)
        return torch.cat((x_a, x_b), -1).index_select(-1, self.order)


class Coupling(GeneralCouplingTransform):
    """u_a = z_a, u_b = g(z_b; net(z_a, c)): units of one parity stay, the others are moved."""

    def __init__(self, features: int, context: int = 0, mask: Tensor | None = None, **settings):
        super().__init__(features, context, mask, **settings)
        self.register_buffer("kept", self.mask.nonzero().squeeze(-1), persistent=False)
        self.register_buffer("moved", (~self.mask).nonzero().squeeze(-1), persistent=False)
        order = torch.cat((self.kept, self.moved)).argsort()
        self.register_buffer("order", order, persistent=False)

    def forward(self, c: Tensor | None = None) -> Transform:
        return _IndexedCoupling(partial(self.meta, c), self.kept, self.moved, self.order)


class _Spline(MonotonicRQSTransform):
    """zuko's spline, whose inverse is a number where rounding spoils its quadratic equation.

    The discriminant is positive, and near zero at a steep bend may come out below it.
    """

    def _inverse(self, y: Tensor) -> Tensor:
        inside, x0, x1, y0, y1, d0, d1, slope = self.bin(self.searchsorted(self.vertical, y) - 1)
        above = inside * (y - y0)
        bend = d0 + d1 - 2 * slope
        a = (y1 - y0) * (slope - d0) + above * bend
        b = (y1 - y0) * d0 - above * bend
        # Durkan et al. 2019, eqs. 6 to 8: the root that does not cancel.
        root = (b.square() + 4 * a * slope * above).clamp(min=0).sqrt()
        return torch.where(inside, x0 + 2 * slope * above / (b + root) * (x1 - x0), y)


def coupling(
    features: int,
    *,
    transforms: int,
    hidden: Sequence[int],
    context: int = 0,
    bins: int | None = None,
) -> LazyTransform:
    """Couplings of alternating parity, started at the identity.

    Affine, ``u_b = z_b exp(s(z_a, c)) + t(z_a, c)`` with |s| < 6.9 (Dinh et al. 2017, section 3.2,
    https://arxiv.org/abs/1605.08803), or monotonic rational-quadratic splines on [-5, 5] with the
    identity outside (Durkan et al. 2019, section 3.1, https://arxiv.org/abs/1906.04032). Both
    directions take one pass through each network.

    Args:
        features: number of units D.
        transforms: number of couplings.
        hidden: widths of the hidden layers of each network.
        context: number of numbers that every network reads beside the units.
        bins: of the splines; None for affine couplings. A single unit has a spline without network.

    Raises:
        InputError: a single unit for affine couplings, no transform, no hidden layer.
    """
    _check(transforms, hidden)
    if bins is None and features == 1:
        raise InputError("a coupling flow moves units given other units, and here is only one")
    odd = torch.arange(features) % 2 == 1
    parts = [
        Coupling(
            features,
            context,
            odd if index % 2 == 0 else ~odd,
            hidden_features=tuple(hidden),
            **({} if bins is None else _spline(bins)),
        )
        for index in range(transforms)
    ]
    return at_identity_(LazyComposedTransform(*parts))


def autoregressive(
    features: int, *, transforms: int, hidden: Sequence[int], context: int = 0
) -> LazyTransform:
    """Masked autoregressive maps in alternating order, started at the identity.

    ``u_i = z_i exp(s_i(z_<i, c)) + t_i(z_<i, c)`` with |s| < 6.9: one pass through a masked network
    from z to u, D passes back (Papamakarios et al. 2017, section 3,
    https://arxiv.org/abs/1705.07057). Hidden layers of fewer than D - 1 units leave the last units
    in the order without some of those before them.

    Args:
        features: number of units D.
        transforms: number of maps.
        hidden: widths of the hidden layers of each network.
        context: number of numbers that every network reads beside the units.

    Raises:
        InputError: no transform, no hidden layer.
    """
    _check(transforms, hidden)
    upward = torch.arange(features)
    parts = [
        MaskedAutoregressiveTransform(
            features,
            context,
            order=upward if index % 2 == 0 else upward.flip(0),
            hidden_features=tuple(hidden),
        )
        for index in range(transforms)
    ]
    return at_identity_(LazyComposedTransform(*parts))


def _check(transforms: int, hidden: Sequence[int]) -> None:
    check_count("transforms of a flow", transforms)
    if not hidden:
        raise InputError("the networks of a flow want at least one hidden layer, as hidden=64")


def _spline(bins: int) -> dict[str, Any]:
    check_count("bins of a spline", bins, minimum=2)
    return {"univariate": _Spline, "shapes": [(bins,), (bins,), (bins - 1,)]}


@torch.no_grad()
def at_identity_(transform: LazyTransform) -> LazyTransform:
    """Set what a transform's networks return to zero, in place: it is the identity then."""
    for part in transform.modules():
        if isinstance(getattr(part, "hyper", None), nn.Sequential):
            last = part.hyper[-1]
            last.weight.zero_()
            last.bias.zero_()
        for values in getattr(part, "phi", ()):  # of a single unit, which has no network
            values.zero_()
    return transform
