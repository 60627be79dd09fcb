"""The main job: train a model and a guide on images, evaluate them, and write a run directory.

    python experiments/fit.py --guide topdown --num-particles 50

See ``--help`` for the flags and ``pyro_vae/runs.py`` for the files of a run directory. Bad input
ends with one line and exit code 2, a training that diverges with 1, Ctrl-C with 130, kill with 143.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import sys
from pathlib import Path
from typing import Any

# How long threads spin before they sleep: at torch's default a step takes several times as long as
# soon as another process wants a core, without spinning small steps take twice as long on a free
# machine (docs/design.md). Read once, when torch starts its threads.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# Commands run from a checkout; the library may be installed, the folders beside it are not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyro
import torch

import pyro_vae
from experiments import settings
from experiments.commands import device_named, exit_code
from experiments.flags import parser
from experiments.report import final_figures, print_table
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from pyro_vae.objectives import check_objective_fits
from pyro_vae.runs import RunDirectory
from pyro_vae.training.parallel import Processes, joined_processes


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return exit_code("fit.py", lambda: run(arguments))


def run(arguments: list[str] | None) -> int:
    """As ``main``, with errors raised, for callers that tell of them themselves."""
    given = vars(parser().parse_args(arguments))
    with joined_processes(given.get("device", "auto")) as processes:
        return _run(given, processes)


def _run(given: dict[str, Any], processes: Processes) -> int:
    directory, config = _prepare(given, processes)
    device = device_named(config["device"])
    quiet = given.get("quiet", False) or not processes.first
    say = (lambda *args: None) if quiet else print

    config["data_settings"] = settings.data_settings(config)
    data = pyro_vae.load_dataset(**config["data_settings"])
    config["num_pixels"] = data.train.shape[1]
    config["data"] = data.info
    model, guide = pyro_vae.build_pair(
        config["model"],
        config["guide"],
        num_pixels=config["num_pixels"],
        preset=config["preset"],
        pixel_mean=data.train.mean(0),
        seed=config["seed"],
    )
    objective = pyro_vae.make_objective(
        config["objective"],
        config["num_particles"],
        estimator=config["estimator"],
        thin=config["thin"],
        **settings.objective_settings(config),
    )
    check_objective_fits(objective, guide)
    say(_describe(config, data, directory, device))
    with directory.locked() if processes.first else contextlib.nullcontext():
        result = pyro_vae.fit(
            model.to(device),
            guide.to(device),
            data.train,
            valid=data.valid[: config["valid_size"]],
            objective=objective,
            epochs=config["epochs"],
            batch_size=config["batch_size"],
            optimiser=settings.optimiser(config),
            lr_schedule=settings.lr_schedule(config),
            binarise=(config["binarise"] or "access") if data.pixels.drawn else None,
            annealing=settings.schedules(config),
            seed=config["seed"],
            compile=config["compile"],
            chunk_size=config["chunk_size"],
            precision=config["precision"],
            max_minutes=config["max_minutes"],
            checkpoint=directory.checkpoint,
            resume=given.get("resume", False),
            on_start=lambda: directory.write_config(config) if processes.first else None,
            on_epoch=directory.write_metrics,
            progress=not quiet,
        )
        if not processes.first:
            return 0 if result.signal is None else 128 + result.signal
        directory.write_metrics(result.history)
        if result.signal is not None:
            print(
                f"fit.py: stopped; continue with: python experiments/fit.py --resume "
                f"--run-dir {directory.path}",
                file=sys.stderr,
            )
            return 128 + result.signal
        say(f"training {result.stopped}: {result.minutes:.1f} minutes; evaluating on test data")
        summary = final_figures(model.eval(), guide.eval(), data, config, directory, device, quiet)
        summary["run"] = {
            "stopped": result.stopped,
            "epochs": int(result.history[-1]["epoch"]),
            "steps": result.steps,
            "compiled": result.compiled,
            "training_minutes_of_this_call": result.minutes,
        }
        directory.write_summary(summary)
    print_table(summary, config)
    print(f"run directory: {directory.path}")
    return 0


def _prepare(given: dict[str, Any], processes: Processes) -> tuple[RunDirectory, dict[str, Any]]:
    """The run directory, checked for what it holds, and the config to run with."""
    if given.get("resume"):
        if "run_dir" not in given:
            raise InputError("--resume wants --run-dir DIR, the run to continue")
        # Loading the run checks its files before anything of it is written.
        stored = pyro_vae.load_run(given["run_dir"]).config
        directory = RunDirectory(given["run_dir"])
        return directory, settings.resumed_config(stored, given, directory.config)
    config = settings.new_config(given)
    now = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    run_dir = given.get("run_dir") or settings.default_run_dir(config, now)
    directory = RunDirectory(processes.from_first(run_dir))
    if directory.checkpoint.exists() or directory.config.exists():
        raise InputError(
            f"{directory.path} holds a run already; continue it with --resume or name another "
            "--run-dir"
        )
    config["versions"] = {
        "pyro_vae": pyro_vae.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
    }
    return directory, config


def _describe(config: dict, data: Dataset, directory: RunDirectory, device: torch.device) -> str:
    return (
        f"{config['model']} ({config['preset']}) with a {config['guide']} guide, objective "
        f"{config['objective']}, k = {config['num_particles']}, on {device}\n"
        f"{data.name}: {len(data.train)} train, {len(data.valid)} valid and {len(data.test)} test "
        f"rows of {config['num_pixels']} ({data.pixels})\nrun directory {directory.path}"
    )


if __name__ == "__main__":
    torch.set_flush_denormal(True)  # before there are threads: they inherit it
    sys.exit(main())
