"""Draw the pictures of finished runs anew: ``python -m analysis.figures RUN [RUN ...]``.

Reads the files of a run and writes ``figures/`` of its directory, as the end of its training did.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from analysis.probes.image_rows import shaped
from analysis.reporting.finished import add_image_shape, load_data, unfinished
from analysis.reporting.run_pictures import Shown, write_figures
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity import posterior_means
from pyro_vae.export import read_netcdf
from pyro_vae.runs import RunDirectory, load_run
from pyro_vae.runs.judging import filters_of
from pyro_vae.ticking import ticking
from pyro_vae.torch_state import own_generators

ACTIVITY_DATA = 1_000


def main(arguments: list[str] | None = None) -> int:
    """Draw the pictures of each run directory anew."""
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description=main.__doc__)
    parser.add_argument("run", nargs="+", type=Path, help="run directories")
    add_image_shape(parser)
    given = parser.parse_args(arguments)
    try:
        for path in given.run:
            _redraw(RunDirectory(path), given.image_shape)
    except (InputError, OSError) as error:
        print(f"analysis.figures: {error}", file=sys.stderr)
        return 2
    return 0


def _redraw(directory: RunDirectory, shape: Sequence[int] | None) -> None:
    model, guide, config = load_run(directory.path)
    data = shaped(load_data(config, directory.path), shape)
    if not directory.posterior.is_file():
        raise unfinished(directory.path, directory.posterior)
    directory.check_posterior()
    idata = read_netcdf(directory.posterior)
    with ticking(f"drawing {directory.path}"):
        with own_generators():
            torch.manual_seed(config.seed)
            means = posterior_means(guide, data.test[:ACTIVITY_DATA])
        filters = filters_of(model, data, means, seed=config.seed)
        reasons = write_figures(Shown(directory, model, data, idata, means, filters))
    for reason in reasons:
        print(reason)
    print(f"wrote {directory.figures}")


if __name__ == "__main__":
    sys.exit(main())
