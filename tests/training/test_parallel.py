"""Two processes under torchrun: the gradient, the step and the files of one."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pyro_vae.runs import RunDirectory
from pyro_vae.training.parallel import Processes, joined_processes
from tests.conftest import QUICK, bare_runs, run_fit, write_images

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 6
# 96 training images in batches of 19: the last batch of an epoch has fewer rows than processes.
STEPS = 6
FLAGS = ["--model", "td", "--epochs", str(EPOCHS), "--num-particles", "5", "--batch-size", "19"]
FLAGS += ["--no-compile", "--init", "random"]


def torchrun(*command):
    """Exit code, output and errors of a command in two processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            *map(str, command),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "exitcode  : -6" in done.stderr:
        raise Aborted(done.stderr)
    assert done.returncode == 0, done.stderr
    return done


class Aborted(Exception):
    """A process was ended by SIGABRT, which threads of gloo do, rarely, when a process leaves."""


SCRIPT = """
import contextlib, io, json, shutil, sys

import pytest, torch
import torch.distributed as dist

import pyro_vae
from pyro_vae.cli import fit
from pyro_vae.torch_state import reseed
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.parallel import joined_processes
from tests.conftest import tiny_pair
from tests.statistics import double_precision, flat
from tests.training.test_chunks import Noise, joined, one_pass
from tests.contract.test_thinning import diagonal_pair

found = {}


def parameters(pair):
    return [p for program in pair for p in program.parameters()]


def one_gradient(processes, name, objective):
    # Each process's gradient on its share of 7 rows, summed; against one pass in one process.
    with double_precision(), pytest.MonkeyPatch.context() as patch:
        noise = Noise(patch)
        model, guide, x = diagonal_pair(7)
        own = parameters((model, guide))
        share = processes.share(x)
        reseed(11, 0, processes.rank)
        loss = Gradients(objective, model, guide)(share, {"z2": 0.4})
        alone = flat([p.grad for p in own])
        numbers = torch.tensor([loss.value.item(), float(len(share))])
        value, rows = processes.sum_([p.grad for p in own], numbers)
        (run,) = noise.runs()
        drawn, alone = processes.gather(run), processes.gather(alone)
        summed = flat([p.grad for p in own])
        noise.given = joined(drawn, 1)
        expected_loss, expected = one_pass(name, model, guide, x, 5, {"z2": 0.4})

        def off(gradient):
            return ((gradient - expected).abs().max() / expected.abs().max()).item()

        # Normalised over the wrong axis, or a mean where a sum belongs, would be far off.
        return {
            "rows": rows.item(), "loss": abs(value - expected_loss).item(), "summed": off(summed),
            "by hand": (alone[0] + alone[1] - summed).abs().max().item(),
            "one share": off(alone[0]), "mean": off(summed / 2),
            "noises differ": not torch.equal(drawn[0][0][:, :3], drawn[1][0][:, :3]),
        }


def fitted(processes, **settings):
    # The parameters of both processes after some steps from different starts.
    pair = tiny_pair(seed=processes.rank)
    before = flat([p.detach().clone() for p in parameters(pair)])
    data = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    states = []
    result = pyro_vae.fit(
        *pair, data, batch_size=4, epochs=2, progress=False, **settings,
        on_start=lambda: states.append(torch.get_rng_state()),
    )
    after = processes.gather(flat([p.detach() for p in parameters(pair)]))
    before, rows = processes.gather(before), processes.gather(repr(result.history))
    return {
        "started apart": not torch.equal(*before), "ended together": torch.equal(*after),
        "moved": not torch.equal(before[0], after[0]), "steps": result.steps,
        "noises differ": not torch.equal(*processes.gather(states[0])),
        "finite": bool(after[0].isfinite().all()), "same books": rows[0] == rows[1],
    }


with joined_processes("cpu") as processes:
    found["size"] = processes.size, processes.gather(processes.rank)
    for name, objective in (("iwae", pyro_vae.IWAE(5)), ("dreg", pyro_vae.DReG(5))):
        found[name] = one_gradient(processes, name, objective)
    # 9 rows in batches of 4: the last batch has one row, and the second process none.
    found["fit"] = fitted(processes, objective=pyro_vae.IWAE(3), compile=False)
    found["thinned fit"] = fitted(processes, objective=pyro_vae.DReG(8, thin=2), compile=False)
    found["any"] = processes.any(processes.rank == 1, False)
    found["from first"] = processes.gather(processes.from_first(processes.rank))
    rows = [len(processes.share(torch.zeros(n, 2))) for n in (7, 2, 1)]
    found["shares"] = processes.gather(rows)

    # A run of fit.py that stops after a step, and goes on; within the group that there is, since
    # torchrun's store gives a process one.
    fit.joined_processes = lambda device: contextlib.nullcontext(processes)
    folder, flags = sys.argv[1], sys.argv[2:]
    for stage, given in (("stop", [*flags, "--max-minutes", "1e-9"]),
                         ("resume", ["--resume", "--max-minutes", "1000"])):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = fit.main([*given, "--quiet", "--run-dir", folder])
        found[stage] = processes.gather((code, out.getvalue().count("run directory")))
        if processes.first and stage == "stop":
            shutil.copytree(folder, folder + "-stopped")
        dist.barrier()  # nobody goes on before the copy is made
    if processes.first:
        print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Everything that two processes do here, in two launches of torchrun."""
    for _ in range(2):
        with contextlib.suppress(Aborted):
            return launched(tmp_path_factory.mktemp("two"))
    return launched(tmp_path_factory.mktemp("two"))


