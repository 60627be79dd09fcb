"""How far drawn images agree with the representations that they were drawn under."""

from __future__ import annotations

from typing import Any

import torch

from pyro_vae.errors import check_count
from pyro_vae.evaluation.routes import generate
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.programs.models import Generative
from pyro_vae.torch_state import own_generators

AT_ONCE = 100  # images drawn together
HALF_A_LEVEL = 0.5 / 255


@torch.no_grad()
def consistency(model: Generative, num_draws: int = 100, *, seed: int = 0) -> dict[str, Mean]:
    """Share of the numbers of every drawn y_k that d_k(y_{k-1}) agrees with: site -> its mean.

    A self-supervised VAE may draw an x whose representation is another one than the y it was drawn
    under; what it bounds is then p(x, d(x)), which is below p(x) by the mass of such draws. The
    share is 1 for all draws where the likelihood is renormalised within the buckets of y
    (:class:`pyro_vae.programs.likelihoods.Quantised`).

    Args:
        num_draws: images, x and its representations, from the model.
        seed: of the draws.

    Returns:
        of every representation, with the standard error over images; empty where there are none.
    """
    check_count("num_draws", num_draws)
    if not model.representation_names:
        return {}
    transforms: Any = model.transforms
    names = ("x", *model.representation_names)
    shares: dict[str, list[torch.Tensor]] = {name: [] for name in names[1:]}
    with own_generators():
        torch.manual_seed(seed)
        for start in range(0, num_draws, AT_ONCE):
            drawn = generate(model, min(AT_ONCE, num_draws - start))
            for level, name in enumerate(names[1:]):
                made = transforms[level](drawn[names[level]])
                agree = (made - drawn[name]).abs() < HALF_A_LEVEL
                shares[name].append(agree.double().mean(-1).cpu())
    return {name: mean_and_error(torch.cat(parts).numpy()) for name, parts in shares.items()}
