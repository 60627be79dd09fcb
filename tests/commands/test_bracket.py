"""bracket.py on a small run: what it prints and writes, and bad input."""

import dataclasses
import json
import math
import shutil

import pytest

from experiments import bracket
from pyro_vae.datasets import load_dataset
from pyro_vae.runs import RunDirectory
from tests.conftest import run_fit, write_images


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory, images):
    path = tmp_path_factory.mktemp("runs") / "digits"
    flags = ["--model", "planar", "--guide", "bottomup", "--dataset", images, "--epochs", 20]
    assert run_fit(*flags, "--run-dir", path) == 0
    return path


@pytest.mark.slow
def test_a_run_is_bracketed(digits_run, capsys):
    flags = ["--num-data", "8", "--temperatures", "60", "--eval-particles", "500", "--quiet"]
    assert bracket.main([str(digits_run), *flags]) == 0
    out = capsys.readouterr().out
    summary = json.loads((digits_run / "bracket.json").read_text())
    rows = summary["simulated"]
    gap = rows["reverse AIS, upper"]["mean"] - rows["AIS, lower"]["mean"]
    assert rows["gap, upper - lower"]["mean"] == pytest.approx(gap)
    assert abs(gap) < 0.5
    # Two latent units and 500 particles: importance sampling lies in the bracket, up to its noise.
    assert abs(rows["upper - L_K"]["mean"]) < 0.5
    assert abs(summary["test"]["AIS over L_K"]["mean"]) < 0.5
    assert summary["settings"]["temperatures"] == 60
    # 16 binary pixels: the upper bound in nats is the lower one in bits.
    bits = summary["bits_per_dim"]["simulated"]
    assert bits.keys() == {"AIS, lower", "L_K", "L_K, jackknife", "reverse AIS, upper"}
    for name, row in bits.items():
        for what, sign in (("mean", -1), ("standard_error", 1)):
            assert row[what] == pytest.approx(sign * rows[name][what] / (16 * math.log(2)))
    assert f"{bits['L_K']['mean']:.4f} ± {bits['L_K']['standard_error']:.4f} bits" in out
    for text in ("simulated data", "reverse AIS, upper", "test data", "bracket.json"):
        assert text in out


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--num-data", "0"], "--num-data must be a whole number of at least 1, got 0"),
        (["--chains", "0"], "num_particles"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_bad_input_is_one_line(digits_run, capsys, flags, match):
    assert bracket.main([str(digits_run), *flags, "--quiet"]) == 2
    err = capsys.readouterr().err
    assert match in err
    assert err.count("\n") == 1


def test_the_data_are_those_of_the_run(digits_run, tmp_path, capsys, monkeypatch):
    """They are looked for where the run had them, and must be the same."""
    directory = RunDirectory(shutil.copytree(digits_run, tmp_path / "copy"))
    config = directory.read_config()

    def of(dataset):
        data = dataclasses.replace(config.data, dataset=str(dataset), data_dir=str(tmp_path))
        directory.write_config(dataclasses.replace(config, data=data))
        few = ["--num-data", "2", "--temperatures", "5", "--eval-particles", "10", "--quiet"]
        return bracket.main([str(directory.path), *few])

    folders = []

    def watched(**arguments):
        folders.append(arguments["data_dir"])
        return load_dataset(**arguments)

    monkeypatch.setattr(bracket, "load_dataset", watched)
    assert of(config.data.dataset) == 0
    assert folders == [str(tmp_path)]
    assert of(write_images(tmp_path / "others.npy", seed=1)) == 2
    assert "the data are not those that" in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path, capsys):
    assert bracket.main([str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_the_command_is_told_by_the_name_it_was_typed_with(tmp_path, capsys):
    assert bracket.main([str(tmp_path)], prog="pyro-vae bracket") == 2
    assert capsys.readouterr().err.startswith("pyro-vae bracket: ")
    with pytest.raises(SystemExit):
        bracket.main(["--help"], prog="pyro-vae bracket")
    assert "pyro-vae bracket runs/first --num-data 20" in capsys.readouterr().out
