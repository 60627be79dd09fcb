"""What a prior costs and what another would gain: the numbers of a report's prior card."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyro_vae.evaluation import component_use, elbo_surgery
from pyro_vae.training.prior_refit import refit_prior

TERMS = ("rate", "mutual_information", "marginal_kl", "distortion")
COMPONENTS = 100  # of the mixture that is refitted, at most
ROWS_PER_COMPONENT = 10


def prior_card(
    model: nn.Module,
    guide: Callable,
    fitted: Tensor,
    judged: Tensor,
    *,
    steps: int,
    binarise: str | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """The rate and its two parts, what a mixture in the prior's place would gain, components used.

    Of all levels, or of the top one alone where the priors of those below read the data
    (self-supervised models).

    Args:
        fitted: rows (N, D) that the mixture is fitted to. judged: rows (M, D) of everything else,
            pixels that are drawn already.
        steps: of the refit. binarise: how pixels of ``fitted`` are drawn, see ``refit_prior``.

    Returns:
        in nats per datum, each with ``NAME_error``: ``rate`` = ``mutual_information`` +
        ``marginal_kl``, ``distortion``, ``gain``, ``gain_fitted``; ``log_num_data``, the most that
        the information can be; ``components`` of the refitted mixture; ``effective`` number of
        components of the model's own prior with its error, and their number ``of``, NaN where it
        is no mixture.

    Raises:
        InputError: a guide or rows that the surgery or the refit refuses.
    """
    torch.manual_seed(seed)
    level = model.latent_names[-1] if getattr(model, "priors_of_x", ()) else None
    surgery = elbo_surgery(model, guide, judged, level=level)
    found = {name: getattr(surgery, name) for name in TERMS}
    found |= {f"{name}_error": surgery.standard_errors[name] for name in TERMS}
    found["log_num_data"] = surgery.log_num_data
    components = max(1, min(COMPONENTS, len(fitted) // ROWS_PER_COMPONENT))
    refit = refit_prior(
        model,
        guide,
        fitted,
        f"mixture:components={components}",
        held_out=judged,
        steps=steps,
        binarise=binarise,
        seed=seed,
    )
    found["components"] = components
    for name, gain in (("gain", refit.gain), ("gain_fitted", refit.gain_fitted)):
        found |= {name: gain.mean, f"{name}_error": gain.standard_error}
    found |= {"effective": math.nan, "effective_error": math.nan, "of": math.nan}
    if hasattr(model.prior, "responsibilities"):
        use = component_use(model, guide, judged)
        found |= {"effective": use.effective.mean, "of": len(use.shares)}
        found["effective_error"] = use.effective.standard_error
    return {name: float(value) for name, value in found.items()}
