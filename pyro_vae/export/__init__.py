"""Export: trained pairs in the forms of other tools."""

from pyro_vae.export.inference_data import netcdf_bytes, per_datum, to_inference_data
from pyro_vae.export.model_card import model_card

__all__ = ["model_card", "netcdf_bytes", "per_datum", "to_inference_data"]
