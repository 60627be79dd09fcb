"""Programs: models, guides, and the parts that they are made of."""

from pyro_vae.programs.architectures import (
    MODELS,
    PARTS,
    PRESETS,
    Architecture,
    architecture,
    check_preset,
)
from pyro_vae.programs.assembly import GUIDES, build_guide, build_model, check_same_levels
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.guides import BottomUpGuide, Guide, MeanFieldGuide, TopDownGuide
from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.programs.named import PairConfig, build_pair, initialise_

__all__ = [
    "GUIDES",
    "MODELS",
    "PARTS",
    "PRESETS",
    "Architecture",
    "BottomUpGuide",
    "Guide",
    "HierarchicalVAE",
    "LocScale",
    "MeanFieldGuide",
    "PairConfig",
    "TopDownGuide",
    "architecture",
    "build_guide",
    "build_model",
    "build_pair",
    "check_preset",
    "check_same_levels",
    "initialise_",
]
