"""Bad input to fit.py: exit code 2, one line that says what and where, nothing overwritten."""

import errno
import gzip
import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae.storage
from experiments import fit
from pyro_vae.cli import pictures
from pyro_vae.datasets import DATASETS
from pyro_vae.objectives import OBJECTIVES
from pyro_vae.programs import GUIDES, MODELS
from pyro_vae.programs.start.from_data import DataStart
from pyro_vae.storage import previous
from tests.conftest import bare_runs, changed_by_hand, run_fit, write_images


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)


@pytest.fixture
def no_pictures(monkeypatch):
    """Runs that must succeed before something can go wrong leave their pictures out."""
    monkeypatch.setattr(pictures, "draw", lambda *args: None)


@pytest.fixture
def refused(capsys, tmp_path):
    """Run fit.py, check that it refuses, and return its one line; files stay as they were."""

    def call(*flags, root=tmp_path):
        before = snapshot(root)
        if "--run-dir" not in flags:
            flags = (*flags, "--run-dir", tmp_path / "run")
        capsys.readouterr()
        assert run_fit(*flags) == 2
        out, err = capsys.readouterr()
        assert err.count("\n") == 1, err
        assert err.startswith("fit.py: ")
        assert out == ""
        assert snapshot(root) == before
        return err.removeprefix("fit.py: ").strip()

    return call


