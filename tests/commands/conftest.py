"""Tiny digits, and replicate.py with small settings, for the tests of tables."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import replicate
from experiments.replication.table_campaign import TableCampaign
from tests.conftest import bare_runs


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A data folder with 6 x 6 'MNIST': 560 training and 20 test images of two kinds."""
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(0)
    kinds = rng.random((2, 6, 6)) > 0.6
    label = rng.integers(0, 2, 580)
    pixels = (255 * np.clip(0.8 * kinds[label] + 0.2 * rng.random((580, 6, 6)), 0, 1)).astype("u1")
    np.savez(
        folder / "mnist.npz",
        x_train=pixels[:560],
        x_test=pixels[560:],
        y_train=label[:560],
        y_test=label[560:],
    )
    return folder


@pytest.fixture
def run(digits, tmp_path, capsys, monkeypatch):
    """The command with small settings and no compiler; returns exit code, stdout, stderr."""
    settings = TableCampaign.settings
    plain = {"compile": False, "hidden": ("20",)}
    bare_runs(monkeypatch)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})  # one thread
    monkeypatch.setattr(TableCampaign, "settings", lambda *given: {**settings(*given), **plain})

    def call(*flags, folder=tmp_path / "results"):
        threads = torch.get_num_threads()
        try:
            code = replicate.main(
                [
                    "--data-dir",
                    str(digits),
                    "--run-dir",
                    str(folder),
                    "--jobs",
                    "1",
                    "--eval-particles",
                    "60",
                    *map(str, flags),
                ]
            )
        finally:
            torch.set_num_threads(threads)
        return code, *capsys.readouterr()

    call.settings = settings
    return call


@pytest.fixture
def images_table(run, tmp_path, monkeypatch):
    """Rebuild a table on other images; its rows of ``table.csv`` by cell, and what was printed."""
    small = {"image_size": None, "hidden": None, "valid_size": 10}
    settings = TableCampaign.settings  # of the fixture ``run``, without the compiler
    monkeypatch.setattr(TableCampaign, "settings", lambda *given: {**settings(*given), **small})

    def rebuild(name: str, images: Path, *flags) -> tuple[dict[str, dict[str, str]], str]:
        words = ("--table", name, "--dataset", images, *flags)
        code, out, err = run(*words, "--test-size", 6, "--quiet")
        assert code == 0, err
        with (tmp_path / "results" / "table.csv").open() as stream:
            return {row["cell"]: row for row in csv.DictReader(stream)}, out

    return rebuild
