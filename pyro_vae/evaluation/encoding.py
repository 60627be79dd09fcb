"""Codes of images: posterior means, scales and draws of every level, and the files they go to."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.posterior_moments import posterior_moments
from pyro_vae.rows import Data, as_data, count_rows
from pyro_vae.storage import write_text, write_whole
from pyro_vae.torch_state import own_generators
from pyro_vae.weights.resampling import sir

SUFFIXES = (".npz", ".csv", ".nc")


@dataclass(frozen=True)
class Encoding:
    """Posterior moments and draws of N images, level by level, in the units of the latents.

    Attributes:
        means: level -> (N, units), E[z | x].
        scales: level -> (N, units), the posterior standard deviation sqrt(Var[z | x]).
        draws: level -> (num_draws, N, units); empty where none were asked for.
        num_particles: 1: of the guide q(z | x). k > 1: of q_EW, the guide resampled by importance
            weights with k proposals per draw.
    """

    means: Mapping[str, np.ndarray]
    scales: Mapping[str, np.ndarray]
    draws: Mapping[str, np.ndarray]
    num_particles: int = 1

    @property
    def levels(self) -> tuple[str, ...]:
        """z1, z2, ..., from the data upward."""
        return tuple(sorted(self.means))

    def save(self, path: str | os.PathLike) -> None:
        """Write the codes, whole or not at all.

        ``.npz`` has arrays ``z1_mean``, ``z1_scale``, ``z1_draws``, ...; ``.csv`` a row per image
        with columns ``z1_mean_0``, ... (means and scales; draws have no place in it); ``.nc`` is
        netCDF with dimensions draw, datum and z1_unit, which xarray opens.

        Raises:
            InputError: another suffix.
        """
        path = Path(path)
        writers = {".npz": self._npz, ".csv": self._csv, ".nc": self._netcdf}
        if path.suffix not in writers:
            raise InputError(f"{path}: codes are written to {', '.join(writers)}")
        writers[path.suffix](path)

    def _columns(self) -> dict[str, np.ndarray]:
        found = {}
        for level in self.levels:
            found[f"{level}_mean"] = self.means[level]
            found[f"{level}_scale"] = self.scales[level]
        return found

    def _npz(self, path: Path) -> None:
        stream = io.BytesIO()
        draws = {f"{level}_draws": values for level, values in self.draws.items()}
        columns: dict[str, Any] = self._columns() | draws
        np.savez_compressed(stream, **columns, num_particles=np.array(self.num_particles))
        write_whole(path, stream.getvalue())

    def _csv(self, path: Path) -> None:
        import pandas as pd

        columns = {
            f"{name}_{unit}": values[:, unit]
            for name, values in self._columns().items()
            for unit in range(values.shape[1])
        }
        table = pd.DataFrame(columns)
        table.index.name = "datum"
        write_text(path, table.to_csv(lineterminator="\n"))

    def _netcdf(self, path: Path) -> None:
        import xarray

        variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for name, values in self._columns().items():
            variables[name] = (("datum", f"{name.partition('_')[0]}_unit"), values)
        for level, values in self.draws.items():
            variables[f"{level}_draws"] = (("draw", "datum", f"{level}_unit"), values)
        posterior = "q(z | x)" if self.num_particles == 1 else "q_EW(z | x)"
        attributes = {"distribution": posterior, "num_particles": self.num_particles}
        content = xarray.Dataset(variables, attrs=attributes).to_netcdf(None, engine="h5netcdf")
        write_whole(path, content)


def encode(
    model: Callable,
    guide: Callable,
    x: Data,
    *,
    num_samples: int = 32,
    num_draws: int = 0,
    num_particles: int = 1,
    seed: int = 0,
    on_progress: Callable[[int], object] = lambda num_data: None,
) -> Encoding:
    """Posterior means, standard deviations and draws of rows x (N, D).

    Args:
        x: rows, in any form that :func:`pyro_vae.rows.as_data` takes.
        num_samples: draws behind each mean of a level with latent parents, or sets of
            ``num_particles`` proposals behind each mean of q_EW; at least 2.
        num_draws: draws per datum that are kept.
        num_particles: 1 for the guide, k > 1 for q_EW (Vas 2024, Algorithm 2).
        seed: of the draws; the global generators are put back.
        on_progress: called with the number of data whose moments were found since the last call.
    """
    check_count("num_draws", num_draws, minimum=0)
    x = as_data(x, model, guide)
    moments = posterior_moments(
        model, guide, x, num_particles, num_samples, seed=seed, on_progress=on_progress
    )
    levels = [name.removesuffix("_mean") for name in moments if name.endswith("_mean")]
    draws = {}
    if num_draws:
        with own_generators():
            torch.manual_seed(seed)
            latents = sir(model, guide, x, num_particles, num_draws).latents
        draws = {
            name: values.reshape(num_draws, count_rows(x), -1).cpu().numpy()
            for name, values in latents.items()
        }
    return Encoding(
        means={level: moments[f"{level}_mean"] for level in levels},
        scales={level: moments[f"{level}_sd"] for level in levels},
        draws=draws,
        num_particles=num_particles,
    )
