"""Bracket a trained model's log-likelihood: annealed importance sampling and its reverse.

    python experiments/bracket.py RUN

On data simulated from the model the reverse chains give an upper bound beside the lower one, so
log p(x) lies between two numbers, on average (Wu et al. 2017, https://arxiv.org/abs/1611.04273;
Grosse et al. 2015, https://arxiv.org/abs/1511.02543); the importance-sampled L_K of the same data
is printed with them. On test data there is a lower bound only; the gap on simulated data tells how
far annealing can be off. Where pixels take whole levels the bounds are printed in bits per
dimension as well: there a lower bound on log p(x) is an upper one on the bits. ``pyro-vae bracket``
is the same command.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    # Run from a checkout: the library may be installed, the folders beside it are not.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    from pyro_vae.cli import prepare_process

    prepare_process()  # before torch starts its threads

import torch
from tqdm import tqdm

from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.datasets import load_dataset
from pyro_vae.errors import check_count
from pyro_vae.evaluation import Bracket, Evaluation, ais, bidirectional, evaluate
from pyro_vae.evaluation.bits import levelled_pixels, mean_in_bits
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.runs import RunDirectory, load_run
from pyro_vae.runs.facts import check_same_data
from pyro_vae.runs.job import device_named
from pyro_vae.ticking import ticking
from pyro_vae.version import __version__

PROG = "bracket.py"
# Chains advance by parts of a datum.
PART_BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} data [{elapsed}<{remaining}]"
# Rows that are log-likelihoods, and not differences of them.
BOUNDS = ("AIS, lower", "L_K", "L_K, jackknife", "reverse AIS, upper")


@dataclass(frozen=True)
class Kind:
    """What was found on data of one kind.

    Attributes:
        rows: name -> estimate over the data, nats. accepted: share of the chains' proposals.
        num_pixels: D of pixels that take whole levels, else None.
    """

    rows: Mapping[str, Mean]
    accepted: float
    num_pixels: int | None = None

    @property
    def bits(self) -> dict[str, Mean]:
        """The bounds on log p(x) in bits per dimension; empty where pixels are real numbers."""
        if self.num_pixels is None:
            return {}
        return {
            name: mean_in_bits(row, self.num_pixels)
            for name, row in self.rows.items()
            if name in BOUNDS
        }

    def entries(self) -> dict[str, dict[str, float]]:
        """Of ``bracket.json``."""
        return {name: row.as_dict() for name, row in self.rows.items()}


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Bracket a trained model's log-likelihood: annealed importance sampling from "
        "below and, on data simulated from the model, its reverse from above.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/first
  {prog} runs/first --num-data 20 --temperatures 2000""",
    )
    p.add_argument("run", metavar="RUN", help="run directory, or a cell of a published table")
    p.add_argument("--num-data", type=int, default=50, metavar="N", help="data of each kind (50)")
    p.add_argument("--chains", type=int, default=16, metavar="K", help="chains per datum (16)")
    p.add_argument(
        "--temperatures", type=int, default=500, metavar="T", help="steps of a chain (500)"
    )
    p.add_argument(
        "--leapfrog", type=int, default=3, metavar="L", help="leapfrog steps at each (3)"
    )
    p.add_argument(
        "--eval-particles", type=int, default=5_000, metavar="K", help="particles of L_K (5000)"
    )
    p.add_argument(
        "--seed", type=int, default=0, help="seed of simulated data, chains and particles (0)"
    )
    p.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu or cuda")
    p.add_argument("--data-dir", metavar="DIR", help="where the run's data lie now")
    p.add_argument("--quiet", action="store_true", help="print the table only")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    check_count("--num-data", flags.num_data)
    started = time.monotonic()
    settings = {name: value for name, value in vars(flags).items() if name != "json"}
    found = _bracketed(flags)
    summary = {
        **{name: kind.entries() for name, kind in found.items()},
        "bits_per_dim": {
            name: {label: row.as_dict() for label, row in kind.bits.items()}
            for name, kind in found.items()
        },
        "acceptance": {name: kind.accepted for name, kind in found.items()},
        "settings": settings | {"minutes": (time.monotonic() - started) / 60},
        "version": __version__,
    }
    path = Path(flags.run) / "bracket.json"
    RunDirectory.write_json(path, summary)
    _print(found, flags)
    print(f"wrote {path}")
    return Answer(summary | {"files": [str(path)]})


def _bracketed(flags: argparse.Namespace) -> dict[str, Kind]:
    """Means on simulated and on test data."""
    device = device_named(flags.device)
    model, guide, config = load_run(flags.run, device)
    moved = {} if flags.data_dir is None else {"data_dir": flags.data_dir}
    data = load_dataset(**config.data_arguments | moved)
    check_same_data(config, data, flags.run)
    test = data.test[: flags.num_data].to(device)
    annealing = {
        "num_particles": flags.chains,
        "num_temperatures": flags.temperatures,
        "num_leapfrog": flags.leapfrog,
    }
    torch.manual_seed(flags.seed)
    total = flags.num_data + len(test)
    with tqdm(total=total, bar_format=PART_BAR, disable=flags.quiet) as bar:
        bracket = bidirectional(
            model, guide, num_data=flags.num_data, on_progress=bar.update, **annealing
        )
        below = ais(model, guide, test, on_progress=bar.update, **annealing)
    particles = {"num_particles": flags.eval_particles, "bound_particles": 1}
    with ticking("importance sampling of the same data", not flags.quiet):
        simulated, tested = (
            evaluate(model, guide, x, khat=False, **particles) for x in (bracket.x, test)
        )
    rows = {
        "AIS, lower": mean_and_error(below.lower),
        "L_K": mean_and_error(tested.log_likelihood),
        "AIS over L_K": mean_and_error(below.lower - tested.log_likelihood),
    }
    size = levelled_pixels(model)
    return {
        "simulated": Kind(_simulated(bracket, simulated), float(bracket.acceptance.mean()), size),
        "test": Kind(rows, float(below.acceptance.mean()), size),
    }


def _simulated(bracket: Bracket, sampled: Evaluation) -> dict[str, Mean]:
    return {
        "AIS, lower": mean_and_error(bracket.lower),
        "L_K": mean_and_error(sampled.log_likelihood),
        "L_K, jackknife": mean_and_error(sampled.log_likelihood_jackknife),
        "reverse AIS, upper": mean_and_error(bracket.upper),
        "gap, upper - lower": mean_and_error(bracket.gap),
        "upper - L_K": mean_and_error(bracket.upper - sampled.log_likelihood),
    }


def _print(found: Mapping[str, Kind], flags: argparse.Namespace) -> None:
    print(
        f"{flags.num_data} data of each kind; AIS: {flags.chains} chains, {flags.temperatures} "
        f"temperatures, {flags.leapfrog} leapfrog steps; L_K: K = {flags.eval_particles}; nats, "
        "mean and standard error over data"
    )
    for name, kind in found.items():
        print(f"\n{name} data, {kind.accepted:.0%} of proposals accepted")
        for label, row in kind.rows.items():
            print(
                f"  {label:22} {row.mean:>10.3f}  {row.standard_error:>8.3f}{_in_bits(kind, label)}"
            )


def _in_bits(kind: Kind, label: str) -> str:
    row = kind.bits.get(label)
    if row is None:
        return ""
    return f"   {row.mean:.4f} ± {row.standard_error:.4f} bits per dimension"


if __name__ == "__main__":
    sys.exit(main())
