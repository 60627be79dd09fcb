"""A self-supervised VAE beside plain ones on small colour images, at equal steps.

    python experiments/ssvae.py --data-dir DATA --run-dir runs/ssvae --epochs 5 --seeds 2

Trains three pairs (standard normal prior; RealNVP prior; self-supervised with y = x at half the
side and the RealNVP prior for its top level, as table 7.2 of Gatopoulos 2020 has them) on CIFAR-10
at 16 x 16, judges them, and measures Frechet distances with their null. Then, with the first seed,
what may keep the lower latent alive: a warm-up of its KL term, and free bits. Latents have 256
numbers in every pair. What is done already is skipped, so the same command goes on.

Writes RUN_DIR/table.csv: nats per image; bits per dimension are those of the pair (x, d(x)) for
self-supervised models.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Run from a checkout: the library may be installed, the folders beside it are not.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    from pyro_vae.cli import prepare_process

    prepare_process()  # before torch starts its threads

from pyro_vae.cli import fid
from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.errors import InputError, check_count
from pyro_vae.runs import Hooks, RunDirectory, new_config, train
from pyro_vae.runs.summary import Summary
from pyro_vae.storage import write_whole

PROG = "ssvae.py"
SIDE, COMPONENTS = 16, 5
LIKELIHOOD = f"logistic-mixture:components={COMPONENTS}"
PLAIN = {"model": "image", "likelihood": LIKELIHOOD}
SELF_SUPERVISED = {"model": "ssvae", "likelihood": LIKELIHOOD, "prior": "realnvp"}
MODELS: dict[str, dict[str, Any]] = {
    "standard": PLAIN,
    "realnvp": {**PLAIN, "prior": "realnvp"},
    "ssvae": SELF_SUPERVISED,
}
# What may keep z1 alive; of the first seed.
TRIALS: dict[str, dict[str, Any]] = {
    "ssvae, warm-up of z1": {**SELF_SUPERVISED, "annealing": ("z1=0.01:1:0.6",)},
    "ssvae, free bits": {**SELF_SUPERVISED, "objective": "free-bits", "free_bits": 10.0},
}
COLUMNS = (
    "elbo",
    "reconstruction",
    "reconstruction_x",
    "reconstruction_y1",
    "kl_z1",
    "kl_z2",
    "bits_per_dim",
    "iw_bits_per_dim",
)


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Train and judge plain and self-supervised VAEs on CIFAR-10 at 16 x 16.",
    )
    p.add_argument("--data-dir", metavar="DIR", help="where the data lie")
    p.add_argument("--run-dir", default="runs/ssvae", metavar="DIR", help="default: runs/ssvae")
    p.add_argument("--epochs", type=int, default=5, metavar="N", help="of all (default: 5)")
    p.add_argument("--seeds", type=int, default=2, metavar="N", help="trainings (default: 2)")
    p.add_argument("--test-size", type=int, default=500, metavar="N", help="default: 500")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    for name in ("epochs", "seeds", "test_size"):
        check_count(f"--{name.replace('_', '-')}", getattr(flags, name))
    folder = Path(flags.run_dir)
    cells = [(name, seed) for seed in range(flags.seeds) for name in MODELS]
    cells += [(name, 0) for name in TRIALS]
    for name, seed in cells:
        _train(folder / _folder(name, seed), {**MODELS, **TRIALS}[name], flags, seed)
        _write_table(folder, cells)
    print(f"wrote {folder / 'table.csv'}")
    return Answer({"files": [str(folder / "table.csv")]})


def _folder(name: str, seed: int) -> str:
    return f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def _train(path: Path, settings: dict[str, Any], flags: argparse.Namespace, seed: int) -> None:
    if not (path / "summary.json").exists():
        if path.exists():
            raise InputError(f"{path} was cut off: remove it, and the same command goes on")
        given = {
            "objective": "elbo",
            "num_particles": 1,
            "dataset": "cifar10",
            "image_size": SIDE,
            "data_seed": 0,
            "data_dir": flags.data_dir,
            "epochs": flags.epochs,
            "seed": seed,
            "compile": False,
            "precision": "float32",
            "valid_size": 200,
            "test_size": flags.test_size,
            "eval_particles": 64,
            "posterior_data": 20,
            "posterior_draws": 20,
        }
        train(new_config(given | settings), path, Hooks(say=print))
    if not (path / "fid.json").exists():
        wanted = [str(path), "--out", str(path / "fid.json"), "--quiet"]
        if fid.main(wanted):
            raise InputError(f"no Frechet distances of {path}")


def _write_table(folder: Path, cells: list[tuple[str, int]]) -> None:
    """What there is of the cells, a row each."""
    stream = io.StringIO()
    out = csv.writer(stream)
    errors = [f"{name}_error" for name in COLUMNS]
    out.writerow(["model", "seed", "steps", *COLUMNS, *errors, "fid", "null", "minutes"])
    for name, seed in cells:
        directory = RunDirectory(folder / _folder(name, seed))
        distances = directory.path / "fid.json"
        if not distances.exists():
            continue
        summary = Summary.of(directory.read_summary(), directory.path)
        found = json.loads(distances.read_text())
        known = {one: summary.estimate(one) for one in COLUMNS if one in summary.test}
        row = [name, seed, summary.run.steps]
        row += [f"{known[one].mean:.4f}" if one in known else "" for one in COLUMNS]
        row += [f"{known[one].standard_error:.4f}" if one in known else "" for one in COLUMNS]
        row += [
            " ".join(f"{value:.3f}" for value in found[what]) for what in ("distances", "nulls")
        ]
        out.writerow([*row, f"{summary.run.training_minutes_of_this_call:.1f}"])
    write_whole(folder / "table.csv", stream.getvalue().encode())


if __name__ == "__main__":
    sys.exit(main())
