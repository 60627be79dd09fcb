"""Export: trained pairs in the forms of other tools."""

from pyro_vae.export.inference_data import netcdf_bytes, per_datum, to_inference_data

__all__ = ["netcdf_bytes", "per_datum", "to_inference_data"]
