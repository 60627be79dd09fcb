"""Self-supervised pairs with networks of a few channels."""

from dataclasses import replace

import torch

from experiments.combining.of_images import FEW_CHANNELS
from pyro_vae.programs import architecture, build_guide, build_model, initialise_
from pyro_vae.programs.assembly import MEAN_FIELD
from pyro_vae.programs.changes import with_transforms


def tiny_images(texts=("downscale:2",), shape=(1, 8, 4), *, rows=None, seed=0, **settings):
    """A pair with these transforms, and the logistic likelihood unless told otherwise."""
    settings = {"likelihood": "logistic", "between": FEW_CHANNELS, **settings}
    arch = replace(with_transforms(architecture("ssvae"), texts), **settings)
    width = shape[0] * shape[1] * shape[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pair = build_model(arch, width, shape), build_guide(MEAN_FIELD, arch, width, shape)
        if rows is not None:
            for program in pair:
                initialise_(program, rows)
    return pair


def level_rows(number, shape=(1, 8, 4), seed=1):
    """Rows of images whose pixels are whole levels."""
    generator = torch.Generator().manual_seed(seed)
    width = shape[0] * shape[1] * shape[2]
    return torch.randint(256, (number, width), generator=generator) / 255
