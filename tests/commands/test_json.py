"""``--json``: one object on stdout, with the entries that docs/json.md lists for each command."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import report
from experiments import replicate, td_iwae
from experiments.campaign.command import Done
from pyro_vae import cli
from tests.commands.answers import PAGE, answer
from tests.conftest import QUICK, bare_runs

FEW = ["--num-data", "3", "--temperatures", "3", "--chains", "2", "--eval-particles", "30"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("json")
    rng = np.random.default_rng(0)
    np.save(folder / "new.npy", rng.random((60, 4, 4)).astype(np.float32))
    np.save(folder / "factors.npy", np.arange(60)[:, None] // [1, 2] % 2)
    return folder


def test_the_page_has_every_command():
    assert re.findall(r"^## (\w+)$", PAGE, re.M) == [*cli.COMMANDS]


@pytest.mark.parametrize(
    ("name", "flags", "seen"),
    [
        ("sample", ["--num", 3, "--out", "{0}/s.npz"], {"images": 3, "shape": [4, 4]}),
        ("encode", ["{0}/new.npy", "--out", "{0}/c.npz"], {"units": {"z1": 12, "z2": 4}}),
        ("reconstruct", ["{0}/new.npy", "--out", "{0}/r.npz"], {"images": 60, "rates": []}),
        (
            "evaluate",
            ["{0}/new.npy", "--eval-particles", 30, "--size", 9],
            {"images": 9, "files": []},
        ),
        ("card", [], {"files": []}),
        ("bracket", FEW, {}),
    ],
)
def test_a_command_on_a_run_answers(name, flags, seen, finished_run, files, capsys):
    words = [str(flag).format(files) for flag in flags]
    found = answer(capsys, name, finished_run, *words)
    assert {entry: found[entry] for entry in seen} == seen
    assert all(Path(path).is_file() for path in found.get("files", ()))


def test_scores_of_factors_are_the_content_of_their_file(finished_run, files, tmp_path, capsys):
    given = [f"{files}/new.npy", "--factors", f"{files}/factors.npy", "--out", tmp_path / "f.json"]
    found = answer(capsys, "disentangle", finished_run, *given)
    written = json.loads((tmp_path / "f.json").read_text())
    assert {name: found[name] for name in written} == written


def test_a_fit_and_a_refit_answer_with_their_summaries(images, tmp_path, capsys, monkeypatch):
    bare_runs(monkeypatch)
    pair = ["--latent", 4, 2, "--hidden", 6, "--init", "random", "--dataset", images]
    loud = [word for word in QUICK if word != "--quiet"]
    fitted = answer(capsys, "fit", *loud, *pair, "--run-dir", tmp_path / "run")
    assert fitted["stopped"] == "finished"
    assert fitted["summary"] == json.loads((tmp_path / "run" / "summary.json").read_text())
    prior = ["--prior", "learned", "--steps", 3, "--run-dir", tmp_path / "new"]
    refitted = answer(capsys, "refit", tmp_path / "run", *prior)
    assert refitted["summary"] == json.loads((tmp_path / "new" / "summary.json").read_text())


@pytest.mark.parametrize(("name", "module"), [("replicate", replicate), ("study", td_iwae)])
def test_a_table_answers_with_its_rows(name, module, tmp_path, capsys, monkeypatch):
    comma = tmp_path / "table.csv"
    comma.write_text("name,elbo\nvanilla,-3.5\nk = 3,\n")
    done = Done(None, tmp_path, (), 1, "interrupted", False, (tmp_path / "table.md", comma))
    monkeypatch.setattr(module, "carry_out", lambda *given, **settings: done)
    found = answer(capsys, name, code=130)
    assert found["rows"] == [{"name": "vanilla", "elbo": -3.5}, {"name": "k = 3", "elbo": None}]
    assert found["cut_off"] == "interrupted"


def test_a_report_answers_with_what_is_wrong(tmp_path, capsys, monkeypatch):
    wrong = ["left out: nowhere: there is no run"]
    monkeypatch.setattr(report, "build_report", lambda *given, **settings: (tmp_path / "r", wrong))
    found = answer(capsys, "report", "nowhere", code=1)
    assert found == {"wrong": wrong, "files": [str(tmp_path / "r")]}


def test_an_interrupted_report_says_that_it_goes_on(capsys, monkeypatch):
    def interrupted(*given, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "build_report", interrupted)
    assert cli.main(["report", "nowhere", "--json"]) == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("", "report: interrupted; the same command goes on\n")


def test_what_fails_answers_nothing_and_gives_stdout_back(finished_run, capsys):
    before = sys.stdout
    assert cli.main(["sample", str(finished_run), "--out", "a.jpg", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert sys.stdout is before
