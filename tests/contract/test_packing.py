"""Folders of ``pyro-vae pack``: read as the run that they are of, from anywhere, no pickles."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import pyro_vae
from pyro_vae import cli
from pyro_vae.errors import InputError
from pyro_vae.runs.packing import pack_run
from pyro_vae.storage import read_weights, save_weights
from tests.commands.answers import answer
from tests.conftest import changed_by_hand


@pytest.fixture(scope="module")
def packed(finished_run, tmp_path_factory):
    return pack_run(finished_run, tmp_path_factory.mktemp("packed") / "given")


@pytest.fixture
def moved(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "moved")


def test_the_folder_is_a_run_wherever_it_lies(finished_run, moved):
    run, given = pyro_vae.load_run(finished_run), pyro_vae.load_run(moved)
    for one, other in ((run.model, given.model), (run.guide, given.guide)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    assert given.config.settings == {**run.config.settings, "data_dir": None}
    new = np.random.default_rng(0).random((5, 4, 4)).astype(np.float32)
    assert np.array_equal(run.encode(new).means["z1"], given.encode(new).means["z1"])
    assert np.array_equal(run.sample(3), given.sample(3))
    assert not given.model.training


def test_nothing_in_it_is_a_pickle(packed):
    assert {path.name for path in packed.iterdir()} == {
        "README.md",
        "checksums.json",
        "config.json",
        "model.safetensors",
        "preprocessing.npz",
        "summary.json",
    }
    assert np.load(packed / "preprocessing.npz", allow_pickle=False)["kind"] == "arrays"


def test_the_card_is_headed_for_a_hub(packed):
    text = (packed / "README.md").read_text(encoding="utf-8")
    head, card = text.split("---\n")[1:3]
    assert "library_name: pyro_vae" in head
    assert card.strip() == pyro_vae.export.model_card(pyro_vae.load_run(packed)).strip()
    assert "## What not to use it for" in card


def test_commands_take_it(moved, images, tmp_path, capsys):
    found = answer(capsys, "evaluate", moved, images, "--size", 5, "--eval-particles", 20)
    assert found["images"] == 5
    assert cli.main(["fit", "--resume", "--run-dir", str(moved), "--epochs", "9"]) == 2
    assert "there is no" in capsys.readouterr().err
    again = answer(capsys, "pack", moved, "--out", tmp_path / "again")
    assert len(again["files"]) == 6


def test_a_folder_with_files_is_refused(finished_run, packed):
    with pytest.raises(InputError, match="name a folder that is new or empty"):
        pack_run(finished_run, packed)


def test_damaged_and_foreign_weights_are_named(moved, capsys):
    file = moved / "model.safetensors"
    tensors = load_file(file)
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged, or was changed by hand"):
        pyro_vae.load_run(moved)
    changed_by_hand(moved)
    with pytest.raises(InputError, match=r"model\.safetensors is no safetensors file"):
        pyro_vae.load_run(moved)
    save_file({**tensors, "other.weight": torch.zeros(2)}, file)
    with pytest.raises(InputError, match="of none of model, guide"):
        pyro_vae.load_run(moved)
    first = next(iter(tensors))
    save_file({name: value for name, value in tensors.items() if name != first}, file)
    with pytest.raises(InputError, match="is of another"):
        pyro_vae.load_run(moved)


def test_tied_weights_are_packed(tmp_path):
    one = torch.nn.Linear(2, 2, bias=False)
    tied = torch.nn.Sequential(one, one)
    save_weights(tmp_path / "w", {"model": tied})
    found = read_weights(tmp_path / "w", ["model"])["model"]
    assert json.dumps(sorted(found)) == json.dumps(sorted(tied.state_dict()))
    assert torch.equal(found["0.weight"], one.weight)