def snapshot(root):
    return {path: path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


# Names and numbers


@pytest.mark.parametrize(
    ("flag", "allowed"),
    [
        ("--model", MODELS),
        ("--guide", GUIDES),
        ("--objective", OBJECTIVES),
        ("--preset", ("small", "paper")),
        ("--dataset", (*DATASETS, ".npy", ".npz", "IDX")),
        ("--device", ("auto", "cpu", "cuda", "cuda:N")),
        ("--intensity", ("log", "grey")),
        ("--whiten", ("zca", "pca", "radial", "none")),
    ],
)
def test_unknown_names_list_what_is_allowed(refused, flag, allowed):
    line = refused(flag, "nonsense")
    assert "'nonsense'" in line
    for name in allowed:
        assert name in line


def test_unknown_binarisation_lists_what_is_allowed(refused, images):
    line = refused("--model", "burda1", "--dataset", images, "--binarise", "nonsense")
    assert "static, epoch, access" in line


@pytest.mark.parametrize(
    "flag",
    [
        "--num-particles",
        "--epochs",
        "--batch-size",
        "--lr",
        "--clip-norm",
        "--skip-norm",
        "--max-minutes",
        "--valid-size",
        "--test-size",
        "--eval-particles",
        "--posterior-data",
        "--posterior-draws",
        "--num-train",
        "--patch-size",
        "--components",
    ],
)
@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_numbers_out_of_range_are_named(refused, flag, value):
    line = refused(f"{flag}={value}")
    assert value in line
    assert flag in line or flag.strip("-").replace("-", "_") in line


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--seed", "-1"], "seed"),
        (["--lr", "nan"], "--lr"),
        (["--lr", "inf"], "--lr"),
        (["--max-minutes", "nan"], "--max-minutes"),
        (["--num-particles", "2.5"], "--num-particles"),
        (["--num-particles", "60"], "--eval-particles 50 is fewer than --num-particles 60"),
        (["--alpha", "0.5"], "alpha belongs to the objective renyi or pyro-renyi, not to iwae"),
        (["--objective", "renyi", "--alpha", "1"], "elbo"),
        (["--objective", "power"], "objective 'power' wants power"),
        (["--objective", "ciwae", "--beta", "1.5"], "beta must lie in [0, 1], got 1.5"),
        (["--objective", "miwae", "--inner", "3"], "inner must be a whole number from 1 to"),
        (["--objective", "median", "--estimator", "dreg"], "allowed: pathwise"),
        (["--objective", "capacity", "--capacity", "1:x"], "'1:x' is not C or START:END:SHARE"),
        (["--objective", "free-bits", "--free-bits", "1", "--groups", "x"], "groups must be"),
        (["--objective", "renyi", "--alpha", "nan"], "alpha"),
        (["--anneal", "z3=0:1:1"], "'z3'; allowed: z1, z2"),
        (["--anneal", "z2"], "'z2' is not LEVEL=START:END:SHARE"),
        (["--anneal", "z2=0:1:2"], "z2=0:1:2"),
        (["--anneal", "z2=a:b:c"], "z2=a:b:c"),
        (["--anneal", "z2=nan:1:1"], "z2=nan:1:1"),
        (["--anneal", "z2=0:1:1", "--no-anneal"], "not allowed with argument"),
        (["--binarise", "epoch"], "--binarise is for models with Bernoulli pixels; td"),
        (["--guide", "bottomup", "--objective", "elbo-analytic"], "elbo-analytic"),
        (["--nonsense", "1"], "--nonsense"),
        (["stray"], "stray"),
    ],
)
def test_flags_that_make_no_sense(refused, images, flags, match):
    assert match in refused("--dataset", images, *flags)


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_without_a_device(refused, images, monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = refused("--dataset", images, "--device", name)
    assert f"--device {name}: torch finds no CUDA device here; allowed: auto, cpu" in line


def test_the_gpu_of_apple_is_refused_with_the_reason(refused, images):
    line = refused("--dataset", images, "--device", "mps")
    assert "--device mps: Apple's GPU has no double precision" in line


def test_a_refused_command_starts_nothing_and_leaves_no_run_directory(
    refused, images, tmp_path, monkeypatch
):
    started = []
    monkeypatch.setattr(DataStart, "initialise_", lambda *given: started.append(given) or [])
    flags = ("--guide", "bottomup", "--objective", "elbo-analytic", "--dataset", images)
    refused(*flags, "--init", "data", "--latent", "4", "2")
    assert not started  # which takes minutes where rows are many
    assert not (tmp_path / "run").exists()


# Files


def write_file(path, kind):
    """A file or folder that cannot be used; returns what the message must contain."""
    rng = np.random.default_rng(0)
    good = rng.random((40, 4, 4)).astype(np.float32)
    if kind == "missing":
        return "nothing exists at this path"
    if kind == "empty":
        path.write_bytes(b"")
        return "not a readable .npy file"
    if kind == "truncated":
        np.save(path, good)
        path.write_bytes(path.read_bytes()[:-100])
        return "not a readable .npy file"
    if kind == "object array":
        np.save(path, np.array([{"a": 1}, None] * 10), allow_pickle=True)
        return "not a readable .npy file"
    if kind == "NaN":
        good[3, 1, 2] = np.nan
        np.save(path, good)
        return "1 of 640 values are NaN, infinite"
    if kind == "infinite":
        good[3, 1, 2] = np.inf
        np.save(path, good)
        return "1 of 640 values are NaN, infinite"
    if kind == "text":
        np.save(path, np.array([["a", "b"]] * 20))
        return "values must be numbers"
    if kind == "one axis":
        np.save(path, good.reshape(-1))
        return "got shape (640,)"
    if kind == "no rows":
        np.save(path, good[:0])
        return "empty, shape (0, 4, 4)"
    if kind == "few rows":
        np.save(path, good[:4])
        return "at least 10 rows are needed, got 4"
    assert kind == "constant"
    np.save(path, np.ones((40, 4, 4)))
    return "zero variance"


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "empty",
        "truncated",
        "object array",
        "NaN",
        "infinite",
        "text",
        "one axis",
        "no rows",
        "few rows",
        "constant",
    ],
)
@pytest.mark.parametrize("model", ["td", "burda1"])
def test_unusable_arrays(refused, tmp_path, kind, model):
    path = tmp_path / "images.npy"
    reason = write_file(path, kind)
    line = refused("--dataset", path, "--model", model)
    assert str(path) in line
    assert reason in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1.0), (0.0, 1.5), (0.0, 255.0)])
def test_pixels_out_of_range_for_bernoulli_models(refused, tmp_path, low, high):
    path = tmp_path / "grey.npy"
    np.save(path, np.linspace(low, high, 640).reshape(40, 16))
    line = refused("--dataset", path, "--model", "burda1")
    assert str(path) in line
    assert "[0, 1]" in line
    assert f"got {low:g} to {high:g}" in line


