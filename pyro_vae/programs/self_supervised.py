"""The self-supervised VAE of Gatopoulos 2020 (chapter 5) with any list of representations.

K deterministic representations y_1 = d_1(x), ..., y_K = d_K(y_{K-1}) stand between the latents, and
y_0 is x::

    p(x, y, z) = p(z_{K+1}) p(y_K | z_{K+1})
                 prod_{k=1..K} p(z_k | y_k, z_{k+1}) p(y_{k-1} | y_k, z_k)
    q(z | x)   = q(z_{K+1} | y_K) prod_{k=1..K} q(z_k | y_{k-1})

z_{K+1} is the paper's u. For K = 1 this is its equation 5.3; for more equation 5.4 with the sum of
divergences from k = 1 (the printed one begins at k = 2, which loses that of z). Its y are numbered
from the top, ours from the data, as latents are everywhere in this library.

**What is bounded.** q puts all its mass on y = d(x), so bounds and weights converge to
log p(x, d(x)): a bound of the pair. It is one of x as well, since p(x, d(x)) <= p(x), but no
number of particles closes the gap, the probability that the decoder gives x under other y. It is
zero where p(x | y, z) has no mass beside images with d(x) = y.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_data
from pyro_vae.programs.guides import Guide
from pyro_vae.programs.models import Generative
from pyro_vae.programs.networks import some_rows, start_
from pyro_vae.programs.representations import check_representations

PAIR = "the pair (x, d(x))"


class SelfSupervisedVAE(Generative):
    """p(x, y_1..y_K, z_1..z_{K+1}) with transforms y_k = d_k(y_{k-1}) between its levels.

    Args:
        prior: module that returns p(z_{K+1}) when called.
        top: module for p(y_K | z_{K+1}).
        conditionals: modules for p(z_k | y_k, z_{k+1}), k = 1..K, from the data upward.
        likelihoods: modules for p(y_{k-1} | y_k, z_k), k = 1..K; the first is that of x.
        transforms: d_1, ..., d_K (:mod:`pyro_vae.programs.representations`).

    Sites: ``z{K+1}``, ``y{K}``, ``z{K}``, ..., ``y1``, ``z1``, ``x``, in one plate ``data``. Called
    with x (B, D) it observes x and its representations. Further arguments are representations given
    instead of the transforms' (bidirectional Monte Carlo simulates pairs whose y is not d(x)).
    Called with ``x=None`` it draws ``num_data`` images, y first.

    Raises:
        InputError: numbers of parts that do not fit, or x of another width.
    """

    def __init__(
        self,
        prior: nn.Module,
        top: nn.Module,
        conditionals: Sequence[nn.Module],
        likelihoods: Sequence[nn.Module],
        transforms: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        count = len(transforms)
        if not count:
            raise InputError("a self-supervised VAE wants at least one transform")
        for what, parts in (("conditionals", conditionals), ("likelihoods", likelihoods)):
            if len(parts) != count:
                raise InputError(
                    f"{count} transforms want {count} {what}, from the data up, got {len(parts)}"
                )
        self.prior, self.top = prior, top
        self.conditionals = nn.ModuleList(conditionals)
        self.likelihoods = nn.ModuleList(likelihoods)
        self.transforms: Any = nn.ModuleList(transforms)

    @property
    def num_levels(self) -> int:
        return len(self.transforms) + 1

    @property
    def recordable(self) -> bool:
        """Not where a transform may do more in Python than tensor operations."""
        return all(getattr(transform, "recordable", True) for transform in self.transforms)

    @property
    def likelihood(self) -> nn.Module:
        """That of x."""
        return self.likelihoods[0]

    @property
    def representation_names(self) -> tuple[str, ...]:
        """y1, ..., yK, from the data upward."""
        return tuple(f"y{number}" for number in range(1, self.num_levels))

    @property
    def read_names(self) -> tuple[str, ...]:
        """y1 and z1."""
        return "y1", "z1"

    @property
    def bound_of(self) -> str:
        """x where no draw can disagree with its representation, at any level; else the pair."""
        whole = all(getattr(one, "consistent", False) for one in self.likelihoods)
        return "x" if whole else PAIR

    @property
    def priors_of_x(self) -> tuple[str, ...]:
        """All latents but the top one: p(z_k | y_k, z_{k+1}) reads y_k = d_k(...)."""
        return self.latent_names[:-1]

    def check_rows(self, x: Tensor, what: str = "data") -> None:
        """InputError where rows (N, D) are none, or a transform makes no representation of them."""
        super().check_rows(x, what)
        check_representations(self.transforms, some_rows(x))

    @torch.no_grad()
    def initialise_(self, rows: Tensor) -> None:
        """Start its convolutions from training rows (N, D), their representations and N(0, I).

        See :func:`pyro_vae.programs.networks.start_`. Latents are standard normal numbers, as many
        as there are rows up to some: nearly that is what the guide gives before training.
        """
        like = next(self.parameters())
        images = ladder(self.transforms, some_rows(rows).to(like))
        drawn = [torch.randn(len(images[0]), units).to(like) for units in self.latent_sizes]
        if hasattr(self.prior, "initialise_"):
            self.prior.initialise_(rows)
        start_(self.top, drawn[-1])
        for level, likelihood in enumerate(self.likelihoods):
            start_(self.conditionals[level], images[level + 1], drawn[level + 1])
            start_(likelihood, images[level + 1], drawn[level])

    def represent(self, x: Tensor) -> list[Tensor]:
        """y1, ..., yK of the rows x (B, D)."""
        return ladder(self.transforms, x)[1:]

    def forward(
        self, x: Tensor | None = None, *representations: Tensor, num_data: int = 1
    ) -> Tensor:
        given: Sequence[Tensor | None] = [None] * self.num_levels
        if x is not None:
            check_data(x, self.num_pixels)
            given = ladder(self.transforms, x, representations)
            num_data = len(x)
        names = ("x", *self.representation_names)
        top = self.num_levels
        with pyro.plate("data", num_data, dim=-1):
            z = pyro.sample(f"z{top}", self.prior())
            y = pyro.sample(names[top - 1], self.top(z), obs=given[top - 1])
            for level in range(top - 1, 0, -1):
                z = pyro.sample(f"z{level}", self.conditionals[level - 1](y, z))
                law = self.likelihoods[level - 1](y, z)
                y = pyro.sample(names[level - 1], law, obs=given[level - 1])
            return y


class SelfSupervisedGuide(Guide):
    """q(z_{K+1} | y_K) prod_k q(z_k | y_{k-1}): every latent from the image that it explains.

    y is no part of it, since q(y | x) puts all mass on d(x), and z_k does not read y_k, which is a
    function of y_{k-1} (Gatopoulos 2020, section 5.2.2, properties A and B).

    Args:
        encoders: networks that read x, y_1, ..., y_K.
        conditionals: q(z_1 | .), ..., q(z_{K+1} | .) of what the encoders return.
        transforms: those of the model.
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        conditionals: Sequence[nn.Module],
        transforms: Sequence[nn.Module],
    ) -> None:
        super().__init__(conditionals)
        self.encoders: Any = self._check("encoders", encoders, self.num_levels)
        self.transforms: Any = self._check("transforms", transforms, self.num_levels - 1)

    def top(self, x: Tensor) -> dist.TorchDistribution:
        """q(z_{K+1} | y_K) at the representation of rows x (B, D)."""
        return self.top_of(self.read_by_top(x))

    def read_by_top(self, x: Tensor) -> Tensor:
        """y_K of rows x (B, D)."""
        self._check_data(x, self.encoders[0])
        return ladder(self.transforms, x)[-1]

    def top_of(self, y: Tensor) -> dist.TorchDistribution:
        """q(z_{K+1} | y_K) at rows of the width of y_K."""
        return self.conditionals[-1](self.encoders[-1](y))

    @torch.no_grad()
    def initialise_(self, rows: Tensor) -> None:
        """Start every encoder from the images that it reads, of training rows (N, D)."""
        images = ladder(self.transforms, some_rows(rows))
        for encoder, image in zip(self.encoders, images, strict=True):
            start_(encoder, image.to(next(encoder.parameters())))

    def forward(self, x: Tensor, *representations: Tensor) -> None:
        self._check_data(x, self.encoders[0])
        images = ladder(self.transforms, x, representations)
        with pyro.plate("data", len(x), dim=-1):
            for level in range(self.num_levels, 0, -1):
                encoded = self.encoders[level - 1](images[level - 1])
                pyro.sample(f"z{level}", self.conditionals[level - 1](encoded))


def ladder(
    transforms: Sequence[nn.Module], x: Tensor, given: Sequence[Tensor] = ()
) -> list[Tensor]:
    """x, y_1, ..., y_K by the transforms, or with the representations that are given.

    Raises:
        InputError: some are given, but not all.
    """
    if given:
        if len(given) != len(transforms):
            raise InputError(
                f"{len(transforms)} representations belong to an image, {len(given)} were given"
            )
        return [x, *given]
    images = [x]
    for transform in transforms:
        images.append(transform(images[-1]))
    return images
