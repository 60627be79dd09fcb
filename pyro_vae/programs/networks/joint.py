"""A network that reads several inputs, each through a layer of its own before they meet."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class JointNetwork(nn.Module):
    """h = f(g_1(z_1), ..., g_n(z_n)): the first hidden layer is of each input alone.

    The other layers, of which the first merges, are f. With one hidden layer there is f alone. So
    are the decoders of Tomczak and Welling 2018 (https://arxiv.org/abs/1705.07120) that read two
    levels of latents.

    Args:
        in_features: widths of the inputs.
        hidden: widths, at least one.
        activation: between layers.
        kind: of ``networks.NETWORKS``, the class of g and f.
    """

    def __init__(
        self,
        in_features: Sequence[int],
        hidden: Sequence[int],
        activation: str,
        kind: type[nn.Module],
    ) -> None:
        super().__init__()
        self.in_features = tuple(in_features)
        own, shared = (hidden[:1], hidden[1:]) if len(hidden) > 1 else ((), hidden)
        self.own = nn.ModuleList(kind(width, own, activation) for width in in_features)
        self.joint = kind(tuple(part.out_features for part in self.own), shared, activation)
        self.out_features = self.joint.out_features

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.joint(*(part(z) for part, z in zip(self.own, inputs, strict=True)))