def test_grey_patches_are_no_data_for_bernoulli_models(refused):
    line = refused("--dataset", "natural", "--model", "burda1")
    assert "natural holds grey patches" in line


def idx(images):
    return b"\0\0\x08\x03" + struct.pack(">3I", *images.shape) + images.tobytes()


def test_damaged_idx_files(refused, tmp_path):
    images = np.arange(640, dtype=np.uint8).reshape(40, 4, 4)
    whole = idx(images)
    for name, content, reason in (
        ("a-ubyte", whole[:-1], "truncated"),
        ("b-ubyte", whole + b"\0", "too long"),
        ("c-ubyte", b"", "not an IDX file"),
        ("d-ubyte", b"PK\x03\x04", "not an IDX file"),
        ("e-ubyte.gz", gzip.compress(whole)[:-9], "not a readable IDX file"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        line = refused("--dataset", path, "--model", "burda1")
        assert str(path) in line
        assert reason in line
    good = tmp_path / "good-ubyte"
    good.write_bytes(idx(images))
    assert pyro_vae.load_dataset(good, pixels="binary").train.shape == (32, 16)


class Hostile:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (Path.touch, (self.victim,))


def test_pickles_with_code_run_nothing(refused, tmp_path):
    victim = tmp_path / "victim"
    for name in ("patches.pkl", "patches.npy", "patches.npz", "patches-ubyte"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps({"train_images": Hostile(victim)}))
        assert str(path) in refused("--dataset", path)
        assert not victim.exists()


def test_files_of_the_wrong_kind(refused, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    assert "allowed: .npy, .npz, .mat, .pkl, IDX" in refused("--dataset", text)
    both = tmp_path / "two.npz"
    np.savez(both, first=np.zeros((20, 4)), second=np.zeros((20, 4)))
    line = refused("--dataset", both)
    assert "first, second" in line
    assert "two.npz:NAME" in line
    assert "has no array 'third'" in refused("--dataset", f"{both}:third")
    empty = tmp_path / "folder"
    empty.mkdir()
    assert str(empty) in refused("--dataset", empty)


def test_a_data_folder_that_is_none(refused, tmp_path, monkeypatch):
    assert "data_dir names" in refused("--dataset", "mnist", "--data-dir", tmp_path / "nowhere")
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "nowhere"))
    assert "PYRO_VAE_DATA names" in refused("--dataset", "mnist")


# Run directories


@pytest.fixture
def existing(finished_run, tmp_path):
    """A copy of a finished run, whose files a test may damage."""
    path = Path(shutil.copytree(finished_run, tmp_path / "existing"))
    changed_by_hand(path)
    previous(path / "checkpoint.pt").unlink()
    return path


def test_an_existing_run_is_not_overwritten(refused, existing, images):
    line = refused("--dataset", images, "--run-dir", existing)
    assert str(existing) in line
    assert "--resume" in line
    for kept in ("config.json", "checkpoint.pt"):
        partial = existing.parent / kept
        partial.mkdir()
        shutil.copy(existing / kept, partial)
        assert "holds a run already" in refused("--dataset", images, "--run-dir", partial)


def test_a_run_directory_that_is_a_file(refused, images, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    line = refused("--dataset", images, "--run-dir", path)
    assert str(path) in line


def test_resume_wants_a_run(refused, images, tmp_path, capsys):
    line = refused("--resume", "--run-dir", tmp_path / "nowhere")
    assert f"there is no run in {tmp_path / 'nowhere'}: it has no config.json" in line
    assert not (tmp_path / "nowhere").exists()
    capsys.readouterr()
    assert fit.main(["--resume"]) == 2
    assert capsys.readouterr().err == "fit.py: --resume wants --run-dir DIR, the run to continue\n"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--model", "sparse"),
        ("--guide", "bottomup"),
        ("--preset", "paper"),
        ("--seed", "4"),
        ("--batch-size", "7"),
        ("--lr", "0.5"),
        ("--dataset", "natural"),
        ("--num-train", "44"),
        ("--clip-norm", "3"),
        ("--skip-norm", "3"),
        ("--whiten", "pca"),
        ("--binarise", "epoch"),
        ("--no-anneal", None),
        ("--anneal", "z2=0:1:1"),
    ],
)
def test_resume_keeps_model_data_and_optimiser(refused, existing, flag, value):
    flags = [flag] if value is None else [flag, value]
    line = refused("--resume", "--run-dir", existing, "--epochs", 3, *flags)
    assert flag in line
    assert "cannot change on --resume" in line


