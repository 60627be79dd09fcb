"""What a prior costs and what another would gain: the numbers of a report's prior card."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyro_vae.evaluation import component_use, elbo_surgery, two_sample_test
from pyro_vae.evaluation.two_sample import MIN_IMAGES
from pyro_vae.evaluation.two_sample import STEPS as TOLD_APART_STEPS
from pyro_vae.programs import Generative
from pyro_vae.training.prior_refit import refit_prior
from pyro_vae.weights.simulation import simulate

TERMS = ("rate", "mutual_information", "marginal_kl", "distortion")
COMPONENTS = 100  # of the mixture that is refitted, at most
ROWS_PER_COMPONENT = 10
SAMPLES = 300  # of the two-sample test, at most


def prior_card(
    model: Generative,
    guide: Callable,
    fitted: Tensor,
    judged: Tensor,
    *,
    steps: int,
    binarise: str | None = None,
    image_shape: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """The rate and its two parts, what a mixture in the prior's place would gain, components used.

    Of all levels, or of the top one alone where the priors of those below read the data
    (self-supervised models).

    Args:
        fitted: rows (N, D) that the mixture is fitted to.
        judged: rows (M, D) of everything else, pixels that are drawn already.
        steps: of the refit.
        binarise: how pixels of ``fitted`` are drawn, see ``refit_prior``.
        image_shape: (C, H, W) of a row, channel first; None for rows that are no images.

    Returns:
        in nats per datum, each with ``NAME_error``: ``rate`` = ``mutual_information`` +
        ``marginal_kl``, ``distortion``, ``gain``, ``gain_fitted``; ``log_num_data``, the most that
        the information can be; ``components`` of the refitted mixture; ``effective`` number of
        components of the model's own prior with its error, and their number ``of``, NaN where it
        is no mixture; ``told_apart``, how often a small network tells samples from judged rows, and
        ``null``, how often it tells judged rows from others (``two_sample_test``), NaN where these
        are too few.

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
    found |= _told_apart(model, judged, image_shape, min(steps, TOLD_APART_STEPS), seed)
    return {name: float(value) for name, value in found.items()}


def _told_apart(
    model: Generative, real: Tensor, image_shape: Sequence[int] | None, steps: int, seed: int
) -> dict[str, float]:
    """The two-sample test of as many samples as half of the real rows."""
    names = ("told_apart", "told_apart_error", "null", "null_error")
    number = min(SAMPLES, len(real) // 2)
    if number < MIN_IMAGES:
        return dict.fromkeys(names, math.nan)
    samples, _ = simulate(model, number)
    test = two_sample_test(real, samples, image_shape, steps=steps, seed=seed)
    terms = (test.accuracy, test.null)
    values = [value for term in terms for value in (term.mean, term.standard_error)]
    return dict(zip(names, values, strict=True))
