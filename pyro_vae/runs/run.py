"""A trained pair at work: new images encoded, reconstructed and sampled, in their own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.datasets import load_dataset
from pyro_vae.datasets.preprocessing import Preprocessing
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation import simulate
from pyro_vae.evaluation.encoding import Encoding, encode
from pyro_vae.evaluation.routes import MEAN, check_names, reconstruct
from pyro_vae.programs import Generative, Guide
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.torch_state import own_generators
from pyro_vae.weights.resampling import sir


@dataclass(frozen=True)
class Run:
    """A trained pair with the configuration it was trained with; see :func:`load_run`."""

    model: Generative
    guide: Guide
    config: RunConfig
    path: Path | None = None

    @classmethod
    def of_modules(
        cls, model: nn.Module, guide: nn.Module, config: RunConfig, path: Path | None
    ) -> Run:
        """A run of modules that may be the user's own programs, which it encodes by.

        What else a run does is of this library's models, hence the types of its fields.
        """
        return cls(cast(Generative, model), cast(Guide, guide), config, path)

    def __iter__(self):
        """Unpacks as ``model, guide, config``."""
        return iter((self.model, self.guide, self.config))

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What turned the images of the run into rows, from ``preprocessing.npz``.

        Runs of versions up to 0.4 have no such file; theirs is made again from their data, where
        these are at hand.
        """
        if self.path is None:
            raise InputError("the run lies in no directory, where its preprocessing would be")
        directory = RunDirectory(self.path)
        if directory.preprocessing.is_file():
            return Preprocessing.load(directory.preprocessing)
        return load_dataset(**self.config.data_arguments).preprocessing

    @property
    def device(self) -> torch.device:
        """Where the pair lies."""
        return next(self.model.parameters()).device

    def rows(self, images: Any) -> Tensor:
        """New images as rows (N, D) on the pair's device, see ``Preprocessing.rows``.

        Runs on photographs filtered before they were cut (``whiten="radial"``) take photographs,
        and give a row for each patch of them, see ``RadialPreprocessing.rows``.
        """
        return self.preprocessing.rows(images).to(self.device)

    def encode(
        self,
        images: Any,
        *,
        num_samples: int = 32,
        num_draws: int = 0,
        num_particles: int = 1,
        seed: int = 0,
    ) -> Encoding:
        """Posterior means, scales and draws of new images, see :func:`evaluation.encode`."""
        return encode(
            self.model,
            self.guide,
            self.rows(images),
            num_samples=num_samples,
            num_draws=num_draws,
            num_particles=num_particles,
            seed=seed,
        )

    def reconstruct(
        self,
        images: Any,
        *,
        keep: Sequence[str] | None = None,
        given: Sequence[str] = (),
        given_of: Any = None,
        num_samples: int = 32,
        seed: int = 0,
    ) -> np.ndarray:
        """E[x | z] averaged over draws of q(z | images), in the images' units, shape of images.

        With ``keep``, ``given`` or representations in the model any route of
        :func:`pyro_vae.evaluation.reconstruct`: E[x | .] averaged over draws of what is kept, and
        of what the model draws.

        Of photographs under ``whiten="radial"``: their patches (M, H, W), in the order of
        :meth:`rows`, as far as the filter lets them be restored.

        Args:
            keep: latents that are kept of the images; all by default.
            given: representations.
            given_of: images whose representations are given, as many or one; the images themselves
                by default.
            num_samples: draws per image.

        Raises:
            InputError: a kept name that is no latent, a given one that is no representation, other
                images of another number or without a name of what is given of them, a likelihood
                without a closed mean, or a user's own model.
        """
        self._check_routes()
        rows = self.rows(images)
        check_count("num_samples", num_samples)
        routed = keep is not None or len(given) or given_of is not None
        if routed or self.model.representation_names:
            drawn = (
                self.route_rows(rows, keep, given, given_of, seed=seed + n, mean=True)
                for n in range(num_samples)
            )
            return self.preprocessing.images(sum(drawn) / num_samples)
        with own_generators():
            torch.manual_seed(seed)
            draws = sir(self.model, self.guide, rows, 1, num_samples).latents
            with torch.no_grad():
                mean = self.model.mean_of(draws).mean(0)
        return self.preprocessing.images(mean)

    def route_rows(
        self,
        rows: Tensor,
        keep: Sequence[str] | None = None,
        given: Sequence[str] = (),
        given_of: Any = None,
        *,
        seed: int = 0,
        mean: bool = False,
    ) -> Tensor:
        """One draw of a route for each of the rows (N, D), as the model has them: (N, D).

        Arguments and errors as for :meth:`reconstruct`; ``mean``: E[x | .] at the drawn parents.
        """
        self._check_routes()
        wanted: Sequence[str] | dict[str, Tensor] = given
        if given_of is not None:
            if not given:
                raise InputError("given_of wants the names of what is given: given=['y1']")
            other = self.rows(given_of)
            if len(other) not in (1, len(rows)):
                raise InputError(
                    f"representations of {len(other)} other images cannot be given to {len(rows)} "
                    f"images; allowed: 1 or {len(rows)}"
                )
            check_names("given", given, self.model.representation_names, "representations")
            made = self.model.represent(other.expand(len(rows), -1))
            named = zip(self.model.representation_names, made, strict=True)
            wanted = {name: value for name, value in named if name in given}
        with own_generators():
            torch.manual_seed(seed)
            drawn = reconstruct(self.model, self.guide, rows, keep, wanted)
        if mean and MEAN not in drawn:
            raise InputError("the likelihood has no closed mean: its images can be drawn")
        return drawn[MEAN if mean else "x"]

    def _check_routes(self) -> None:
        if not isinstance(self.model, Generative):
            raise InputError(
                f"{type(self.model).__name__} is no model of this library: it encodes, and does "
                "not reconstruct"
            )

    def sample(self, num: int, *, seed: int = 0, mean: bool = False) -> np.ndarray:
        """Images drawn from the model, in the units of the run's images, (num, ...).

        ``mean``: E[x | z] at each draw of the latents, without the noise of the pixels.
        """
        return self.preprocessing.images(self.sample_rows(num, seed=seed, mean=mean))

    def sample_rows(self, num: int, *, seed: int = 0, mean: bool = False) -> Tensor:
        """The same as rows (num, D), as the model has them."""
        check_count("num", num)
        with torch.no_grad(), own_generators():
            torch.manual_seed(seed)
            rows, latents = simulate(self.model, num)
            return self.model.mean_of(latents) if mean else rows
