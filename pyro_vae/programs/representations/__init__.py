"""Representations y = d(x): deterministic transforms of images of 256 levels, one kind a file.

``TRANSFORMS`` is the registry that ``--transforms`` chooses from; :class:`FromFunction` makes one
of any function.
"""

from pyro_vae.programs.representations.colour import Greyscale
from pyro_vae.programs.representations.from_function import FromFunction
from pyro_vae.programs.representations.outlines import Edges, Sketch
from pyro_vae.programs.representations.quantise import Quantise
from pyro_vae.programs.representations.reading import chain, read_names, read_transform
from pyro_vae.programs.representations.representation import Representation, check_representations
from pyro_vae.programs.representations.resolution import Downscale

TRANSFORMS: dict[str, type[Representation]] = {
    "downscale": Downscale,
    "greyscale": Greyscale,
    "quantise": Quantise,
    "sketch": Sketch,
    "edges": Edges,
}

__all__ = [
    "TRANSFORMS",
    "Downscale",
    "Edges",
    "FromFunction",
    "Greyscale",
    "Quantise",
    "Representation",
    "Sketch",
    "chain",
    "check_representations",
    "read_names",
    "read_transform",
]