def launched(folder):
    images = write_images(folder / "images.npy", rows=120)
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    flags = [*QUICK, *FLAGS, "--dataset", images]
    # The whole output of this one is looked at, so it is not --quiet.
    shown = [flag for flag in flags if flag != "--quiet"]
    unbroken = torchrun("experiments/fit.py", *shown, "--run-dir", folder / "unbroken")
    rest = torchrun(script, folder / "broken", *flags)
    return SimpleNamespace(
        folder=folder, unbroken=unbroken, found=json.loads(rest.stdout.splitlines()[-1]), rest=rest
    )


@pytest.fixture(scope="module")
def alone(two):
    """The same run in one process; and the run that two processes broke off, ended by one."""
    with pytest.MonkeyPatch.context() as patch:
        bare_runs(patch)
        path, resumed = two.folder / "alone", two.folder / "resumed by one"
        assert run_fit(*FLAGS, "--dataset", two.folder / "images.npy", "--run-dir", path) == 0
        shutil.copytree(two.folder / "broken-stopped", resumed)
        assert (
            run_fit(
                "--resume",
                "--max-minutes",
                "1000",
                "--epochs",
                EPOCHS,
                "--num-particles",
                5,
                "--run-dir",
                resumed,
            )
            == 0
        )
    return SimpleNamespace(run=RunDirectory(path), resumed=RunDirectory(resumed))


# What the processes share


def test_there_are_two(two):
    assert two.found["size"] == [2, [0, 1]]
    assert two.found["shares"] == [[4, 1, 1], [3, 1, 0]]
    assert two.found["any"] == [True, False]
    assert two.found["from first"] == [0, 0]


@pytest.mark.parametrize("name", ["iwae", "dreg"])
def test_the_summed_gradient_is_that_of_one_process(two, name):
    """On the same noise, in float64, annealed, with 4 and 3 rows."""
    found = two.found[name]
    assert found["rows"] == 7
    assert found["loss"] < 1e-10
    assert found["summed"] < 1e-10
    assert found["by hand"] < 1e-10
    assert found["noises differ"]
    assert found["one share"] > 0.01
    assert found["mean"] > 0.01


@pytest.mark.parametrize("name", ["fit", "thinned fit"])
def test_the_processes_hold_the_same_parameters(two, name):
    found = two.found[name]
    assert found.pop("steps") == 6
    assert found == dict.fromkeys(found, True)


