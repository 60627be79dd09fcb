"""ArviZ data in the form of the ArviZ that is installed, and the one place that knows the forms.

ArviZ 0.23 (the last that runs on Python 3.10 and 3.11) holds groups of data sets in an
``InferenceData``, ArviZ 1.x in an ``xarray.DataTree``. The groups are the same xarray data sets in
both, and the netCDF files are the same: each reads what the other wrote.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pyro_vae.datasets.reading import readable
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    import arviz
    import xarray

    ArvizData: TypeAlias = arviz.InferenceData | xarray.DataTree

# What ArviZ 0.23 says at its first import of a day.
NOTICE = "\\s*ArviZ is undergoing a major refactor"


def arviz_data(groups: Mapping[str, xarray.Dataset]) -> ArvizData:
    """Groups of data sets, "posterior" and so on, as what the installed ArviZ takes."""
    import xarray

    if not _has_inference_data():
        return xarray.DataTree.from_dict(dict(groups))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=NOTICE)
        import arviz

        # ArviZ has no group of its own for per-datum importance diagnostics.
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme")
        return arviz.InferenceData(attrs=None, warn_on_custom_groups=False, **groups)


def group_names(data: ArvizData) -> list[str]:
    """The names of the groups, of either form."""
    import xarray

    return list(data.children) if isinstance(data, xarray.DataTree) else data.groups()


def group(data: ArvizData, name: str) -> xarray.Dataset:
    """One group as a data set; InputError, with those that there are, where there is none."""
    import xarray

    if name not in group_names(data):
        have = ", ".join(group_names(data)) or "none"
        raise InputError(f"the ArviZ data have no group {name}; they have {have}")
    return data.children[name].to_dataset() if isinstance(data, xarray.DataTree) else data[name]


def read_netcdf(path: str | Path) -> ArvizData:
    """The groups of a ``posterior.nc`` that either ArviZ wrote; arrays are read when used.

    Raises:
        InputError: no file, or none of netCDF.
    """
    import h5py
    import xarray

    with readable(path, "file of ArviZ data"):
        # Where h5netcdf fails on opening, it fails once more, aloud, when it is deleted.
        with h5py.File(path) as file:
            file.attrs.get("_nc3_strict")
        tree = xarray.open_datatree(path, engine="h5netcdf")
        return arviz_data({name: node.to_dataset() for name, node in tree.children.items()})


def netcdf_bytes(data: ArvizData) -> memoryview:
    """The netCDF file that ``arviz.from_netcdf`` of either ArviZ opens, in memory.

    HDF5 that meets a full disk leaves a broken file open and may end the process when it exits.
    """
    import xarray

    tree = xarray.DataTree.from_dict({name: group(data, name) for name in group_names(data)})
    return tree.to_netcdf(None, engine="h5netcdf")


def _has_inference_data() -> bool:
    """Whether ArviZ 0.x is installed; asked of its metadata, since its import takes seconds."""
    try:
        return metadata.version("arviz").startswith("0.")
    except metadata.PackageNotFoundError:  # parts of 1.x may stand alone
        return False
