"""``pyro-vae``: its subcommands on a finished run and new images, from any folder."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray

import pyro_vae
from pyro_vae import cli
from pyro_vae.cli import pictures
from pyro_vae.datasets import load_dataset

IMAGES = 7


@pytest.fixture(scope="module")
def new_images(tmp_path_factory):
    """A file of images that no run has seen."""
    path = tmp_path_factory.mktemp("new") / "new.npy"
    np.save(path, np.random.default_rng(5).random((IMAGES, 4, 4)).astype(np.float32))
    return path


def command(*words):
    return cli.main([str(word) for word in words])


def test_the_help_lists_every_command(capsys):
    assert command("--help") == 0
    text = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in text
    assert command() == 0
    assert command("--version") == 0
    assert pyro_vae.__version__ in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys):
    assert command("train") == 2
    assert "unknown command 'train'; allowed: fit, sample, encode" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["fit", "sample", "encode", "reconstruct", "evaluate", "fid", "refit", "card"]
)
def test_every_command_has_examples_in_its_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        command(name, "--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"pyro-vae {name}" in text.partition("examples:")[2]


def test_codes_of_new_images_in_every_form(finished_run, new_images, tmp_path, capsys):
    for suffix in ("npz", "csv", "nc"):
        out = tmp_path / f"codes.{suffix}"
        assert command("encode", finished_run, new_images, "--out", out, "--draws", 3) == 0
        assert f"wrote {out}" in capsys.readouterr().out
    run = pyro_vae.load_run(finished_run)
    codes = run.encode(np.load(new_images), num_draws=3)
    assert codes.levels == ("z1", "z2")
    stored = np.load(tmp_path / "codes.npz")
    table = xarray.open_dataset(tmp_path / "codes.nc")
    lines = (tmp_path / "codes.csv").read_text().splitlines()
    assert len(lines) == IMAGES + 1
    assert lines[0].startswith("datum,z1_mean_0,z1_mean_1")
    for level in codes.levels:
        for kind, values in (("mean", codes.means), ("scale", codes.scales)):
            assert np.array_equal(stored[f"{level}_{kind}"], values[level])
            assert np.array_equal(table[f"{level}_{kind}"], values[level])
        assert codes.draws[level].shape == (3, *codes.means[level].shape)
        assert np.array_equal(stored[f"{level}_draws"], codes.draws[level])
    # The top level has no latent parents: its moments are the guide's own.
    rows = run.rows(np.load(new_images))
    with torch.no_grad():
        top = run.guide.conditionals[-1](run.guide.encode(rows)[-1])
    assert np.allclose(codes.means["z2"], top.mean, atol=1e-6)
    assert np.allclose(codes.scales["z2"], top.variance.sqrt(), rtol=1e-5)


def test_new_images_go_through_the_preprocessing_of_the_run(finished_run, images):
    """Rows of the training images, made from the run alone, are those it was trained on."""
    run = pyro_vae.load_run(finished_run)
    data = load_dataset(**run.config.data_arguments)
    raw = np.load(images)
    wanted = {tuple(row) for row in torch.cat([data.train, data.valid, data.test]).tolist()}
    assert {tuple(row) for row in run.rows(raw).tolist()} == wanted
    back = run.preprocessing.images(run.rows(raw))
    assert np.allclose(back, raw, atol=1e-6)


def test_weighted_codes_are_told_from_the_guides(finished_run, new_images):
    run = pyro_vae.load_run(finished_run)
    plain = run.encode(np.load(new_images), num_samples=200)
    weighted = run.encode(np.load(new_images), num_samples=200, num_particles=20)
    assert weighted.num_particles == 20
    assert not np.allclose(plain.means["z1"], weighted.means["z1"])


def test_samples_and_reconstructions_are_images(finished_run, new_images, tmp_path, capsys):
    for suffix in ("npz", "npy", "png"):
        assert command("sample", finished_run, "--num", 6, "--out", tmp_path / f"s.{suffix}") == 0
    assert "6 images of shape (4, 4)" in capsys.readouterr().out
    drawn = np.load(tmp_path / "s.npy")
    assert np.array_equal(np.load(tmp_path / "s.npz")["images"], drawn)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    run = pyro_vae.load_run(finished_run)
    assert np.array_equal(run.sample(6), drawn)
    assert not np.array_equal(run.sample(6, seed=1), drawn)
    assert run.sample(6, mean=True).std() < drawn.std()  # without the noise of the pixels
    assert run.reconstruct(np.load(new_images)).shape == (IMAGES, 4, 4)


def test_a_picture_shows_each_image_left_of_what_was_made_of_it(
    finished_run, new_images, tmp_path, capsys, monkeypatch
):
    drawn = []
    monkeypatch.setattr(pictures, "grid", lambda shown, _: drawn.append(shown) or b"")
    assert command("reconstruct", finished_run, new_images, "--out", tmp_path / "r.png") == 0
    assert "each right of what it was made from" in capsys.readouterr().out
    assert command("reconstruct", finished_run, new_images, "--out", tmp_path / "r.npy") == 0
    assert "each right" not in capsys.readouterr().out
    (pairs,) = drawn
    run = pyro_vae.load_run(finished_run)
    originals = run.preprocessing.images(run.rows(np.load(new_images)))
    np.testing.assert_array_equal(pairs[::2], originals)
    np.testing.assert_array_equal(pairs[1::2], np.load(tmp_path / "r.npy"))


def test_runs_beside_one_that_is_none_are_named(finished_run, tmp_path, capsys):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert command("card", tmp_path / "frist") == 2
    line = capsys.readouterr().err
    assert f"there is no run in {tmp_path / 'frist'}: it has no config.json" in line
    assert line.endswith(f"runs beside it: {tmp_path / 'first'}\n")


def test_evaluation_of_new_images_and_of_the_test_data(finished_run, new_images, tmp_path, capsys):
    flags = ["--eval-particles", 50, "--quiet", "--out"]
    assert command("evaluate", finished_run, new_images, *flags, tmp_path / "new.json") == 0
    assert command("evaluate", finished_run, "--size", 10, *flags, tmp_path / "test.json") == 0
    out = capsys.readouterr().out
    for text in ("log-likelihood", "parameters: ", "drawing: 1 image ", ", 100 images "):
        assert text in out
    new, test = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("new", "test"))
    assert (new["images"], test["images"]) == (IMAGES, 10)
    cost = new["generation"]
    assert set(cost["seconds"]) == {"1", "100"}
    assert 0 < cost["both"] == cost["model"] + cost["guide"]  # this pair shares nothing
    stored = json.loads((finished_run / "summary.json").read_text())["test"]["elbo"]
    difference = test["test"]["elbo"]["mean"] - stored["mean"]
    assert abs(difference) < 4 * stored["standard_error"]  # the same data and other particles


def test_a_card_says_what_the_run_is(finished_run, tmp_path, capsys):
    assert command("card", finished_run) == 0
    text = capsys.readouterr().out
    assert "iwae" in text
    assert command("card", finished_run, "--out", tmp_path / "card.md") == 0
    assert (tmp_path / "card.md").read_text().strip() == text.strip()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["encode", "{run}", "nowhere.npy", "--out", "a.npz"], "there is no file nowhere.npy"),
        (["encode", "{run}", "{new}", "--out", "a.txt"], "allowed are .npz, .csv, .nc"),
        (["sample", "{run}", "--out", "a.jpg"], "allowed are .npz, .npy, .png"),
        (["sample", "{run}", "--num", "0", "--out", "a.png"], "--num must be a whole number"),
        (
            ["sample", "nowhere", "--out", "a.png"],
            "there is no run in nowhere: it has no config.json",
        ),
    ],
)
def test_bad_input_ends_with_one_line(words, match, finished_run, new_images, tmp_path, capsys):
    given = [word.format(run=finished_run, new=new_images) for word in words]
    assert command(*given) == 2
    err = capsys.readouterr().err
    assert match in err
    assert err.startswith(f"pyro-vae {words[0]}: ")
    assert err.count("\n") == 1


def test_a_folder_called_analysis_does_not_hide_the_installed_one(tmp_path):
    """``python -m pyro_vae`` puts the current folder first on the path, and takes it off again."""
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("raise SystemExit('the wrong folder')\n")
    home = os.path.dirname(os.path.dirname(pyro_vae.__file__))
    script = "import runpy, sys; sys.argv = ['pyro-vae', 'report', '--help']; "
    script += "runpy.run_module('pyro_vae', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: pyro-vae report" in done.stdout


def test_a_message_is_one_line_whatever_names_hold(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, shown in (("a\nb", r"a\nb"), ("a\x1b[2J", r"a\x1b[2J"), ("a\udcff", r"a\udcff")):
        assert command("pack", name, "--out", "packed") == 2
        assert command("fid", "run", name) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 2
        assert shown in err.splitlines()[1]


def test_rows_that_are_no_images_are_not_drawn(tmp_path, capsys):
    rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    pair = pyro_vae.PairConfig(latent=(3, 2)).build(6)
    settings = {"model": "td", "latent": (3, 2), "eval_particles": 50}
    run = pyro_vae.save_run(tmp_path / "run", *pair, rows, settings=settings)
    assert command("sample", run.path, "--num", 3, "--out", tmp_path / "s.png") == 2
    err = capsys.readouterr().err
    assert "the run's rows of 6 numbers are no images: write an array (.npz, .npy)" in err
    assert not (tmp_path / "s.png").exists()
    assert command("sample", run.path, "--num", 3, "--out", tmp_path / "s.npy") == 0
    assert np.load(tmp_path / "s.npy").shape == (3, 6)
