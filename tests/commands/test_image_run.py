"""Every command on a run of colour images: what it writes is in colour and in whole units."""

import json

import arviz
import numpy as np
import pytest

from pyro_vae import cli, load_run
from tests.conftest import run_fit

SIDE = 8


def command(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def colour_run(tmp_path_factory):
    """A run on small colour images, bytes with the colour last, with labels."""
    folder = tmp_path_factory.mktemp("colour")
    images = np.random.default_rng(0).integers(0, 256, (260, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(260) % 2
    parts = {"x_train": images[:100], "y_train": labels[:100]}
    np.savez(folder / "data.npz", **parts, x_test=images[100:], y_test=labels[100:])
    flags = ["--model", "image", "--preset", "conv", "--latent", "4", "--prior", "realnvp"]
    flags += ["--dataset", folder / "data.npz", "--objective", "elbo", "--num-particles", "1"]
    assert run_fit(*flags, "--test-size", 4, "--run-dir", folder / "run") == 0
    return folder / "run"


def test_samples_and_reconstructions_are_images_in_the_units_of_the_data(colour_run, tmp_path):
    run = load_run(colour_run)
    assert command("sample", colour_run, "--num", 3, "--out", tmp_path / "s.npy") == 0
    drawn = np.load(tmp_path / "s.npy")
    assert drawn.shape == (3, 3, SIDE, SIDE)
    np.testing.assert_allclose(drawn, drawn.round(), atol=1e-3)
    assert drawn.max() > 1
    assert command("sample", colour_run, "--num", 12, "--out", tmp_path / "s.png") == 0
    images = np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(tmp_path / "new.npy", images)
    words = ("reconstruct", colour_run, tmp_path / "new.npy", "--samples", 2)
    for name in ("r.npy", "r.png"):
        assert command(*words, "--out", tmp_path / name) == 0
    found = np.load(tmp_path / "r.npy")
    np.testing.assert_array_equal(found, run.reconstruct(images, num_samples=2))
    assert found.shape == (5, 3, SIDE, SIDE)
    assert found.max() > 1
    for name in ("s.png", "r.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_run_is_evaluated_in_bits_and_read_by_arviz(colour_run, tmp_path, capsys):
    out = tmp_path / "found.json"
    words = ("--size", 4, "--eval-particles", 30, "--quiet", "--out", out)
    assert command("evaluate", colour_run, *words) == 0
    assert "bits per dimension, of L_30" in capsys.readouterr().out
    bits = json.loads(out.read_text())["test"]["iw_bits_per_dim"]["mean"]
    assert bits > 7.9  # noise of 256 even levels has 8 bits
    posterior = arviz.from_netcdf(colour_run / "posterior.nc")
    assert posterior.posterior.z1.shape[3:] == (4,)
    assert posterior.posterior_predictive.x.shape[3:] == (3 * SIDE * SIDE,)


def test_evaluation_has_the_particles_that_the_run_was_judged_with(colour_run, capsys):
    judged = load_run(colour_run).config.evaluation.eval_particles
    for words, particles in ((), judged), (("--eval-particles", 7), 7):
        assert command("evaluate", colour_run, "--size", 2, "--quiet", *words) == 0
        assert f"bits per dimension, of L_{particles}" in capsys.readouterr().out
    assert judged not in (7, 5000)
    assert command("evaluate", colour_run, "--eval-particles", 0) == 2
    assert "--eval-particles must be a whole number" in capsys.readouterr().err


def test_distances_of_a_colour_run(colour_run, capsys):
    assert command("fid", colour_run, "--features", "random", "--num-seeds", 1, "--quiet") == 0
    out = capsys.readouterr().out
    assert "80 generated images" in out
    assert "64 random projections" in out
