"""fit.py killed, stopped and interrupted in turn, and resumed: the metrics of an unbroken run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import QUICK, bare_runs, run_fit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 12
# Forty steps in an epoch, long enough for a signal to arrive in the middle of one.
FLAGS = [
    "--model",
    "td",
    "--init",
    "random",
    "--batch-size",
    "2",
    "--num-particles",
    "5",
    "--epochs",
    str(EPOCHS),
]


def command(*flags):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "experiments/fit.py", *QUICK, *FLAGS, *map(str, flags)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(path):
    metrics = path / "metrics.csv"
    return len(metrics.read_text().splitlines()) - 1 if metrics.is_file() else 0


def signalled(path, number, wanted_rows, *flags):
    """Run fit.py until metrics.csv has so many rows, send the signal, and see how it ends."""
    process = command("--run-dir", path, *flags)
    try:
        deadline = time.monotonic() + 120
        while rows(path) < wanted_rows and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    checkpoint = torch.load(path / "checkpoint.pt", weights_only=True)
    return SimpleNamespace(
        code=process.returncode,
        out=out,
        err=err,
        rows=rows(path),
        progress=checkpoint["progress"],
        files={file.name for file in path.iterdir()},
    )


@pytest.fixture(scope="module")
def chain(tmp_path_factory, images):
    """One run killed with SIGKILL, then stopped by SIGTERM, then by SIGINT; and an unbroken one."""
    folder = tmp_path_factory.mktemp("runs")
    path, unbroken = folder / "broken", folder / "unbroken"
    stages = {
        "kill": signalled(path, signal.SIGKILL, 3, "--dataset", images),
        "term": signalled(path, signal.SIGTERM, 5, "--resume"),
        "int": signalled(path, signal.SIGINT, 7, "--resume"),
    }
    with pytest.MonkeyPatch.context() as patch:
        bare_runs(patch)
        assert run_fit(*FLAGS, "--resume", "--run-dir", path) == 0
        assert run_fit(*FLAGS, "--dataset", images, "--run-dir", unbroken) == 0
    return SimpleNamespace(path=path, unbroken=unbroken, **stages)


def test_a_killed_run_leaves_whole_files(chain):
    assert chain.kill.code == -signal.SIGKILL
    assert 3 <= chain.kill.rows < EPOCHS
    # The checkpoint is written first, so it may be one epoch ahead of the table.
    assert len(chain.kill.progress["history"]) in (chain.kill.rows, chain.kill.rows + 1)
    assert {"config.json", "metrics.csv", "checkpoint.pt"} <= chain.kill.files
    assert "summary.json" not in chain.kill.files


@pytest.mark.parametrize(("stage", "code"), [("term", 143), ("int", 130)])
def test_a_stopped_run_ends_cleanly_with_a_checkpoint(chain, stage, code):
    stopped = getattr(chain, stage)
    assert stopped.code == code
    assert stopped.rows < EPOCHS + 1
    assert stopped.out == ""
    assert stopped.err.count("\n") == 1
    assert f"--resume --run-dir {chain.path}" in stopped.err
    assert "summary.json" not in stopped.files
    assert not [name for name in stopped.files if name.endswith(".tmp")]
    assert stopped.progress["step"] == 40 * stopped.progress["epoch"] + stopped.progress["batch"]


def test_each_stage_went_on_where_the_last_one_stood(chain):
    steps = [getattr(chain, stage).progress["step"] for stage in ("kill", "term", "int")]
    assert 0 < steps[0] < steps[1] < steps[2] < 40 * EPOCHS


@pytest.mark.parametrize("name", ["metrics.csv", "config.json", "summary.json"])
def test_the_resumed_run_equals_an_unbroken_one(chain, name):
    if name.endswith(".json"):  # the clock and the command are each call's own
        mine, other = (
            lines_without(folder / name, "minutes_of_this_call", '"command"')
            for folder in (chain.path, chain.unbroken)
        )
        assert mine == other
    else:
        assert (chain.path / name).read_bytes() == (chain.unbroken / name).read_bytes()


def lines_without(path, *words):
    lines = path.read_text().splitlines()
    return [line for line in lines if not any(word in line for word in words)]


def test_the_resumed_weights_equal_those_of_an_unbroken_run(chain):
    mine, other = (
        torch.load(folder / "checkpoint.pt", weights_only=True)
        for folder in (chain.path, chain.unbroken)
    )
    for part in ("model", "guide"):
        for name, value in mine[part].items():
            assert torch.equal(value, other[part][name]), name
    assert mine["progress"]["step"] == other["progress"]["step"] == 40 * EPOCHS
    assert torch.equal(mine["generators"][0]["cpu"], other["generators"][0]["cpu"])


def test_a_finished_run_resumes_to_the_same_files(chain, monkeypatch):
    bare_runs(monkeypatch)
    before = (chain.path / "metrics.csv").read_bytes()
    assert run_fit(*FLAGS, "--resume", "--run-dir", chain.path) == 0
    assert (chain.path / "metrics.csv").read_bytes() == before


def test_switching_the_objective_goes_on_training_and_is_remembered(
    images, tmp_path, capsys, monkeypatch
):
    bare_runs(monkeypatch)
    path = tmp_path / "run"
    assert run_fit("--dataset", images, "--epochs", 1, "--run-dir", path) == 0
    capsys.readouterr()
    switch = ["--resume", "--run-dir", path, "--objective", "ciwae", "--beta", "0.25"]
    assert run_fit(*switch) == 2  # nothing would be trained, and the old model renamed
    message = capsys.readouterr().err
    assert "finished its 1 epochs with objective iwae and k = 2" in message
    assert "give --epochs above 1" in message
    config = json.loads((path / "config.json").read_text())
    assert config["objective"] == "iwae"

    assert run_fit(*switch, "--epochs", 3) == 0
    config = json.loads((path / "config.json").read_text())
    assert (config["objective"], config["beta"]) == ("ciwae", 0.25)
    first = {"until_epoch": 1, "objective": "iwae", "num_particles": 2}
    assert config["earlier_objectives"] == [first]
    # Settings of the old objective do not stick to the next.
    more = ["--resume", "--run-dir", path, "--objective", "elbo", "--epochs", 4]
    assert run_fit(*more) == 0
    config = json.loads((path / "config.json").read_text())
    assert config["beta"] is None
    second = {"until_epoch": 3, "objective": "ciwae", "num_particles": 2, "beta": 0.25}
    assert config["earlier_objectives"] == [first, second]


def test_a_resume_takes_no_config_file(finished_run, capsys):
    flags = ["--config", finished_run / "config.json", "--run-dir", finished_run]
    assert run_fit("--resume", *flags) == 2
    expected = "fit.py: --resume takes the settings of the run itself; leave --config out\n"
    assert capsys.readouterr().err == expected
