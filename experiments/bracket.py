"""Bracket a trained model's log-likelihood: annealed importance sampling and its reverse.

    python experiments/bracket.py RUN

On data simulated from the model the reverse chains give an upper bound beside the lower one, so
log p(x) lies between two numbers, on average; the importance-sampled L_K of the same data is
printed with them. On test data there is a lower bound only; the gap on simulated data tells how
far annealing can be off.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tqdm import tqdm

import pyro_vae
from pyro_vae.cli.common import Parser, exit_code
from pyro_vae.errors import check_count
from pyro_vae.evaluation import Bracket, Evaluation, ais, bidirectional, evaluate
from pyro_vae.evaluation.statistics import mean_and_error
from pyro_vae.runs import RunDirectory, load_run
from pyro_vae.runs.job import device_named


def parser(prog: str = "bracket.py") -> Parser:
    p = Parser(prog=prog, description=(__doc__ or "").splitlines()[0])
    p.add_argument("run", metavar="RUN", help="run directory of fit.py, or a cell of replicate.py")
    p.add_argument("--num-data", type=int, default=50, metavar="N", help="of each kind (50)")
    p.add_argument("--chains", type=int, default=16, metavar="K", help="per datum (16)")
    p.add_argument("--temperatures", type=int, default=500, metavar="T", help="of a chain (500)")
    p.add_argument("--leapfrog", type=int, default=3, metavar="L", help="steps each (3)")
    p.add_argument(
        "--eval-particles", type=int, default=5_000, metavar="K", help="of L_K (default: 5000)"
    )
    p.add_argument("--seed", type=int, default=0, help="of data, chains and particles (0)")
    p.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu or cuda")
    p.add_argument("--data-dir", metavar="DIR", help="data files (default: $PYRO_VAE_DATA)")
    p.add_argument("--quiet", action="store_true", help="print the table only")
    return p


def main(arguments: list[str] | None = None, prog: str = "bracket.py") -> int:
    """Run the command; returns its exit code."""
    return exit_code(prog, lambda: _main(arguments, prog))


def _main(arguments: list[str] | None, prog: str) -> int:
    flags = parser(prog).parse_args(arguments)
    check_count("--num-data", flags.num_data)
    device = device_named(flags.device)
    model, guide, config = load_run(flags.run, device)
    settings = config.data_arguments | {"data_dir": flags.data_dir}
    test = pyro_vae.load_dataset(**settings).test[: flags.num_data].to(device)
    annealing = {
        "num_particles": flags.chains,
        "num_temperatures": flags.temperatures,
        "num_leapfrog": flags.leapfrog,
    }
    started = time.monotonic()
    torch.manual_seed(flags.seed)
    with tqdm(total=flags.num_data + len(test), unit="datum", disable=flags.quiet) as bar:
        bracket = bidirectional(
            model, guide, num_data=flags.num_data, on_progress=bar.update, **annealing
        )
        below = ais(model, guide, test, on_progress=bar.update, **annealing)
    sampled = [
        evaluate(model, guide, x, num_particles=flags.eval_particles, bound_particles=1, khat=False)
        for x in (bracket.x, test)
    ]
    summary = {
        "simulated": _simulated(bracket, sampled[0]),
        "test": {
            "AIS, lower": mean_and_error(below.lower).as_dict(),
            "L_K": mean_and_error(sampled[1].log_likelihood).as_dict(),
            "AIS over L_K": mean_and_error(below.lower - sampled[1].log_likelihood).as_dict(),
        },
        "acceptance": {
            "simulated": float(bracket.acceptance.mean()),
            "test": float(below.acceptance.mean()),
        },
        "settings": vars(flags) | {"minutes": (time.monotonic() - started) / 60},
        "version": pyro_vae.__version__,
    }
    path = Path(flags.run) / "bracket.json"
    RunDirectory.write_json(path, summary)
    _print(summary, flags)
    print(f"wrote {path}")
    return 0


def _simulated(bracket: Bracket, sampled: Evaluation) -> dict[str, Any]:
    columns = {
        "AIS, lower": bracket.lower,
        "L_K": sampled.log_likelihood,
        "L_K, jackknife": sampled.log_likelihood_jackknife,
        "reverse AIS, upper": bracket.upper,
        "gap, upper - lower": bracket.gap,
        "upper - L_K": bracket.upper - sampled.log_likelihood,
    }
    return {name: mean_and_error(values).as_dict() for name, values in columns.items()}


def _print(summary: dict[str, Any], flags) -> None:
    print(
        f"{flags.num_data} data of each kind; AIS: {flags.chains} chains, {flags.temperatures} "
        f"temperatures, {flags.leapfrog} leapfrog steps; L_K: K = {flags.eval_particles}; nats, "
        "mean and standard error over data"
    )
    for kind in ("simulated", "test"):
        print(f"\n{kind} data, {summary['acceptance'][kind]:.0%} of proposals accepted")
        for name, row in summary[kind].items():
            print(f"  {name:22} {row['mean']:>10.3f}  {row['standard_error']:>8.3f}")


if __name__ == "__main__":
    torch.set_flush_denormal(True)  # before there are threads: they inherit it
    sys.exit(main())
