"""Bounds and bound-like objectives: pure functions of the log-weights (K, B), one value per datum.

``log_w`` holds K independent particles along its first axis; every function returns the remaining
shape, in nats. Autograd through them gives the plain (pathwise) gradient estimator.

==============  ===========================================  ==========================  ==========
function        per datum                                    lower bound on log p(x)?    source
==============  ===========================================  ==========================  ==========
elbo            mean_k log w_k                               yes                         Kingma
iwae            log mean_k w_k                               yes, tighter with K         Burda
renyi           log mean_k w_k^(1-alpha) / (1-alpha)         for alpha >= 0              Li
power_mean      log (mean_k w_k^p)^(1/p), p = 1 - alpha      for p <= 1                  Arnal
median          log median_k w_k                             no                          Arnal
miwae           mean over K2 groups of iwae of K1            yes                         Rainforth
ciwae           beta elbo + (1 - beta) iwae                  yes                         Rainforth
jackknife       K L_K - (K-1) mean_k L_(K without k)         no, less biased than L_K    Nowozin
==============  ===========================================  ==========================  ==========

Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; Burda et al. 2016,
https://arxiv.org/abs/1509.00519; Li and Turner 2016, https://arxiv.org/abs/1602.02311; Arnal et al.
2021, section 2.3; Rainforth et al. 2018, https://arxiv.org/abs/1802.04537; Nowozin 2018,
https://openreview.net/forum?id=HyZoi-WRb.

With p > 1 the expectation can exceed log p(x), in the limit of many particles it does: by Jensen
``log E[w^p]^(1/p) >= log E[w]``. The median of the weights has no fixed relation to their mean.
The jackknife is an estimate of log p(x), not something to train on.

Weights may be zero, log w = -inf. A mean of weights does not mind while one of them is above zero;
a mean of log-weights is -inf as soon as one is not: the ELBO, CIWAE with beta > 0, MIWAE with a
group of nothing else. What is -inf has a gradient of zero, never NaN, and no other datum feels it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from pyro_vae.errors import InputError

STREAMED_AT_ONCE = 1_000_000  # numbers


def log_mean_exp(values: Tensor) -> Tensor:
    """log mean_k exp(values_k) along the first axis.

    Where all values are -inf, or one is +inf, the result is that and its gradient is zero.
    """
    return _log_sum_exp(values) - math.log(len(values))


def _log_sum_exp(values: Tensor) -> Tensor:
    largest = values.detach().amax(0)
    infinite = largest.isinf()
    total = torch.logsumexp(values.masked_fill(infinite, 0.0), 0)
    return total.where(~infinite, largest)


def elbo(log_w: Tensor) -> Tensor:
    """mean_k log w_k: the evidence lower bound from K particles (the k-sample VAE objective)."""
    return log_w.mean(0)


def iwae(log_w: Tensor) -> Tensor:
    """L_K = log mean_k w_k: the importance-weighted bound (Burda et al. 2016, eq. 8)."""
    return log_mean_exp(log_w)


def streamed_iwae(parts: Iterable[Tensor], most: int = STREAMED_AT_ONCE) -> Tensor:
    """L_K of weights that come in parts (K_i, B), of which no more than about ``most`` are held."""
    held: list[Tensor] = []
    totals: list[Tensor] = []
    number = 0

    def fold() -> None:
        column = torch.cat([*totals, *held])
        totals[:] = [_log_sum_exp(column)[None]]
        held.clear()

    for part in parts:
        held.append(part)
        number += len(part)
        if sum(map(torch.numel, held)) >= most:
            fold()
    if held:
        fold()
    return totals[0][0] - math.log(number)


def power_mean(log_w: Tensor, p: float) -> Tensor:
    """log of the power mean (mean_k w_k^p)^(1/p); p = 1 is IWAE, p -> 0 the ELBO."""
    if p == 0:
        return elbo(log_w)
    return log_mean_exp(p * log_w) / p


def renyi(log_w: Tensor, alpha: float) -> Tensor:
    """Variational Renyi bound of order alpha (Li and Turner 2016): the power mean of 1 - alpha.

    alpha = 0 is IWAE and alpha -> 1 the ELBO (alpha = 1 is taken as that limit).
    """
    return power_mean(log_w, 1.0 - alpha)


def median(log_w: Tensor) -> Tensor:
    """log of the median weight; for even K the mean of the two middle weights. Not a bound."""
    middle = len(log_w) // 2
    ordered = log_w.sort(0).values
    if len(log_w) % 2:
        return ordered[middle]
    return log_mean_exp(ordered[middle - 1 : middle + 1])


def miwae(log_w: Tensor, num_inner: int) -> Tensor:
    """Mean over the K / k1 groups of the IWAE bound of ``num_inner`` = k1 particles.

    ``num_inner`` = K is IWAE, 1 is the K-sample VAE (Rainforth et al. 2018).
    """
    return group_bounds(log_w, num_inner).mean(0)


def group_bounds(log_w: Tensor, num_inner: int) -> Tensor:
    """L_k1 of each group of ``num_inner`` = k1 neighbours: (K, B) -> (K / k1, B).

    InputError unless k1 divides K.
    """
    if num_inner < 1 or len(log_w) % num_inner:
        raise InputError(
            f"num_inner must divide the number of particles {len(log_w)}, got {num_inner}"
        )
    # Groups of consecutive particles; sizes: (num_inner, K / num_inner, B).
    return log_mean_exp(log_w.unflatten(0, (-1, num_inner)).transpose(0, 1))


def ciwae(log_w: Tensor, beta: float) -> Tensor:
    """beta ELBO + (1 - beta) IWAE on the same particles (Rainforth et al. 2018).

    Its ends are the two themselves: with beta = 0 a weight of zero does no harm.
    """
    if not 0 <= beta <= 1:
        raise InputError(f"beta must lie in [0, 1], got {beta}")
    if beta == 0:
        return iwae(log_w)
    if beta == 1:
        return elbo(log_w)
    return beta * elbo(log_w) + (1 - beta) * iwae(log_w)


def jackknife(log_w: Tensor) -> Tensor:
    """K L_K - (K - 1) mean_k L_K-1(all but k): L_K with its bias of order 1 / K removed.

    The jackknife estimate of log p(x) of order one (Nowozin 2018, JVI-1). Its bias falls as 1 / K^2
    where that of L_K falls as 1 / K; its standard error is about that of L_K. It is **not a lower
    bound**: its expectation can exceed log p(x). Where one weight is nearly everything it is about
    that weight's distance from the others, and says nothing; k-hat tells. Where all others are zero
    that particle cannot be left out, and L_K stays as it is. NaN for K = 1.
    """
    num_particles = len(log_w)
    if num_particles == 1:
        return torch.full_like(log_w[0], torch.nan)
    # L_K - L_K-1(all but k) = log(1 - 1 / K) - log(1 - w~_k). Only the largest w~_k can come near
    # one, where the difference would cancel: its log(1 - w~_k) is summed from the other weights.
    largest = log_w.argmax(0, keepdim=True)
    others = torch.logsumexp(log_w.scatter(0, largest, -math.inf), 0, keepdim=True)
    small = normalised_weights(log_w).scatter(0, largest, 0.0)
    remainder = torch.log1p(-small).scatter(0, largest, others - torch.logsumexp(log_w, 0))
    gain = math.log1p(-1 / num_particles) - remainder
    bound = iwae(log_w)
    return (bound + (num_particles - 1) * gain.mean(0)).where(~others[0].isneginf(), bound)


def normalised_weights(log_w: Tensor, dim: int = 0) -> Tensor:
    """w_k / sum_j w_j along an axis, shape of ``log_w``; 0 where all weights are zero."""
    infinite = log_w.detach().amax(dim, keepdim=True).isinf()
    return torch.softmax(log_w.masked_fill(infinite, 0.0), dim).masked_fill(infinite, 0.0)
