"""Runs: their configuration and directories, how they are trained and read back."""

from pyro_vae.runs.config import Facts, RunConfig
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.runs.hooks import Finished, Hooks, Outcome, Trained
from pyro_vae.runs.job import train
from pyro_vae.runs.loading import load_run
from pyro_vae.runs.packing import pack_run
from pyro_vae.runs.resolving import new_config
from pyro_vae.runs.resuming import resume_config
from pyro_vae.runs.run import Run
from pyro_vae.runs.saving import save_run
from pyro_vae.runs.summary import Summary

__all__ = [
    "Facts",
    "Finished",
    "Hooks",
    "Outcome",
    "Run",
    "RunConfig",
    "RunDirectory",
    "Summary",
    "Trained",
    "load_run",
    "new_config",
    "pack_run",
    "resume_config",
    "save_run",
    "train",
]
