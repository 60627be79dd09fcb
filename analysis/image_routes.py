"""Pictures of a self-supervised run: ``python -m analysis.image_routes RUN --out DIR``.

Reads the run and its test data, and writes into DIR

==============  ===================================================================================
routes.png      steps of generation, super-resolution of test images, every route, textures of one
                image on the small version of another, a line between the top latents of two
rates.png       quality of every route against the paper's count of numbers, and against bits
rates.csv       the numbers of that figure
==============  ===================================================================================
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
import torch

from analysis.pictures.steps import rates_figure, routes_page
from analysis.probes import steps
from analysis.reporting.run_pictures import png
from pyro_vae.cli.reconstruct import print_rates
from pyro_vae.datasets import load_dataset
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.route_rates import route_rates
from pyro_vae.runs import load_run
from pyro_vae.runs.facts import check_same_data
from pyro_vae.storage import write_whole


def main(arguments: list[str] | None = None) -> int:
    """Draw a self-supervised run."""
    p = argparse.ArgumentParser(prog="python -m analysis.image_routes", description=main.__doc__)
    p.add_argument("run", type=Path, help="run directory")
    p.add_argument("--out", required=True, type=Path, help="folder of the files")
    p.add_argument("--columns", type=int, default=10, help="images in a row (default: 10)")
    p.add_argument("--images", type=int, default=200, help="images behind rates (default: 200)")
    p.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    p.add_argument("--data-dir", help="where the run's data lie now")
    given = p.parse_args(arguments)
    try:
        _draw(given)
    except (InputError, OSError) as error:
        print(f"analysis.image_routes: {error}", file=sys.stderr)
        return 2
    return 0


def _draw(given: argparse.Namespace) -> None:
    count, seed = check_count("--columns", given.columns), given.seed
    run = load_run(given.run)
    model, guide = run.model, run.guide
    if not model.representation_names:
        raise InputError(f"{given.run} is no self-supervised run: its images are made in one step")
    changes = {} if given.data_dir is None else {"data_dir": given.data_dir}
    data = load_dataset(**run.config.data_arguments | changes)
    check_same_data(run.config, data, given.run)
    test = data.test[: max(2 * count, check_count("--images", given.images))]
    count = min(count, len(test) // 2)
    if count == 0:
        raise InputError(f"{given.run}: two test images at least are needed, there are {len(test)}")
    x, other = test[:count], test[count : 2 * count]
    page = routes_page(
        [
            ("generated, step by step", steps.generated_steps(model, count, seed)),
            ("test images by every route", steps.by_every_route(model, guide, x, seed)),
            ("x drawn given y1 of test images", steps.super_resolved(model, guide, x, seed=seed)),
            ("texture of one image on another", steps.textured(model, guide, x, other, seed)),
            (
                f"between {model.latent_names[-1]} of two test images",
                steps.interpolated(model, guide, torch.stack([x[0], x[-1]]), count, seed),
            ),
        ]
    )
    rates = route_rates(model, guide, test[: given.images], seed=seed)
    print_rates(rates)
    write_whole(given.out / "routes.png", png(page))
    table = pd.DataFrame([rate.row() for rate in rates])
    write_whole(given.out / "rates.png", png(rates_figure({given.run.name: table})))
    text = table.to_csv(index=False, float_format="%.4f")
    write_whole(given.out / "rates.csv", text.encode())
    print(f"wrote routes.png, rates.png and rates.csv into {given.out}")


if __name__ == "__main__":
    sys.exit(main())
