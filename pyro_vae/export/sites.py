"""The sites of a model as variables of ArviZ data: their names, axes and observed values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.rows import Data, as_arguments, split_rows
from pyro_vae.torch_state import evaluating, own_generators
from pyro_vae.weights import traces

if TYPE_CHECKING:
    import xarray

RESERVED = ("chain", "draw", "datum")  # axes of ArviZ data cannot be variables too
_ROWS_AT_ONCE = 10_000


class Sites:
    """Latent and observed sites of a model, found by one run of it on the data.

    Attributes:
        observed: observed site -> its values (B, ...).
        units: variable -> names of the axes behind (chain, draw, datum): one is called
            <name>_unit, or "pixel" for the only observed site.

    Raises:
        InputError: no observed site, or none called ``observed``; a site called chain, draw or
            datum; two names that differ in a slash and a dot only.
    """

    def __init__(self, model: Callable, x: Data, observed: str | None) -> None:
        shapes, values = _run(model, x)
        if not values:
            raise InputError(
                "the model observes no site; give the data with pyro.sample(..., obs=x)"
            )
        if observed is not None and observed not in values:
            raise InputError(
                f"the model has no observed site {observed!r}; name the observed one with "
                f"observed=; its observed sites: {', '.join(values)}"
            )
        self.observed = values if observed is None else {observed: values[observed]}
        latent = {name: shape for name, shape in shapes.items() if name not in values}
        exported = latent | {name: shapes[name] for name in self.observed}
        self._variables = _variables(exported)
        self.units: dict[str, list[str]] = {}
        only = len(self.observed) == 1
        for name, shape in exported.items():
            variable = self._variables[name]
            unit = "pixel" if only and name in self.observed else f"{variable}_unit"
            axes = [unit] if len(shape) == 1 else [f"{unit}_{axis}" for axis in range(len(shape))]
            self.units[variable] = [self._free(axis) for axis in axes]

    def variables(
        self, values: Mapping[str, Tensor], convert: Callable[[Tensor], np.ndarray]
    ) -> dict[str, np.ndarray]:
        """site -> tensor as variable -> array."""
        return {self._variables[name]: convert(value) for name, value in values.items()}

    def annotate(self, groups: Iterable[xarray.Dataset]) -> None:
        """Note the site of every variable that is called otherwise."""
        for group in groups:
            for name, variable in self._variables.items():
                if name != variable and variable in group:
                    group[variable].attrs["site"] = name

    def _free(self, axis: str) -> str:
        """The axis under a name that no variable and no other axis has."""
        taken = {*self._variables.values(), *(name for row in self.units.values() for name in row)}
        while axis in taken:
            axis += "_"
        return axis


def _variables(names: Mapping[str, object]) -> dict[str, str]:
    """Site -> variable. Pyro's names are free, those of netCDF hold no slash."""
    variables = {name: name.replace("/", ".") for name in names}
    for name, variable in variables.items():
        if variable in RESERVED:
            raise InputError(
                f"site {name!r} has the name of an axis of ArviZ data ({', '.join(RESERVED)}); "
                "call it otherwise in model and guide"
            )
        twins = [other for other in variables if variables[other] == variable]
        if len(twins) > 1:
            raise InputError(
                f"sites {' and '.join(map(repr, twins))} would both be exported as {variable!r}, "
                "since netCDF names hold no slash; call one of them otherwise"
            )
    return variables


@torch.no_grad()
def _run(model: Callable, x: Data) -> tuple[dict[str, torch.Size], dict[str, Tensor]]:
    """Every site's shape of one datum, and the values of the observed ones, for all data."""
    shapes: dict[str, torch.Size] = {}
    columns: dict[str, list[Tensor]] = {}
    with own_generators(), evaluating(model):
        for rows in split_rows(x, _ROWS_AT_ONCE):
            for name, site in traces.sample_sites(
                traces.run(model, as_arguments(rows), {})
            ).items():
                shapes[name] = site.value.shape[1:]
                if site.is_observed:
                    columns.setdefault(name, []).append(site.value)
    return shapes, {name: torch.cat(values) for name, values in columns.items()}
