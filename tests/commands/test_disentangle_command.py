"""``pyro-vae disentangle`` on small runs: what it prints and writes, and bad input."""

import json

import numpy as np
import pytest

from pyro_vae import cli, evaluation, load_dataset, load_run
from tests.conftest import bare_runs, run_fit

pytestmark = pytest.mark.slow


def command(*words):
    return cli.main(["disentangle", *map(str, words)])


@pytest.fixture(scope="module")
def sprites():
    return load_dataset("sprites", pixels="binary")


@pytest.fixture(scope="module")
def sprites_run(tmp_path_factory):
    """A run of a few steps on sprites."""
    path = tmp_path_factory.mktemp("disentangle") / "run"
    pair = ["--model", "burda1", "--guide", "bottomup", "--latent", 5, "--hidden", 16]
    with pytest.MonkeyPatch.context() as patch:
        bare_runs(patch)
        flags = [*pair, "--dataset", "sprites", "--batch-size", 1000, "--run-dir", path]
        assert run_fit(*flags) == 0
    return path


def test_scores_are_those_of_the_library_with_their_nulls(sprites_run, sprites, tmp_path, capsys):
    flags = ["--size", 400, "--seed", 2, "--out", tmp_path / "found.json"]
    assert command(sprites_run, *flags) == 0
    model, guide, _ = load_run(sprites_run)
    known = sprites.factors
    (z1,) = evaluation.disentanglement(
        model, guide, sprites.test[:400], known.of("test")[:400], known.described, seed=2
    )
    content = json.loads((tmp_path / "found.json").read_text())
    assert content == {"levels": {"z1": json.loads(json.dumps(z1.entries()))}, "references": {}}
    out = capsys.readouterr().out
    for line in z1.lines():
        assert line in out
    for text in ("z1: 5 units, 400 images, 5 factors", "chance 0.200", "null", "missing factor"):
        assert text in out


def test_references_are_judged_alike(sprites_run, tmp_path, capsys):
    flags = ["--size", 300, "--batch", 16, "--references", "--out", tmp_path / "found.json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pyro_vae.cli.disentangle.reference_codes",
            lambda train, rows, factors, **kw: {"factors": factors, "pixels": rows[:, 500:508]},
        )
        assert command(sprites_run, *flags) == 0
    found = json.loads((tmp_path / "found.json").read_text())["references"]
    assert found["factors"]["pair_score"]["mean"] > 0.97
    assert found["factors"]["pair_score"]["batch"] == 16
    assert found["factors"]["mig"]["mean"] > 0.9
    assert found["pixels"]["mig"]["mean"] < 0.1
    assert "factors: 5 units" in capsys.readouterr().out


def test_images_of_ones_own_with_columns_that_do_not_vary(sprites_run, sprites, tmp_path, capsys):
    images = (sprites.test[:300].numpy().reshape(-1, 32, 32) * 255).astype(np.uint8)
    known = np.concatenate([np.zeros((300, 1), int), sprites.factors.of("test")[:300]], 1)
    np.savez(tmp_path / "own.npz", images=images, classes=known)
    files = [f"{tmp_path}/own.npz:images", "--factors", f"{tmp_path}/own.npz:classes"]
    names = ["colour", "shape:class", "scale", "rotation:circular", "x", "y"]
    assert command(sprites_run, *files, "--names", *names, "--out", tmp_path / "own.json") == 0
    assert command(sprites_run, "--size", 300, "--out", tmp_path / "test.json") == 0
    own, test = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("own", "test"))
    assert own == test
    assert command(sprites_run, *files) == 0
    out = capsys.readouterr().out
    assert "factor5" in out
    assert "factor0" not in out


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--size", "0"], "--size must be a whole number of at least 1"),
        (["--size", "3"], "at least 8 images"),
        (["--batch", "0"], "--batch must be a whole number of at least 1"),
        (["--names", "a"], "go together: give IMAGES and --factors"),
        (["{own}:images"], "go together: give IMAGES and --factors"),
        (["{own}:images", "--factors", "{own}:images"], "--factors must have shape (20, F)"),
        (["{own}:images", "--factors", "{own}:few"], "factors must have shape (20, F)"),
        (["{own}:images", "--factors", "{own}:real"], "whole numbers from 0, got float64"),
        (["{own}:images", "--factors", "{own}:two", "--names", "a"], "2 columns, --names 1"),
        (
            ["{own}:images", "--factors", "{own}:two", "--names", "a", "b:round"],
            "unknown kind of factor 'round'; allowed: class, ordered, circular",
        ),
    ],
)
def test_bad_input_is_one_line(flags, match, sprites_run, sprites, tmp_path, capsys):
    own = tmp_path / "own.npz"
    known = sprites.factors.of("test")
    images = (sprites.test[:20].numpy().reshape(-1, 32, 32) * 255).astype(np.uint8)
    arrays = {"few": known[:9], "real": known[:20] / 2, "two": known[:20, 3:]}
    np.savez(own, images=images, **arrays)
    assert command(sprites_run, *(flag.format(own=own) for flag in flags)) == 2
    err = capsys.readouterr().err
    assert match in err
    assert err.startswith("pyro-vae disentangle: ")
    assert err.count("\n") == 1


def test_runs_on_data_of_unknown_factors_are_refused(finished_run, capsys):
    assert command(finished_run) == 2
    assert "are not known: give IMAGES with --factors, or" in capsys.readouterr().err