def test_alone_everything_is_the_identity():
    with joined_processes() as processes:
        assert (processes.size, processes.rank, processes.first) == (1, 0, True)
        x, numbers = torch.randn(5, 2), torch.randn(2)
        assert torch.equal(processes.share(x), x)
        assert torch.equal(processes.sum_([x], numbers), numbers)
        assert processes.any(True, False) == [True, False]
        assert processes.gather("a") == ["a"]
        assert processes.from_first("a") == "a"
    assert Processes().size == 1


# Whole runs


def test_one_process_writes_the_whole_run(two):
    run = RunDirectory(two.folder / "unbroken")
    files = {path.name for path in run.path.iterdir()}
    assert {
        "config.json",
        "metrics.csv",
        "checkpoint.pt",
        "summary.json",
        "posterior.nc",
        "figures",
    } <= files
    assert not [name for name in files if name.endswith(".tmp")]
    metrics = run.read_metrics()
    assert metrics["epoch"] == list(range(EPOCHS + 1))
    assert metrics["step"] == [STEPS * epoch for epoch in range(EPOCHS + 1)]
    assert metrics["skipped"] == [0.0] * (EPOCHS + 1)
    out = two.unbroken.stdout
    assert out.count(f"run directory: {run.path}") == 1
    assert out.count("objective iwae, k = 5") == 1
    assert out.count("training finished") == 1


def test_the_other_process_prints_nothing(two):
    lines = [line for line in two.unbroken.stderr.splitlines() if "step/s" not in line]
    assert "Traceback" not in two.unbroken.stderr
    for line in lines:
        assert "holds a run already" not in line
        assert "another process is running" not in line
    # One bar, of the first process: every epoch's line stands once.
    shown = two.unbroken.stdout + two.unbroken.stderr
    for epoch in range(EPOCHS + 1):
        assert shown.count(f"epoch {epoch:>4} ") == 1


def test_two_processes_train_as_well_as_one(two, alone):
    both, one = RunDirectory(two.folder / "unbroken").read_metrics(), alone.run.read_metrics()
    assert both["elbo"][0] == one["elbo"][0]  # the same untrained pair, judged on the same noise
    assert both["elbo"][-1] != one["elbo"][-1]  # other particles
    gain, gain_of_one = (m["elbo"][-1] - m["elbo"][0] for m in (both, one))
    assert gain_of_one > 1
    assert gain == pytest.approx(gain_of_one, rel=0.15)
    for name in ("train_objective", "grad_norm"):
        assert both[name][-1] == pytest.approx(one[name][-1], rel=0.15)


def test_a_broken_run_goes_on_bit_for_bit(two):
    # One process prints a table, and both end well.
    assert two.found["stop"] == two.found["resume"] == [[0, 1], [0, 0]]
    stopped = RunDirectory(two.folder / "broken-stopped")
    checkpoint = torch.load(stopped.checkpoint, weights_only=True)
    assert checkpoint["progress"]["step"] == 1
    assert len(checkpoint["generators"]) == 2
    assert not torch.equal(*(states["cpu"] for states in checkpoint["generators"]))
    assert len(stopped.read_metrics()["epoch"]) == 1

    mine, other = (two.folder / name / "metrics.csv" for name in ("broken", "unbroken"))
    assert mine.read_bytes() == other.read_bytes()
    mine, other = (
        torch.load(two.folder / name / "checkpoint.pt", weights_only=True)
        for name in ("broken", "unbroken")
    )
    for part in ("model", "guide"):
        for name, value in mine[part].items():
            assert torch.equal(value, other[part][name]), name


def test_one_process_ends_what_two_began(two, alone):
    metrics = alone.resumed.read_metrics()
    assert metrics["epoch"] == list(range(EPOCHS + 1))
    assert metrics["step"][-1] == STEPS * EPOCHS
    unbroken = RunDirectory(two.folder / "unbroken").read_metrics()
    assert metrics["elbo"][0] == unbroken["elbo"][0]
    gain, gain_of_two = (m["elbo"][-1] - m["elbo"][0] for m in (metrics, unbroken))
    assert gain == pytest.approx(gain_of_two, rel=0.15)
    checkpoint = torch.load(alone.resumed.checkpoint, weights_only=True)
    assert len(checkpoint["generators"]) == 1
