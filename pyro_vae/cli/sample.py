"""``pyro-vae sample``: images drawn from a trained model, as arrays or as a picture."""

from __future__ import annotations

import argparse

import numpy as np
import torch

from pyro_vae.cli import pictures
from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.cli.images import add_route, add_run, read_images
from pyro_vae.errors import InputError, check_count
from pyro_vae.runs import Run, load_run
from pyro_vae.runs.job import device_named
from pyro_vae.ticking import ticking

PROG = "pyro-vae sample"


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Draw images from a trained model, in the units of the images that the run was "
        "trained on (grey levels of photographs, as far as the whitening kept them).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/first --num 64 --out samples.png
  {prog} runs/first --num 1000 --mean --out samples.npz
  {prog} runs/ssvae --of images.npy --keep z2 --given y1 --out larger.png""",
    )
    add_run(p)
    p.add_argument("--num", type=int, default=64, metavar="N", help="images (default: 64)")
    p.add_argument(
        "--mean", action="store_true", help="E[x | z] at each draw of z, without pixel noise"
    )
    p.add_argument(
        "--of",
        metavar="IMAGES",
        help="file of images whose sites --keep and --given take, one after another",
    )
    add_route(p, "none")
    p.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help=".npz (array images), .npy, or .png: a grid of pictures on one grey scale",
    )
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    path = pictures.check_file(flags.out)
    check_count("--num", flags.num)
    if flags.of is None and (flags.keep or flags.given):
        raise InputError("--keep and --given want images that they are taken of: --of IMAGES")
    run = load_run(flags.run, device_named(flags.device))
    with ticking(f"drawing {flags.num} images"):
        images = _images(run, flags)
    return Answer(pictures.save(path, images, run.preprocessing))


def _images(run: Run, flags: argparse.Namespace) -> np.ndarray:
    if flags.of is None:
        return run.sample(flags.num, seed=flags.seed, mean=flags.mean)
    rows = run.rows(read_images(flags.of, run))
    rows = rows[torch.arange(flags.num, device=rows.device) % len(rows)]
    keep = flags.keep or ()
    drawn = run.route_rows(rows, keep, flags.given, seed=flags.seed, mean=flags.mean)
    return run.preprocessing.images(drawn)
