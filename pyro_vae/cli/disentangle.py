"""``pyro-vae disentangle``: what a run's code tells of known factors, and in units of its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pyro_vae.cli.common import Answer, Parser, answered, write_out
from pyro_vae.cli.images import add_run, read_array, read_images
from pyro_vae.datasets import load_dataset
from pyro_vae.datasets.factors import KINDS, Factor
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation import Disentanglement, code_disentanglement, disentanglement
from pyro_vae.evaluation.disentanglement.code_arrays import check_factors
from pyro_vae.evaluation.disentanglement.linear_codes import reference_codes
from pyro_vae.evaluation.disentanglement.pair_accuracy import BATCH
from pyro_vae.runs import Run, load_run
from pyro_vae.runs.facts import check_same_data
from pyro_vae.runs.job import device_named
from pyro_vae.ticking import ticking

PROG = "pyro-vae disentangle"


@dataclass(frozen=True)
class Known:
    """Images whose factors are known.

    Attributes:
        rows: (N, D).
        factors: (N, F).
        described: the F factors.
        train: rows that other codes are fitted to.
    """

    rows: Tensor
    factors: np.ndarray
    described: tuple[Factor, ...]
    train: Tensor

    def first(self, number: int | None) -> Known:
        """The first images alone; None for all."""
        if number is None:
            return self
        number = check_count("--size", number)
        return Known(self.rows[:number], self.factors[:number], self.described, self.train)


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Which known factors of the images a run's code tells, and whether each has a "
        "unit of its own: the score of Higgins et al. 2017 with what it cannot see, the mutual "
        "information gap of Chen et al. 2018 with its null, and how well each factor is read.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/sprites
  {prog} runs/sprites --references --out scores.json
  {prog} runs/own test.npz:images --factors test.npz:classes --names shape:class size turn:circular
""",
    )
    add_run(p)
    p.add_argument(
        "images",
        nargs="?",
        metavar="IMAGES",
        help=".npy, .npz (file.npz:array), .mat or IDX file, with --factors (default: the run's "
        "test data, where these have known factors: --dataset sprites)",
    )
    p.add_argument(
        "--factors",
        metavar="FILE",
        help="whole numbers from 0, a row for each of IMAGES; columns of one value are left out",
    )
    p.add_argument(
        "--names",
        nargs="+",
        metavar="NAME[:KIND]",
        help=f"of the columns of --factors; kinds: {', '.join(KINDS)} (default: factor0, ...; "
        "ordered)",
    )
    p.add_argument("--size", type=int, metavar="N", help="images judged (default: all)")
    p.add_argument(
        "--batch",
        type=int,
        default=BATCH,
        metavar="L",
        help=f"pairs behind each point of the score of Higgins et al. (default: {BATCH})",
    )
    p.add_argument(
        "--references",
        action="store_true",
        help="the same of the factors themselves, of the pixels, and of as many principal and "
        "independent components as the run has units (minutes: pixels are many)",
    )
    p.add_argument("--data-dir", metavar="DIR", help="where the run's data lie now")
    p.add_argument("--out", metavar="FILE.json", help="file for the scores, as JSON")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    check_count("--batch", flags.batch)
    run = load_run(flags.run, device_named(flags.device))
    known = _known(run, flags).first(flags.size)
    settings = {"batch": flags.batch, "seed": flags.seed}
    with ticking("scores of the run's codes"):
        found = disentanglement(
            run.model, run.guide, known.rows, known.factors, known.described, **settings
        )
    others: tuple[Disentanglement, ...] = ()
    if flags.references:
        with ticking("scores of factors, pixels and components"):
            codes = reference_codes(
                _array(known.train),
                _array(known.rows),
                known.factors,
                num_units=found[0].num_units,
                seed=flags.seed,
            )
            others = tuple(
                code_disentanglement(
                    code, code[None], known.factors, known.described, level=name, **settings
                )
                for name, code in codes.items()
            )
    for one in (*found, *others):
        for line in one.lines():
            print(line)
    content = {
        "levels": {one.level: one.entries() for one in found},
        "references": {one.level: one.entries() for one in others},
    }
    return Answer(content | {"files": write_out(flags.out, content)})


def _known(run: Run, flags: argparse.Namespace) -> Known:
    """The images of the command line with their factors, or those of the run's test data."""
    if flags.images is not None and flags.factors is not None:
        rows = run.rows(read_images(flags.images, run))
        factors, described = _described(read_array(flags.factors), flags.names, len(rows))
        return Known(rows, factors, described, train=rows)
    if flags.images is not None or flags.factors is not None or flags.names is not None:
        raise InputError("IMAGES, --factors and --names go together: give IMAGES and --factors")
    changes = {} if flags.data_dir is None else {"data_dir": flags.data_dir}
    data = load_dataset(**run.config.data_arguments | changes)
    check_same_data(run.config, data, flags.run)
    if data.factors is None:
        raise InputError(
            f"the factors of {data.name} are not known: give IMAGES with --factors, or a run on "
            "--dataset sprites"
        )
    return Known(
        data.test.to(run.device),
        data.factors.of("test"),
        data.factors.described,
        data.train_in_memory,
    )


def _described(
    factors: np.ndarray, names: Sequence[str] | None, num_images: int
) -> tuple[np.ndarray, tuple[Factor, ...]]:
    """Columns of several values, and what is known of them."""
    if factors.ndim != 2 or not factors.size:
        raise InputError(f"--factors must have shape ({num_images}, F), got {factors.shape}")
    if names is None:
        names = [f"factor{column}" for column in range(factors.shape[1])]
    if len(names) != factors.shape[1]:
        raise InputError(f"--factors has {factors.shape[1]} columns, --names {len(names)}")
    varied = np.flatnonzero((factors != factors[0]).any(0))
    factors = check_factors(factors[:, varied], num_images)
    described = []
    for column, values in zip(varied, factors.T, strict=True):
        name, _, kind = names[int(column)].partition(":")
        described.append(Factor(name, int(values.max()) + 1, kind or "ordered"))
    return factors, tuple(described)


def _array(rows: Tensor) -> np.ndarray:
    return rows.cpu().numpy()
