"""Images made in steps, runs side by side: ``python -m analysis.image_steps RUN [RUN ...]``.

Reads runs on the same images, plain ones and self-supervised ones, and writes into ``--out``
figure-7.1.png to figure-7.9.png as Gatopoulos 2020 has them, each of the runs that are of its kind,
and of all of them

====================  =============================================================================
figure-7.7-rates.png  quality of every route against the paper's count of numbers, and against bits
figure-7.7-rates.csv  the numbers of that figure
====================  =============================================================================

What no run is of the kind for is said in a line. docs/ssvae-figures.md tells what each shows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from analysis.pictures.steps import rates_figure, routes_page
from analysis.reporting.finished import check_comparable, read_run
from analysis.reporting.paper_pictures import FIGURES, Shown
from analysis.reporting.run_pictures import png
from pyro_vae.errors import InputError, check_count
from pyro_vae.storage import write_whole

PER_ROW = 3  # panels side by side, which are as many as most figures have for a run


def main(arguments: list[str] | None = None) -> int:
    """Draw runs that make images in one step, or in several, side by side."""
    p = argparse.ArgumentParser(prog="python -m analysis.image_steps", description=main.__doc__)
    p.add_argument("run", nargs="+", type=Path, help="run directories, on the same images")
    p.add_argument("--out", required=True, type=Path, help="folder of the files")
    p.add_argument("--columns", type=int, default=10, help="images in a row (default: 10)")
    p.add_argument("--images", type=int, default=200, help="images behind rates (default: 200)")
    p.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    p.add_argument("--data-dir", help="where the runs' data lie now")
    given = p.parse_args(arguments)
    try:
        _draw(given)
    except (InputError, OSError) as error:
        print(f"analysis.image_steps: {error}", file=sys.stderr)
        return 2
    return 0


def _draw(given: argparse.Namespace) -> None:
    count, images = check_count("--columns", given.columns), check_count("--images", given.images)
    runs = [read_run(path) for path in given.run]
    check_comparable(runs)
    data = runs[0].load_data(given.data_dir)
    shown = Shown(runs, data, count, images, check_count("--seed", given.seed, minimum=0))
    for number, parts in FIGURES.items():
        path = given.out / f"figure-{number}.png"
        try:
            write_whole(path, png(routes_page([*parts(shown)], PER_ROW)))
        except InputError as error:
            print(f"no figure {number}: {error}")
        else:
            print(f"wrote {path}")
    write_whole(given.out / "figure-7.7-rates.png", png(rates_figure(shown.rates)))
    table = pd.concat(shown.rates, names=["run", None]).reset_index("run")
    text = table.to_csv(index=False, float_format="%.4f")
    write_whole(given.out / "figure-7.7-rates.csv", text.encode())
    print(table.to_string(index=False, float_format="{:.2f}".format))


if __name__ == "__main__":
    sys.exit(main())
