"""Programs: models, guides, and the parts that they are made of."""

from pyro_vae.programs.architectures import (
    MODELS,
    PRESETS,
    architecture,
    check_preset,
)
from pyro_vae.programs.assembly import GUIDES, build_guide, build_model, check_same_levels
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.guides import BottomUpGuide, Guide, MeanFieldGuide, TopDownGuide
from pyro_vae.programs.models import Generative, HierarchicalVAE
from pyro_vae.programs.named import PairConfig, build_pair, initialise_
from pyro_vae.programs.self_supervised import SelfSupervisedGuide, SelfSupervisedVAE
from pyro_vae.programs.sizes import PARTS, Architecture

__all__ = [
    "GUIDES",
    "MODELS",
    "PARTS",
    "PRESETS",
    "Architecture",
    "BottomUpGuide",
    "Generative",
    "Guide",
    "HierarchicalVAE",
    "LocScale",
    "MeanFieldGuide",
    "PairConfig",
    "SelfSupervisedGuide",
    "SelfSupervisedVAE",
    "TopDownGuide",
    "architecture",
    "build_guide",
    "build_model",
    "build_pair",
    "check_preset",
    "check_same_levels",
    "initialise_",
]
