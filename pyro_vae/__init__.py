"""pyro_vae: importance-weighted and hierarchical variational autoencoders in Pyro.

>>> data = pyro_vae.load_dataset("natural")
>>> model, guide = pyro_vae.build_pair("td", "topdown", num_pixels=data.train.shape[1])
>>> pyro_vae.fit(model, guide, data.train, valid=data.valid, objective=pyro_vae.IWAE(50))
>>> pyro_vae.evaluation.log_likelihood(model, guide, data.test[:100])
>>> idata = pyro_vae.to_inference_data(model, guide, data.test[:20], num_particles=50)
"""

from pyro_vae import evaluation
from pyro_vae.datasets import Dataset, load_dataset
from pyro_vae.errors import InputError, TrainingDiverged
from pyro_vae.evaluation import activity
from pyro_vae.export import to_inference_data
from pyro_vae.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    PIWAE,
    STL,
    BetaELBO,
    CapacityELBO,
    DReG,
    FreeBitsELBO,
    MedianWeight,
    PowerMean,
    RenyiELBO,
    make_objective,
)
from pyro_vae.objectives.svi import for_svi
from pyro_vae.programs import Architecture, build_guide, build_model, build_pair
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.guides import BottomUpGuide, MeanFieldGuide, TopDownGuide
from pyro_vae.programs.likelihoods import Bernoulli, FixedNoiseGaussian
from pyro_vae.programs.models import HierarchicalVAE
from pyro_vae.programs.priors import StandardPrior
from pyro_vae.runs import Run, load_run
from pyro_vae.training import fit
from pyro_vae.training import schedules as annealing
from pyro_vae.training.optimisation import OptimiserSettings
from pyro_vae.training.progress import FitResult
from pyro_vae.training.schedules import LinearWarmUp
from pyro_vae.version import __version__
from pyro_vae.weights import bounds, diagnostics, resampling
from pyro_vae.weights.handlers import anneal
from pyro_vae.weights.log_weights import LogWeights, log_weights

__all__ = [
    "CIWAE",
    "ELBO",
    "IWAE",
    "MIWAE",
    "PIWAE",
    "STL",
    "Architecture",
    "Bernoulli",
    "BetaELBO",
    "BottomUpGuide",
    "CapacityELBO",
    "DReG",
    "Dataset",
    "FitResult",
    "FixedNoiseGaussian",
    "FreeBitsELBO",
    "HierarchicalVAE",
    "InputError",
    "LinearWarmUp",
    "LocScale",
    "LogWeights",
    "MeanFieldGuide",
    "MedianWeight",
    "OptimiserSettings",
    "PowerMean",
    "RenyiELBO",
    "Run",
    "StandardPrior",
    "TopDownGuide",
    "TrainingDiverged",
    "__version__",
    "activity",
    "anneal",
    "annealing",
    "bounds",
    "build_guide",
    "build_model",
    "build_pair",
    "diagnostics",
    "evaluation",
    "fit",
    "for_svi",
    "load_dataset",
    "load_run",
    "log_weights",
    "make_objective",
    "resampling",
    "to_inference_data",
]