def test_resume_with_the_checkpoint_of_another_model(refused, existing, tmp_path):
    other = pyro_vae.build_pair("sparse", "topdown", num_pixels=16)
    content = torch.load(existing / "checkpoint.pt", weights_only=True)
    content["model"], content["guide"] = (program.state_dict() for program in other)
    torch.save(content, existing / "checkpoint.pt")
    line = refused("--resume", "--run-dir", existing, "--epochs", 3)
    assert "of another model: 'conditionals.0" in line
    assert str(existing / "checkpoint.pt") in line


@pytest.mark.parametrize("damage", ["truncated", "hostile", "missing", "empty"])
def test_resume_with_a_damaged_checkpoint(refused, existing, tmp_path, damage):
    path, victim = existing / "checkpoint.pt", tmp_path / "victim"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "hostile":
        torch.save({"format": 1, "model": Hostile(victim)}, path)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    line = refused("--resume", "--run-dir", existing, "--epochs", 3)
    assert str(path) in line
    assert not victim.exists()


@pytest.mark.parametrize("damage", ["", "{", "{}", '{"model": "td"}', "[]", "null"])
def test_resume_with_a_damaged_config(refused, existing, damage):
    (existing / "config.json").write_text(damage)
    assert "config.json" in refused("--resume", "--run-dir", existing, "--epochs", 3)


@pytest.mark.parametrize("entry", ["model", "dataset", "lr", "seed", "annealing", "max_minutes"])
def test_resume_with_a_config_that_lacks_an_entry(refused, existing, entry):
    config = json.loads((existing / "config.json").read_text())
    del config[entry]
    (existing / "config.json").write_text(json.dumps(config))
    line = refused("--resume", "--run-dir", existing)
    assert "config.json" in line
    assert entry in line


def test_resume_after_the_data_have_changed(refused, tmp_path, monkeypatch):
    data, path = tmp_path / "images.npy", tmp_path / "run"
    bare_runs(monkeypatch)
    write_images(data, rows=40)
    assert run_fit("--dataset", data, "--run-dir", path, "--no-anneal") == 0
    write_images(data, rows=60)
    line = refused("--resume", "--run-dir", path, "--epochs", 2)
    assert "they differ in rows in each split: train 32, now 48" in line
    data.unlink()
    assert str(data) in refused("--resume", "--run-dir", path, "--epochs", 2)


# A full disk


def full_disk_for(name, monkeypatch):
    """Writing a file of this name fails as on a full disk; other files are written."""
    real = pyro_vae.storage.tempfile.mkstemp

    def mkstemp(*args, prefix, **settings):
        if name in prefix:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, prefix=prefix, **settings)

    monkeypatch.setattr(pyro_vae.storage.tempfile, "mkstemp", mkstemp)


@pytest.mark.parametrize(
    "name",
    ["config.json", "metrics.csv", "checkpoint.pt", "posterior.nc", "summary.json", "curves.png"],
)
def test_a_full_disk_names_the_file(images, tmp_path, monkeypatch, capsys, name):
    full_disk_for(name, monkeypatch)
    assert run_fit("--dataset", images, "--run-dir", tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert f"/{name}: No space left on device" in err
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.rglob(name))


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoint.pt", "posterior.nc", "summary.json"])
def test_a_full_disk_keeps_the_old_files(existing, monkeypatch, no_pictures, name):
    full_disk_for(name, monkeypatch)
    before = (existing / name).read_bytes()
    assert run_fit("--resume", "--run-dir", existing, "--epochs", 3) == 2
    assert (existing / name).read_bytes() == before
