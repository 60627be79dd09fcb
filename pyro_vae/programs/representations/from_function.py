"""A representation by any function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.programs.representations.representation import Representation, _shape


class FromFunction(Representation):
    """y = function(images): levels (N, C, H, W), floats 0..255, to whole levels (N, C', H', W').

    The function must be of the image alone; :func:`check_representations` tries it on the first
    batch.

    Args:
        shape: (C, H, W) of what it reads.
        function: see above.
        shape_out: (C', H', W').
        recordable: whether it is made of torch operations alone, so that a step may be recorded:
            what another function does would be taken for a constant.

    Raises:
        InputError: when it is called and the function returns images of another shape.
    """

    def __init__(
        self,
        shape: Sequence[int],
        function: Callable[[Tensor], Tensor],
        shape_out: Sequence[int],
        *,
        recordable: bool = False,
    ) -> None:
        super().__init__(shape)
        self.function = function
        self.recordable = recordable
        self.shape_out = _shape(shape_out)

    def levels(self, images: Tensor) -> Tensor:
        found = self.function(images)
        wanted = (len(images), *self.shape_out)
        if not torch.is_tensor(found) or tuple(found.shape) != wanted:
            got = tuple(found.shape) if torch.is_tensor(found) else type(found).__name__
            raise InputError(f"the function of {len(images)} images returned {got}, not {wanted}")
        return found

    def forward(self, rows: Tensor) -> Tensor:
        found = super().forward(rows)
        return found.to(rows)
