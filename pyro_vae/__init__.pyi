# What `import pyro_vae` offers: read by type checkers, and at run time by lazy_loader.

from . import (
    datasets,
    distributions,
    encoder,
    errors,
    evaluation,
    export,
    objectives,
    options,
    programs,
    rows,
    runs,
    training,
    weights,
)
from .datasets import Dataset, load_dataset
from .encoder import HierarchicalVAEEncoder
from .errors import InputError, TrainingDiverged
from .evaluation import activity
from .export import to_inference_data
from .objectives import (
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
from .objectives.svi import for_svi
from .programs import (
    Architecture,
    BottomUpGuide,
    HierarchicalVAE,
    LocScale,
    MeanFieldGuide,
    PairConfig,
    TopDownGuide,
    build_guide,
    build_model,
    build_pair,
)
from .programs.likelihoods import Bernoulli, FixedNoiseGaussian, Gaussian
from .programs.priors import StandardPrior
from .runs import Run, RunConfig, load_run, new_config, save_run, train
from .training import FitResult, OptimiserSettings, annealing, fit
from .training.prior_refit import Refit, refit_prior
from .training.schedules import LinearWarmUp
from .weights import bounds, diagnostics, resampling
from .weights.handlers import anneal
from .weights.log_weights import LogWeights, log_weights
