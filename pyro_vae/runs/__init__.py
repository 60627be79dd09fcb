"""Runs: their settings, their directories, and how they are read back."""

from pyro_vae.runs.directory import RunDirectory
from pyro_vae.runs.loading import Run, load_run

__all__ = ["Run", "RunDirectory", "load_run"]
