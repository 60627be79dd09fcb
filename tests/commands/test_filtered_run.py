"""A run on photographs under ``--whiten radial``: new photographs, card, settings given on."""

import shutil

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae import cli
from pyro_vae.datasets import load_dataset
from pyro_vae.runs import new_config
from tests.conftest import run_fit
from tests.datasets.test_preprocessing import pictures, write

SIDE, PATCHES = 6, 2 * 9  # two photographs of 28 x 28 pixels, 4 of which stay at each border


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photographs")
    write(path, pictures(side=40))
    return path


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, folder):
    path = tmp_path_factory.mktemp("runs") / "filtered"
    flags = ["--dataset", folder, "--patch-size", SIDE, "--num-train", 200, "--whiten", "radial"]
    flags += ["--latent", 10, 3]
    assert run_fit(*flags, "--run-dir", path) == 0
    return path


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """A file of photographs that no run has seen."""
    path = tmp_path_factory.mktemp("new") / "new.npy"
    np.save(path, pictures(side=28)[:2])
    return path


def test_new_photographs_are_encoded_by_what_lies_in_the_run(run_dir, folder, new, tmp_path):
    elsewhere = shutil.copytree(run_dir, tmp_path / "alone")
    run = pyro_vae.load_run(elsewhere)
    rows = run.rows(np.load(new))
    own = load_dataset(**run.config.data_arguments).preprocessing
    assert torch.equal(rows, own.rows(np.load(new)))
    codes = run.encode(np.load(new))
    assert len(codes.means["z1"]) == len(rows) == PATCHES
    assert cli.main(["encode", str(elsewhere), str(new), "--out", str(tmp_path / "c.npz")]) == 0
    assert np.array_equal(np.load(tmp_path / "c.npz")["z1_mean"], codes.means["z1"])


def test_reconstructions_and_samples_are_patches_in_grey_levels(run_dir, new):
    run = pyro_vae.load_run(run_dir)
    back, drawn = run.reconstruct(np.load(new)), run.sample(5, mean=True)
    assert back.shape == (PATCHES, SIDE, SIDE)
    assert drawn.shape == (5, SIDE, SIDE)
    # After two steps the model knows little but the mean, which is a grey between black and white.
    for images in (back, drawn):
        assert 0 < images.mean() < 1


def test_patches_are_refused_with_what_is_wanted(run_dir, tmp_path, capsys):
    np.save(tmp_path / "patches.npy", np.zeros((3, SIDE, SIDE), np.uint8))
    for command in (["encode", "--out", str(tmp_path / "c.npz")], ["evaluate"]):
        words = [command[0], str(run_dir), str(tmp_path / "patches.npy"), *command[1:]]
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "photographs of at least 14 x 14 pixels are needed" in error


def test_the_card_and_the_pictures_know_the_filter(run_dir, capsys):
    assert cli.main(["card", str(run_dir)]) == 0
    card = capsys.readouterr().out
    assert "whiten radial" in card.replace("=", " ").replace(": ", " ")
    assert "components 28" in card.replace("=", " ").replace(": ", " ")
    assert list((run_dir / "figures").glob("*.png"))


def test_a_config_given_back_with_another_whitening_has_its_components(run_dir):
    stored = pyro_vae.load_run(run_dir).config
    assert stored.data.components == 28
    assert new_config({"seed": 3}, base=stored).data.components == 28
    assert new_config({"whiten": "zca"}, base=stored).data.components == 128
    assert new_config({"whiten": "zca", "components": 9}, base=stored).data.components == 9
