"""``pyro-vae fid``: how far a model's images are from real ones, beside how far these are apart."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from pyro_vae.cli.common import Answer, Parser, answered, write_out
from pyro_vae.cli.images import add_run
from pyro_vae.datasets import load_dataset
from pyro_vae.errors import check_count
from pyro_vae.evaluation.fid import features_of, fid
from pyro_vae.evaluation.fid.of_data import MOST_IMAGES, default_num_images
from pyro_vae.runs import load_run
from pyro_vae.runs.facts import check_same_data
from pyro_vae.runs.job import device_named
from pyro_vae.ticking import ticking

PROG = "pyro-vae fid"


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Frechet distance between images drawn from a trained run and its test data, "
        "by features made for these data: of a small network trained on their labels, or random. "
        "Beside it the distance between two sets of real images of the same size, which no model "
        "can fall below.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/first
  {prog} runs/first --features random --num 500 --num-seeds 5 --out fid.json""",
    )
    add_run(p)
    p.add_argument(
        "--num",
        type=int,
        metavar="N",
        help=f"generated images (default: {MOST_IMAGES}, or half of the test data)",
    )
    p.add_argument(
        "--features",
        metavar="NAME",
        help="labels: a small network trained on the data's labels; random: random projections "
        "(default: labels where the data have any)",
    )
    p.add_argument(
        "--num-seeds", type=int, default=3, metavar="N", help="seeds of the features (default: 3)"
    )
    p.add_argument(
        "--mean", action="store_true", help="E[x | z] at each draw of z, without pixel noise"
    )
    p.add_argument("--data-dir", metavar="DIR", help="where the run's data lie now")
    p.add_argument("--out", metavar="FILE.json", help="file for the distances, as JSON")
    p.add_argument("--quiet", action="store_true", help="print the distances only")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    check_count("--num-seeds", flags.num_seeds)
    run = load_run(flags.run, device_named(flags.device))
    changes = {} if flags.data_dir is None else {"data_dir": flags.data_dir}
    with ticking("reading the data", not flags.quiet):
        data = load_dataset(**run.config.data_arguments | changes)
    check_same_data(run.config, data, flags.run)
    features = features_of(data, flags.features, device=run.device)
    real = data.test.to(run.device)
    num = default_num_images(data) if flags.num is None else flags.num
    with ticking(f"drawing {num} images", not flags.quiet):
        images = run.sample_rows(check_count("--num", num), seed=flags.seed, mean=flags.mean)
    seeds = range(flags.seed, flags.seed + flags.num_seeds)
    with tqdm(total=len(seeds), unit="seed", disable=flags.quiet, leave=False) as bar:
        found = fid(
            real,
            images,
            features,
            seeds=seeds,
            on_seed=bar.update,
        )
    for line in found.lines():
        print(line)
    content = found.entries() | {"mean_images": flags.mean}
    return Answer(content | {"files": write_out(flags.out, content)})
