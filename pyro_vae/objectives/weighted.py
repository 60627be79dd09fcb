"""Losses that are one function of the log-weights: the bounds of :mod:`pyro_vae.weights.bounds`.

Sources: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; Burda et al. 2016,
https://arxiv.org/abs/1509.00519; Roeder et al. 2017, https://arxiv.org/abs/1703.09194; Tucker et
al. 2019, https://arxiv.org/abs/1810.04152; Li and Turner 2016, https://arxiv.org/abs/1602.02311;
Rainforth et al. 2018, https://arxiv.org/abs/1802.04537; Arnal et al. 2021 and Vas 2024 in
``docs/references.md``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.objectives.base import ImportanceWeightedELBO
from pyro_vae.weights import bounds


class ELBO(ImportanceWeightedELBO):
    """Minus mean_k log w_k per datum: the ELBO from K particles (Kingma and Welling 2014).

    The VAE with k samples of Arnal et al. 2021, section 2.2. A lower bound on log p(x), the same
    for every K; particles only lower its variance. Every estimator is unbiased for it. Without
    annealing dreg and stl are the same; dreg of an annealed level adds a term of mean zero.
    """

    estimators: tuple[str, ...] = ("pathwise", "analytic", "dreg", "stl")
    can_thin = False

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.elbo(log_w)

    def gate_factor(self, log_w: Tensor) -> Tensor:
        return torch.ones_like(log_w)


class AnalyticELBO(ELBO):
    """The ELBO with the KL of every level in closed form at the sampled parents.

    ``E log p(x | z) - sum_l KL(q_l || p_l)``: the vanilla TDVAE of Vas 2024, section 3.2. Where
    torch knows no closed form the level's sampled log-ratio stands in. Wrong where a level's
    parents in the model descend from it in the guide (bottom-up chains): ``check_objective_fits``
    refuses those.
    """

    def __init__(self, num_particles: int = 1) -> None:
        super().__init__(num_particles, estimator="analytic")


class IWAE(ImportanceWeightedELBO):
    """Minus L_K = log mean_k w_k per datum: a lower bound that tightens with K.

    Burda et al. 2016, eq. 8; for hierarchies Vas 2024, eq. 4.2. The plain gradient is
    sum_k w~_k grad log w_k with normalised weights w~ (Burda et al. 2016, eq. 13).
    ``num_particles=1`` is the ELBO. Sticking the landing (``estimator="stl"``) is biased for K > 1.
    """

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.iwae(log_w)

    def gate_factor(self, log_w: Tensor) -> Tensor:
        return bounds.normalised_weights(log_w)


class DReG(IWAE):
    """The IWAE bound with the doubly reparameterised gradient (Tucker et al. 2019).

    Same value and same expected gradient as :class:`IWAE`; the guide's gradient is
    ``sum_k w~_k^2 (d log w_k / d z_k)(d z_k / d phi)``, whose signal-to-noise ratio grows with K.
    Right in a hierarchy: the derivative by z_l includes its paths through lower levels.

    Where levels are annealed, the guide's gradient gains
    ``sum_l (1 - beta_l) sum_k w~_k d log q(z_lk | ...) / d phi`` at fixed z, which keeps it
    unbiased for the annealed objective and vanishes as beta reaches 1.

    A guide that is a module must own its parameters, or keep them in Pyro's store; guides that are
    functions may keep them anywhere and cost one more pass.
    """

    def __init__(self, num_particles: int = 1, *, thin: int | None = None) -> None:
        super().__init__(num_particles, estimator="dreg", thin=thin)


class STL(IWAE):
    """The IWAE bound with sticking-the-landing gradients (Roeder et al. 2017).

    The guide's score terms are left out, so the gradient vanishes where guide = posterior. Unbiased
    for K = 1; **biased for K > 1**: its expectation is not the gradient of L_K (Tucker et al. 2019,
    section 3). To compare with; :class:`DReG` is the unbiased one.
    """

    def __init__(self, num_particles: int = 1, *, thin: int | None = None) -> None:
        super().__init__(num_particles, estimator="stl", thin=thin)


class PowerMean(ImportanceWeightedELBO):
    """Minus the log of the power mean (mean_k w_k^p)^(1/p) per datum.

    Arnal et al. 2021, section 2.3; the Renyi bound of order alpha = 1 - p of Li and Turner 2016.
    p = 1 is IWAE, p -> 0 the ELBO. A lower bound on log p(x) for p <= 1; **not for p > 1**, where
    its limit log E[w^p]^(1/p) exceeds log p(x).
    """

    def __init__(
        self,
        power: float = 1.0,
        num_particles: int = 2,
        *,
        estimator: str = "pathwise",
        thin: int | None = None,
    ) -> None:
        if power == 0 or not math.isfinite(power):
            raise InputError(
                f"power must be finite and not 0 (that is the ELBO, objective 'elbo'), got {power}"
            )
        super().__init__(num_particles, estimator=estimator, thin=thin)
        self.power = power

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.power_mean(log_w, self.power)

    def gate_factor(self, log_w: Tensor) -> Tensor:
        return 1 - self.power * (1 - bounds.normalised_weights(self.power * log_w))


class RenyiELBO(PowerMean):
    """Minus the variational Renyi bound of order alpha (Li and Turner 2016).

    ``log mean_k w_k^(1 - alpha) / (1 - alpha)`` per datum; alpha = 0 is the IWAE bound; a lower
    bound for alpha >= 0. Pyro's own loss of this name takes the log-mean-exp of scaled sites and
    has no differentiable loss.
    """

    def __init__(
        self,
        alpha: float = 0.0,
        num_particles: int = 2,
        *,
        estimator: str = "pathwise",
        thin: int | None = None,
    ) -> None:
        if alpha == 1 or not math.isfinite(alpha):
            raise InputError(
                f"alpha must be finite and not 1 (that is the ELBO, objective 'elbo'), got {alpha}"
            )
        super().__init__(1.0 - alpha, num_particles, estimator=estimator, thin=thin)
        self.alpha = alpha


class MedianWeight(ImportanceWeightedELBO):
    """Minus log median_k w_k per datum. **Not a lower bound** on log p(x).

    Arnal et al. 2021, section 2.3. The gradient is that of the one or two middle particles. It
    jumps where two particles change places, so its expectation has no doubly reparameterised form:
    the estimator is pathwise.
    """

    estimators = ("pathwise",)

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.median(log_w)


class CIWAE(ImportanceWeightedELBO):
    """Minus beta ELBO + (1 - beta) IWAE on the same particles (Rainforth et al. 2018).

    A lower bound on log p(x) for beta in [0, 1]: 0 is IWAE, 1 the ELBO. Also Arnal et al. 2021,
    section 2.4.
    """

    def __init__(
        self,
        beta: float = 0.5,
        num_particles: int = 2,
        *,
        estimator: str = "pathwise",
        thin: int | None = None,
    ) -> None:
        if not 0 <= beta <= 1:
            raise InputError(f"beta must lie in [0, 1], got {beta}")
        super().__init__(num_particles, estimator=estimator, thin=thin)
        self.beta = beta

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.ciwae(log_w, self.beta)

    def gate_factor(self, log_w: Tensor) -> Tensor:
        weights = bounds.normalised_weights(log_w)
        floor, rest = self.beta / len(log_w), 1 - self.beta
        tiny = torch.finfo(log_w.dtype).tiny  # a weight that underflowed to 0 is 0 over anything
        return (floor + rest * weights.square()) / (floor + rest * weights).clamp(min=tiny)


class MIWAE(ImportanceWeightedELBO):
    """Minus the mean over K / k1 groups of the IWAE bound of k1 particles.

    MIWAE(k1, k2) of Rainforth et al. 2018 (and Arnal et al. 2021, section 2.4), k1 = ``num_inner``
    and k2 = ``num_particles`` / ``num_inner``: (K, 1) is IWAE, (1, K) the K-sample VAE. A lower
    bound on log p(x): L_k1, of smaller variance.
    """

    def __init__(
        self,
        num_inner: int = 1,
        num_particles: int = 1,
        *,
        estimator: str = "pathwise",
        thin: int | None = None,
    ) -> None:
        super().__init__(num_particles, estimator=estimator, thin=thin)
        self.num_inner = check_groups(num_inner, num_particles)

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.miwae(log_w, self.num_inner)

    def gate_factor(self, log_w: Tensor) -> Tensor:
        groups = log_w.unflatten(0, (-1, self.num_inner))
        return bounds.normalised_weights(groups, 1).flatten(0, 1)


def check_groups(num_inner: int, num_particles: int) -> int:
    """``num_inner``, or InputError unless groups of that size make up the particles."""
    if num_inner != int(num_inner) or not 1 <= num_inner <= num_particles:
        raise InputError(
            f"inner must be a whole number from 1 to num_particles = {num_particles}, "
            f"got {num_inner}"
        )
    if num_particles % num_inner:
        raise InputError(f"inner = {num_inner} must divide num_particles = {num_particles}")
    return int(num_inner)
