"""``pyro-vae reconstruct``: images made again from what is kept of them, by any route."""

from __future__ import annotations

import argparse

from pyro_vae.cli import pictures
from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.cli.images import KINDS, add_route, add_run, read_images
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.route_rates import RouteRate, route_rates
from pyro_vae.runs import load_run
from pyro_vae.runs.job import device_named
from pyro_vae.ticking import ticking

PROG = "pyro-vae reconstruct"


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Make images again from what is kept of them: latents of the guide, and "
        "representations where the model has them. All else is drawn from the model.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/first digits.npy --out again.png
  {prog} runs/ssvae images.npy --keep z2 --given y1 --out larger.png
  {prog} runs/ssvae images.npy --keep z1 --given y1 --given-of others.npy --out texture.png
  {prog} runs/ssvae images.npy --rates --out again.npz""",
    )
    add_run(p)
    p.add_argument("images", metavar="IMAGES", help=KINDS)
    add_route(p, "all")
    p.add_argument(
        "--given-of",
        metavar="OTHERS",
        help="file of other images, as many or one, whose representations are given",
    )
    p.add_argument(
        "--samples",
        type=int,
        default=1,
        metavar="N",
        help="draws behind each image, which is their mean (default: 1)",
    )
    p.add_argument(
        "--rates",
        action="store_true",
        help="print what every usual route costs in bits, and how near it comes to the images",
    )
    p.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help=".npz, .npy, or .png: a grid of pairs, the image left",
    )
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    path = pictures.check_file(flags.out)
    check_count("--samples", flags.samples)
    if flags.given_of is not None and not flags.given:
        raise InputError("--given-of wants names of what is given of the other images: --given y1")
    run = load_run(flags.run, device_named(flags.device))
    images = read_images(flags.images, run)
    others = None if flags.given_of is None else read_images(flags.given_of, run)
    with ticking(f"reconstructing {len(images)} images"):
        made = run.reconstruct(
            images,
            keep=flags.keep,
            given=flags.given,
            given_of=others,
            num_samples=flags.samples,
            seed=flags.seed,
        )
    rates = []
    if flags.rates:
        with ticking("rates of the usual routes"):
            rates = route_rates(run.model, run.guide, run.rows(images), seed=flags.seed)
        print_rates(rates)
    originals = run.preprocessing.images(run.rows(images)) if path.suffix == ".png" else None
    written = pictures.save(path, made, run.preprocessing, originals)
    return Answer(written | {"rates": [rate.entries() for rate in rates]})


def print_rates(rates: list[RouteRate]) -> None:
    """A line for every route: bits, what the paper counts, and both distortions."""
    print(
        f"{'route':12} {'bits':>9} {'s.e.':>7} {'numbers':>8} {'share':>6} {'PSNR':>6} {'nats':>9}"
    )
    for rate in rates:
        psnr = "" if rate.psnr is None else f"{rate.psnr.mean:.2f}"
        print(
            f"{rate.name:12} {rate.bits.mean:9.1f} {rate.bits.standard_error:7.1f} "
            f"{rate.numbers:8} {rate.share:6.3f} {psnr:>6} {rate.nats.mean:9.1f}"
        )
    print("numbers: kept, as the paper counts them; nats: that still tell the image exactly")
