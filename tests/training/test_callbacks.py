"""Callbacks of a run, TensorBoard among them: when they are called, and what is written."""

import json
import sys

import pytest

from pyro_vae.errors import InputError
from pyro_vae.runs import Hooks, RunDirectory
from pyro_vae.runs.tensorboard import TensorBoard
from tests.conftest import bare_runs, run_fit
from tests.test_docs import DOCS
from tests.test_docs import run as run_page


def curves(folder):
    """Tag -> [(step, value), ...] of the event files in a folder."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(one.step, one.value) for one in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def test_the_page_on_callbacks_runs(capsys):
    pytest.importorskip("tensorboard")
    names = run_page(DOCS / "callbacks.md")
    watch, history = names["watch"], names["outcome"].fitted.history
    assert len(watch.norms) == 2 * len(history) == 8  # of both runs
    assert watch.norms[0] != watch.norms[3]
    assert watch.norms[:4] == watch.norms[4:]
    assert "epoch 3: bound" in capsys.readouterr().out
    written = curves(names["board"].folder)
    assert written["test/elbo"][0][1] == pytest.approx(watch.elbo, rel=1e-6)


def test_a_callback_that_raises_a_signal_ends_the_training_with_a_checkpoint(tmp_path):
    pytest.importorskip("tensorboard")
    names = {}
    text = (DOCS / "callbacks.md").read_text(encoding="utf-8")
    block = text.split("```python\n")[1].split("```")[0]
    block = block.replace('"epochs": 3', '"epochs": 30, "lr": 1e-30').replace(
        'f"{folder}/run"', f'"{tmp_path / "run"}"'
    )
    exec(block, names)
    assert names["outcome"].fitted.stopped == "interrupted"
    assert len(names["watch"].norms) < 31
    assert RunDirectory(tmp_path / "run").checkpoint.is_file()
    assert names["outcome"].summary is None


def test_callbacks_are_added_behind_those_that_there_are():
    heard = []
    hooks = Hooks(on_epoch=lambda history: heard.append(("first", history)))
    hooks = hooks.also(on_epoch=lambda history: heard.append(("second", history)))
    hooks.on_epoch([1])
    assert heard == [("first", [1]), ("second", [1])]


def test_curves_are_the_rows_of_the_metrics_once_each_after_a_resume(images, tmp_path, monkeypatch):
    bare_runs(monkeypatch)
    run = RunDirectory(tmp_path / "run")
    flags = ["--dataset", images, "--run-dir", run.path]
    assert run_fit(*flags, "--tensorboard") == 0
    assert run_fit("--resume", "--run-dir", run.path, "--epochs", 3) == 0
    metrics, written = run.read_metrics(), curves(run.path / "tensorboard")
    assert [step for step, _ in written["validation/elbo"]] == metrics["step"]
    assert [value for _, value in written["validation/elbo"]] == pytest.approx(metrics["elbo"])
    assert [value for _, value in written["training/lr"]] == pytest.approx(metrics["lr"])
    assert {"training/beta_z2", "training/grad_norm", "validation/kl_z1"} <= written.keys()
    assert "training/epoch" not in written
    stored = json.loads(run.summary.read_text())["test"]["elbo"]["mean"]
    assert [value for _, value in written["test/elbo"]] == [pytest.approx(stored)]


def test_without_the_package_one_line_says_so_before_anything_is_written(
    images, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install"):
        TensorBoard(tmp_path)
    run = tmp_path / "run"
    assert run_fit("--dataset", images, "--run-dir", run, "--tensorboard") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "wants the package tensorboard" in line
    assert not run.exists()
