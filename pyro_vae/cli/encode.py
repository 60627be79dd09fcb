"""``pyro-vae encode``: posterior means, scales and draws of new images."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.cli.images import KINDS, add_run, read_images
from pyro_vae.errors import InputError
from pyro_vae.evaluation.encoding import SUFFIXES, encode
from pyro_vae.runs import load_run
from pyro_vae.runs.job import device_named

PROG = "pyro-vae encode"


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Encode images by the guide of a trained run. The preprocessing that the run "
        "was trained with is applied; its training images are not needed.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/first my_patches.npy --out codes.npz
  {prog} runs/first stack.npz:images --draws 100 --out codes.nc
  {prog} runs/first digits.npy --num-particles 50 --out codes.csv""",
    )
    add_run(p)
    p.add_argument(
        "images",
        metavar="IMAGES",
        help=f"{KINDS}; arrays of photographs where the run has --whiten radial",
    )
    p.add_argument(
        "--out", required=True, metavar="FILE", help=f"file to write: {', '.join(SUFFIXES)}"
    )
    p.add_argument(
        "--draws", type=int, default=0, metavar="N", help="draws per image to keep (default: 0)"
    )
    p.add_argument(
        "--samples", type=int, default=32, metavar="N", help="draws behind each mean (default: 32)"
    )
    p.add_argument(
        "--num-particles",
        type=int,
        default=1,
        metavar="K",
        help="proposals per draw: 1 for the guide, more for the guide resampled by importance "
        "weights (default: 1)",
    )
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    if not flags.out.endswith(SUFFIXES):
        raise InputError(f"--out {flags.out}: allowed are {', '.join(SUFFIXES)}")
    run = load_run(flags.run, device_named(flags.device))
    rows = run.rows(read_images(flags.images, run))
    with tqdm(total=len(rows), desc="images", leave=False) as bar:
        codes = encode(
            run.model,
            run.guide,
            rows,
            num_samples=flags.samples,
            num_draws=flags.draws,
            num_particles=flags.num_particles,
            seed=flags.seed,
            on_progress=bar.update,
        )
    codes.save(flags.out)
    units = {level: codes.means[level].shape[1] for level in codes.levels}
    number = len(codes.means[codes.levels[0]])
    for level, width in units.items():
        print(f"{level}: {number} images, {width} units")
    print(f"wrote {flags.out}")
    return Answer({"images": number, "units": units, "files": [flags.out]})
