"""``pyro-vae sample``: images drawn from a trained model, as arrays or as a picture."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np

from pyro_vae.cli import pictures
from pyro_vae.cli.common import Parser, exit_code
from pyro_vae.cli.images import add_run
from pyro_vae.errors import InputError, check_count
from pyro_vae.runs import load_run
from pyro_vae.runs.job import device_named
from pyro_vae.storage import write_whole

PROG = "pyro-vae sample"
SUFFIXES = (".npz", ".npy", ".png")


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Draw images from a trained model, in the units of the images that the run was "
        "trained on (grey levels of photographs, as far as the whitening kept them).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/first --num 64 --out samples.png
  {prog} runs/first --num 1000 --mean --out samples.npz""",
    )
    add_run(p)
    p.add_argument("--num", type=int, default=64, metavar="N", help="images (default: 64)")
    p.add_argument(
        "--mean", action="store_true", help="E[x | z] at each draw of z, without pixel noise"
    )
    p.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help=".npz (array images), .npy, or .png: a grid of pictures on one grey scale",
    )
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return exit_code(prog, lambda: _main(arguments, prog))


def _main(arguments: list[str] | None, prog: str) -> int:
    flags = parser(prog).parse_args(arguments)
    path = Path(flags.out)
    if path.suffix not in SUFFIXES:
        raise InputError(f"--out {path}: allowed are {', '.join(SUFFIXES)}")
    check_count("--num", flags.num)
    run = load_run(flags.run, device_named(flags.device))
    images = run.sample(flags.num, seed=flags.seed, mean=flags.mean)
    stream = io.BytesIO()
    if path.suffix == ".png":
        stream.write(pictures.grid(images, run.preprocessing))
    elif path.suffix == ".npy":
        np.save(stream, images)
    else:
        np.savez_compressed(stream, images=images)
    write_whole(path, stream.getbuffer())
    print(f"{len(images)} images of shape {images.shape[1:]}; wrote {path}")
    return 0
