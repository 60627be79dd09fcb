"""One training step of every prior with every guide and objective, or the reason why there is none.

    python experiments/combinations.py --page docs/combinations.md

Two products are taken whole: prior x guide x one or two levels x posterior x objective with its
estimators, and likelihood x decoder x objective. Parts are small (four units a level, images of
four by four pixels), so that a step takes milliseconds. ``--pairs`` tries few combinations instead,
in which every value of every axis meets every other; so do the tests.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path

if __name__ == "__main__":
    # Run from a checkout: the library may be installed, the folders beside it are not.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    from pyro_vae.cli import prepare_process

    prepare_process()  # before torch starts its threads

import torch
from tqdm import tqdm

from experiments.combining.combination import AXES, Combination, Outcome, attempt
from experiments.combining.combinations_page import page
from experiments.combining.pairwise import Values, cause_of, cover, values_of
from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.version import __version__

PROG = "combinations.py"
PRODUCTS = (
    ("prior", "guide", "levels", "posterior", "loss"),
    ("likelihood", "decoder", "loss"),
)


def all_of(axes: tuple[str, ...]) -> list[Combination]:
    """The product of some axes, the plainest value of the others."""
    values = product(*(AXES[axis] for axis in axes))
    return [Combination(**dict(zip(axes, some, strict=True))) for some in values]


def causes_of(outcomes: Mapping[Combination, Outcome]) -> dict[Values, str]:
    """The least values that each refusal needs -> its reason."""
    found: dict[Values, str] = {}
    for one, outcome in outcomes.items():
        if outcome.refused and not any(cause <= values_of(one) for cause in found):
            cause, least = cause_of(one, lambda c: outcomes.get(c) or attempt(c))
            found[cause] = least.refused
    return found


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(prog=prog, description=__doc__.splitlines()[0])
    p.add_argument("--page", type=Path, metavar="FILE", help="write the tables to this file")
    p.add_argument("--pairs", action="store_true", help="every pair of values only")
    p.add_argument("--quiet", action="store_true", help="print the counts only")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code, 1 where a step failed."""
    return answered(parser(prog), arguments, lambda flags: _answer(flags, prog))


def _answer(flags: argparse.Namespace, prog: str) -> Answer:
    torch.set_num_threads(1)  # for tensors of a few numbers
    started = time.monotonic()
    if flags.pairs:
        found = cover(attempt)
        outcomes, causes = found.outcomes, found.causes
    else:
        products = {
            " x ".join(axes): {one: attempt(one) for one in tqdm(all_of(axes), disable=flags.quiet)}
            for axes in PRODUCTS
        }
        outcomes = {one: what for some in products.values() for one, what in some.items()}
        causes = causes_of(outcomes)
    minutes = (time.monotonic() - started) / 60
    refused = sum(one.refused is not None for one in outcomes.values())
    failed = {one: what.failed for one, what in outcomes.items() if what.failed}
    print(
        f"{len(outcomes)} combinations in {minutes:.1f} minutes: "
        f"{len(outcomes) - refused - len(failed)} took a step, {refused} are refused for "
        f"{len(causes)} causes, {len(failed)} failed"
    )
    for one, reason in failed.items():
        print(f"failed: {one}: {reason}")
    if flags.page and not flags.pairs:
        command = f"python experiments/{prog} --page {flags.page}"
        made = (
            f"pyro_vae {__version__}, torch {torch.__version__}, {minutes:.1f} minutes on one core."
        )
        flags.page.write_text(page(products, causes, command, made), encoding="utf-8")
        print(f"wrote {flags.page}")
    content = {
        "combinations": len(outcomes),
        "refused": refused,
        "causes": len(causes),
        "failed": {str(one): reason for one, reason in failed.items()},
    }
    return Answer(content, 1 if failed else 0)


if __name__ == "__main__":
    sys.exit(main())
