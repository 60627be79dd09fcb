"""Images and runs as the commands take them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from pyro_vae.cli.common import Parser
from pyro_vae.datasets.files import read_arrays
from pyro_vae.datasets.new_images import holds_images, read_new_images
from pyro_vae.errors import InputError
from pyro_vae.runs import Run
from pyro_vae.runs.devices import HELP as DEVICES


def add_run(p: Parser) -> None:
    """The run directory, and the flags that every command on one has."""
    p.add_argument("run", metavar="RUN", help="run directory of pyro-vae fit")
    p.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    p.add_argument("--device", default="auto", metavar="NAME", help=DEVICES)


def add_route(p: argparse.ArgumentParser, keep: str) -> None:
    """The flags of a route; ``keep``: the default of ``--keep``, in words."""
    p.add_argument(
        "--keep",
        nargs="*",
        metavar="LATENT",
        help=f"latents kept of the images, as z2 z1 (default: {keep})",
    )
    p.add_argument(
        "--given",
        nargs="+",
        default=[],
        metavar="REPRESENTATION",
        help="representations of the images that are given, as y1; all else is drawn",
    )


KINDS = (
    ".npy, .npz (file.npz:array), .mat or IDX file of images; or a picture (.png, .jpg, .tif ...) "
    "or a folder of them, which a run on patches cuts into patches side by side"
)


def read_images(name: str, run: Run) -> np.ndarray:
    """New images for a run: of an array file, or of pictures (``datasets.new_images``).

    Raises:
        InputError: there is no such file, or it holds no images for the run.
    """
    path = Path(name).expanduser()
    if path.exists() and holds_images(path):
        return read_new_images(path, run.preprocessing)
    return read_array(name)


def read_array(name: str) -> np.ndarray:
    """The rows of an array file, or of the one after a colon: ``stack.npz:images``.

    Raises:
        InputError: there is no such file, or it holds no array.
    """
    path = os.path.expanduser(name)
    file, array = path, None
    if not os.path.exists(path):
        file, _, array = path.rpartition(":")
    if not os.path.isfile(file):
        raise InputError(f"there is no file {name}")
    raw = read_arrays(Path(file), array)
    return raw.train if raw.test is None else raw.test
