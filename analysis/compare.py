"""Finished runs side by side: ``python -m analysis.compare RUN [RUN ...] --out DIR``.

Reads the run directories and writes into DIR

=======================  ==========================================================================
latent_scatter.png       posterior means of test images on the two most active units of z1
encode_decode.png        test images, decoded from one posterior draw and from the posterior mean
repeated_draws.png       grey test images, each decoded from several posterior draws
samples.png              images from each model: p(x | z) as a mean and as a draw
manifold.png             decoded means over the plane of a latent of two units
=======================  ==========================================================================
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from analysis.probes.image_rows import shaped
from analysis.reporting.comparison import PICTURES, Comparison
from analysis.reporting.finished import add_image_shape, check_comparable, read_run
from analysis.reporting.run_pictures import png
from pyro_vae.errors import InputError, check_count
from pyro_vae.storage import write_whole
from pyro_vae.ticking import ticking


def main(arguments: list[str] | None = None) -> int:
    """Draw finished runs on the same data side by side."""
    parser = argparse.ArgumentParser(prog="python -m analysis.compare", description=main.__doc__)
    parser.add_argument("run", nargs="+", type=Path, help="run directories")
    parser.add_argument("--out", required=True, type=Path, help="folder of the PNG files")
    parser.add_argument(
        "--seed", default=0, type=int, help="seed of the posterior draws and samples (default: 0)"
    )
    add_image_shape(parser)
    given = parser.parse_args(arguments)
    try:
        runs = [read_run(path) for path in given.run]
        check_comparable(runs)
        first, *others = runs
        data = shaped(first.load_data(), given.image_shape)
        for run in others:
            # The first one's data speak for those that were trained on the very same rows.
            if run.config.facts.data_checksum != first.config.facts.data_checksum:
                run.load_data()
        comparison = Comparison(runs, data, check_count("seed", given.seed, minimum=0))
        for picture in PICTURES:
            with ticking(f"drawing {picture}"):
                figure = getattr(comparison, picture)()
            if figure is not None:
                write_whole(given.out / f"{picture}.png", png(figure))
                print(f"wrote {given.out / picture}.png")
    except (InputError, OSError) as error:
        print(f"analysis.compare: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
