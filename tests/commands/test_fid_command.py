"""``pyro-vae fid`` on small runs: what it prints and writes, and bad input."""

import json

import numpy as np
import pytest

from pyro_vae import cli
from tests.commands.answers import answer
from tests.conftest import run_fit, write_images


def command(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def labelled_run(tmp_path_factory):
    """A run on 4 x 4 images with labels, 200 of them for tests."""
    folder = tmp_path_factory.mktemp("fid")
    images = np.load(write_images(folder / "all.npy", rows=900))
    labels = (images[:, :2].mean((1, 2)) > images[:, 2:].mean((1, 2))).astype(np.int64)
    arrays = {"x_train": images[:700], "y_train": labels[:700]}
    np.savez(folder / "data.npz", **arrays, x_test=images[700:], y_test=labels[700:])
    path = folder / "run"
    flags = ["--model", "planar", "--guide", "bottomup", "--dataset", folder / "data.npz"]
    assert run_fit(*flags, "--run-dir", path) == 0
    return path


def test_the_answer_is_the_content_of_the_file(labelled_run, tmp_path, capsys):
    flags = ["--features", "random", "--num", 80, "--num-seeds", 1]
    found = answer(capsys, "fid", labelled_run, *flags, "--out", tmp_path / "found.json")
    written = json.loads((tmp_path / "found.json").read_text())
    assert found == written | {"files": [str(tmp_path / "found.json")]}


@pytest.mark.slow
@pytest.mark.parametrize("features", ["labels", "random"])
def test_distances_are_printed_with_their_null(features, labelled_run, tmp_path, capsys):
    flags = ["--features", features, "--num", 80, "--num-seeds", 2, "--quiet"]
    assert command("fid", labelled_run, *flags, "--out", tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["distances"]) == len(found["nulls"]) == 2
    assert (found["accuracy"] is not None) == (features == "labels")
    assert (found["num_images"], found["mean_images"]) == (80, False)
    out = capsys.readouterr().out
    for text in ("80 generated images", found["features"], "seeds 0, 1", "null"):
        assert text in out


def test_a_seed_gives_the_same_distances_and_means_are_other_images(labelled_run, tmp_path):
    flags = ["--features", "random", "--num", 80, "--quiet"]
    texts = []
    for extra in ([], [], ["--mean"], ["--seed", 1]):
        assert command("fid", labelled_run, *flags, *extra, "--out", tmp_path / "a.json") == 0
        texts.append(json.loads((tmp_path / "a.json").read_text())["distances"])
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert texts[0][1:] != texts[3][:2]  # the same features, other draws


@pytest.mark.slow
def test_the_default_is_half_of_the_test_data_and_the_labels(labelled_run, capsys):
    assert command("fid", labelled_run, "--num-seeds", 1, "--quiet") == 0
    out = capsys.readouterr().out
    assert "100 generated images" in out
    assert "network for the labels" in out


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--num", "101"], "101 generated images want 202 real ones"),
        (["--features", "random", "--num", "20"], "20 images are too few for the covariance"),
        (["--num", "0"], "--num must be a whole number of at least 1"),
        (["--num-seeds", "0"], "--num-seeds must be a whole number of at least 1"),
        (["--features", "inception"], "unknown features 'inception'; allowed: labels, random"),
    ],
)
def test_bad_input_is_one_line(flags, match, labelled_run, capsys):
    assert command("fid", labelled_run, *flags, "--quiet") == 2
    err = capsys.readouterr().err
    assert match in err
    assert err.startswith("pyro-vae fid: ")
    assert err.count("\n") == 1


def test_data_without_labels_have_random_features(finished_run, capsys):
    assert command("fid", finished_run, "--features", "labels", "--quiet") == 2
    assert "has no labels; allowed: random features" in capsys.readouterr().err
    assert command("fid", finished_run, "--quiet") == 2  # ten test images
    assert "5 images are too few" in capsys.readouterr().err
