"""One training step of every prior with every guide and objective, or the reason why there is none.

    python experiments/combinations.py --page docs/combinations.md

Three products are taken whole: prior x guide x one or two levels x posterior x objective with its
estimators, likelihood x decoder x objective, and of the self-supervised VAE prior x transforms x
likelihood x objective. Parts are small (four units a level, images of four by four pixels), so that
a step takes milliseconds. ``--pairs`` tries few combinations instead, in which every value of every
axis meets every other; so do the tests.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

if __name__ == "__main__":
    # Run from a checkout: the library may be installed, the folders beside it are not.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    from pyro_vae.cli import prepare_process

    prepare_process()  # before torch starts its threads

import torch
from tqdm import tqdm

from experiments.combining.combination import Combination, Outcome, Trial, attempt
from experiments.combining.combinations_page import Tried, page
from experiments.combining.of_images import OfImages, attempt_of_images
from experiments.combining.pairwise import Values, cause_of, cover, values_of
from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.version import __version__

PROG = "combinations.py"
PRODUCTS = (
    ("prior", "guide", "levels", "posterior", "loss"),
    ("likelihood", "decoder", "loss"),
)
PRODUCTS_OF_IMAGES = (("prior", "transforms", "likelihood", "loss"),)


def all_of(axes: tuple[str, ...], kind: type[Trial] = Combination) -> list[Trial]:
    """The product of some axes, the plainest value of the others."""
    values = product(*(kind().axes[axis] for axis in axes))
    return [kind(**dict(zip(axes, some, strict=True))) for some in values]


def causes_of(
    outcomes: Mapping[Trial, Outcome], tried: Callable[[Trial], Outcome]
) -> dict[Values, str]:
    """The least values that each refusal needs -> its reason."""
    found: dict[Values, str] = {}
    for one, outcome in outcomes.items():
        if outcome.refused and not any(cause <= values_of(one) for cause in found):
            cause, least = cause_of(one, lambda c: outcomes.get(c) or tried(c))
            found[cause] = least.refused
    return found


def taken_whole(
    products: tuple[tuple[str, ...], ...],
    kind: type[Trial],
    tried: Callable[[Trial], Outcome],
    quiet: bool,
) -> Tried:
    """What became of every combination of some products."""
    found = {
        " x ".join(axes): {one: tried(one) for one in tqdm(all_of(axes, kind), disable=quiet)}
        for axes in products
    }
    outcomes = Tried(found, {}).outcomes
    return Tried(found, causes_of(outcomes, tried))


def in_pairs(kind: type[Trial], tried: Callable[[Trial], Outcome]) -> Tried:
    """What became of few combinations that hold every pair of values."""
    found = cover(tried, kind().axes, kind)
    return Tried({"pairs": found.outcomes}, found.causes)


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
        tried = in_pairs(Combination, attempt), in_pairs(OfImages, attempt_of_images)
    else:
        tried = (
            taken_whole(PRODUCTS, Combination, attempt, flags.quiet),
            taken_whole(PRODUCTS_OF_IMAGES, OfImages, attempt_of_images, flags.quiet),
        )
    outcomes = {one: what for some in tried for one, what in some.outcomes.items()}
    causes = sum(len(some.causes) for some in tried)
    minutes = (time.monotonic() - started) / 60
    refused = sum(one.refused is not None for one in outcomes.values())
    failed = {one: what.failed for one, what in outcomes.items() if what.failed}
    print(
        f"{len(outcomes)} combinations in {minutes:.1f} minutes: "
        f"{len(outcomes) - refused - len(failed)} took a step, {refused} are refused for "
        f"{causes} causes, {len(failed)} failed"
    )
    for one, reason in failed.items():
        print(f"failed: {one}: {reason}")
    if flags.page and not flags.pairs:
        command = f"python experiments/{prog} --page {flags.page}"
        made = (
            f"pyro_vae {__version__}, torch {torch.__version__}, {minutes:.1f} minutes on one core."
        )
        flags.page.write_text(page(*tried, command, made), encoding="utf-8")
        print(f"wrote {flags.page}")
    content = {
        "combinations": len(outcomes),
        "refused": refused,
        "causes": causes,
        "failed": {str(one): reason for one, reason in failed.items()},
    }
    return Answer(content, 1 if failed else 0)


if __name__ == "__main__":
    sys.exit(main())
