"""Export: trained pairs in the forms of other tools."""

from pyro_vae.export.arviz_forms import group, group_names, netcdf_bytes, read_netcdf
from pyro_vae.export.inference_data import per_datum, to_inference_data
from pyro_vae.export.model_card import model_card

__all__ = [
    "group",
    "group_names",
    "model_card",
    "netcdf_bytes",
    "per_datum",
    "read_netcdf",
    "to_inference_data",
]
