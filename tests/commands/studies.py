"""Studies of TD-IWAE as the tests run them: in this process, on one thread, cheaply judged."""

import csv
import os

import torch

from experiments import td_iwae
from experiments.study.study_campaign import StudyCampaign
from pyro_vae.runs import RunDirectory
from tests.conftest import bare_runs


def cheap_studies(patch, **settings):
    """Cheap evaluation, no compiler and no pictures; settings: further ones of all cells."""
    cheap = {"valid_size": 5, "posterior_data": 2, "posterior_draws": 3, "compile": False}
    patch.setattr(StudyCampaign, "settings", lambda campaign, made: cheap | settings)
    bare_runs(patch)
    patch.setattr(os, "sched_getaffinity", lambda pid: {0})  # one thread


def command(*flags):
    threads = torch.get_num_threads()
    try:
        return td_iwae.main([*map(str, flags), "--jobs", "1"])
    finally:
        torch.set_num_threads(threads)


def rows_of(folder):
    with (folder / "study.csv").open() as stream:
        return list(csv.DictReader(stream))


def same_training(one, two):
    first, second = (RunDirectory(path) for path in (one, two))
    states = [torch.load(d.checkpoint, weights_only=True) for d in (first, second)]
    for part in ("model", "guide"):
        for name, tensor in states[0][part].items():
            assert torch.equal(tensor, states[1][part][name]), name
    assert first.metrics.read_bytes() == second.metrics.read_bytes()
    assert first.read_summary()["test"] == second.read_summary()["test"]
