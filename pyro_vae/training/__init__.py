"""Training: the loop, the gradient it follows, the optimiser, and what a run can survive."""

from pyro_vae.training import schedules as annealing
from pyro_vae.training.fitting import default_chunk_size, fit
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.optimisation import GradientStep, OptimiserSettings
from pyro_vae.training.progress import FitResult

__all__ = [
    "FitResult",
    "GradientStep",
    "Gradients",
    "OptimiserSettings",
    "annealing",
    "default_chunk_size",
    "fit",
]
