"""Flows over maps of units (C, H, W): couplings by convolutions, masks, squeezes, scales."""

from __future__ import annotations

from itertools import cycle

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from pyro_vae.errors import InputError, check_count
from pyro_vae.programs.flows.zuko_import import LazyComposedTransform, LazyTransform
from pyro_vae.programs.networks import ELU, Folded, Shape


class MapCoupling(LazyTransform):
    """u = z exp(s) + t where the mask is off, u = z where it is on; s, t = net(mask z).

    ``s = g tanh(.)`` with a learned g per channel, so that no single coupling stretches a unit by
    more than exp(|g|); the net has two convolutions of 3x3 around one of 1x1 and ELU between them.
    It starts at s = t = 0 (Dinh et al. 2017, sections 3.3 and 3.4, without their batch
    normalisation, https://arxiv.org/abs/1605.08803).

    Args:
        places: (C, H, W), whole numbers: where in a row of D units each unit of the maps stands.
            The row's other units are left as they are.
        kept: mask (C, H, W), True where a unit stays.
        width: channels between the convolutions.

    Raises:
        InputError: a mask that moves nothing, or all.
    """

    def __init__(self, places: Tensor, kept: Tensor, width: int) -> None:
        super().__init__()
        if kept.all() or not kept.any():
            raise InputError(f"the mask of a coupling wants units to keep and to move, got {kept}")
        channels = len(places)
        # Buffers, since an index on the CPU would break the graph of a GPU; constants, not saved.
        self.register_buffer("places", places.flatten(), persistent=False)
        self.register_buffer("kept", kept.flatten(), persistent=False)
        net = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            ELU(),
            nn.Conv2d(width, width, 1),
            ELU(),
            nn.Conv2d(width, 2 * channels, 3, padding=1),
        )
        for parameter in net[-1].parameters():
            nn.init.zeros_(parameter)
        self.net = Folded(net, (channels, *places.shape[1:]))
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, c: Tensor | None = None) -> Transform:
        return _MapTransform(self)

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The maps of rows (..., D), and s and t at every unit of theirs, (..., C H W) each."""
        maps = rows.index_select(-1, self.places)
        raw = self.net(maps.where(self.kept, 0)).unflatten(-1, (2, len(self.gain), -1))
        log_scale = self.gain[:, None] * raw[..., 0, :, :].tanh()
        return maps, self._moved(log_scale), self._moved(raw[..., 1, :, :])

    def write(self, rows: Tensor, maps: Tensor) -> Tensor:
        """The rows with other maps in their places."""
        return rows.index_copy(-1, self.places, maps)

    def _moved(self, values: Tensor) -> Tensor:
        return values.flatten(-2).where(~self.kept, 0)


class _MapTransform(Transform):
    """One coupling, in both directions; it remembers no value."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, coupling: MapCoupling) -> None:
        super().__init__()
        self.coupling = coupling

    def _call(self, z: Tensor) -> Tensor:
        return self.call_and_ladj(z)[0]

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        maps, log_scale, shift = self.coupling.read(z)
        return self.coupling.write(z, maps * log_scale.exp() + shift), log_scale.sum(-1)

    def _inverse(self, u: Tensor) -> Tensor:
        maps, log_scale, shift = self.coupling.read(u)
        return self.coupling.write(u, (maps - shift) * (-log_scale).exp())

    def log_abs_det_jacobian(self, z: Tensor, u: Tensor) -> Tensor:
        return self.coupling.read(z)[1].sum(-1)


def checkerboard(shape: Shape, parity: int = 0) -> Tensor:
    """True where row + column has the parity, in every channel."""
    _, height, width = shape
    odd = (torch.arange(height)[:, None] + torch.arange(width)) % 2
    return (odd == parity).expand(shape)


def channels(shape: Shape, parity: int = 0) -> Tensor:
    """True in the first half of the channels (parity 0) or in the second; of an odd number of
    channels the second half has one more."""
    first = torch.arange(shape[0]) < shape[0] // 2
    return (first if parity == 0 else ~first)[:, None, None].expand(shape)


def squeezed(maps: Tensor) -> Tensor:
    """(C, H, W) -> (4 C, H / 2, W / 2): the four units of every square of 2x2 become channels."""
    number, height, width = maps.shape
    squares = maps.reshape(number, height // 2, 2, width // 2, 2)
    return squares.permute(0, 2, 4, 1, 3).reshape(4 * number, height // 2, width // 2)


def of_maps(shape: Shape, *, scales: int, couplings: int, width: int) -> LazyTransform:
    """f of a multi-scale RealNVP over rows of maps (..., C H W), started at the identity.

    At every scale but the last: ``couplings`` by a checkerboard in alternating parity, a squeeze,
    ``couplings`` by halves of the channels; then half of the channels are done and half go on. At
    the last scale: ``couplings + 1`` by a checkerboard (Dinh et al. 2017, section 3.6,
    https://arxiv.org/abs/1605.08803). Maps of one place are split by channels.

    Args:
        shape: (C, H, W) of a row.

    Raises:
        InputError: a side that a scale cannot halve, a single unit, a number below 1.
    """
    for what, number in (("scales", scales), ("couplings", couplings), ("width", width)):
        check_count(f"{what} of a spatial flow", number)
    for side in shape[1:]:
        if side % 2 ** (scales - 1):
            most = next(n for n in range(scales, 0, -1) if side % 2 ** (n - 1) == 0)
            raise InputError(
                f"{scales} scales of a spatial flow halve each side {scales - 1} times, and {side} "
                f"of {'x'.join(map(str, shape))} cannot be; take scales={most} or another shape"
            )
    places = torch.arange(torch.Size(shape).numel()).reshape(shape)
    if places.numel() == 1:
        raise InputError("a spatial flow moves units given other units, and here is only one")
    parts: list[LazyTransform] = []

    def couple(mask, number: int) -> None:
        for parity, _ in zip(cycle((0, 1)), range(number), strict=False):
            parts.append(MapCoupling(places, mask(tuple(places.shape), parity), width))

    for scale in range(scales):
        one_place = places[0].numel() == 1
        last = scale == scales - 1
        couple(channels if one_place else checkerboard, couplings + last)
        if not last:
            places = squeezed(places)
            couple(channels, couplings)
            places = places[: len(places) // 2]
    return LazyComposedTransform(*parts)
