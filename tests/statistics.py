"""Helpers of the statistical tests: every tolerance is stated in standard errors.

A test that compares a mean with its truth also shows that a wrong truth, or a wrong estimator,
lies far outside the tolerance (``z_score(...) > 8``): a test that cannot fail says nothing.
"""

from contextlib import contextmanager

import pyro
import torch


@contextmanager
def double_precision(seed=0):
    """float64, a seed, an empty Pyro store and one thread; all put back afterwards.

    Tensors this small gain nothing from more threads, and threads that wait for busy cores cost.
    """
    before, threads = torch.get_default_dtype(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        pyro.clear_param_store()
        try:
            yield
        finally:
            torch.set_default_dtype(before)
            torch.set_num_threads(threads)
            pyro.clear_param_store()


def z_scores(samples, expected):
    """(mean - expected) in standard errors; independent ``samples`` along the first axis."""
    samples = torch.as_tensor(samples, dtype=torch.float64)
    error = samples.std(0) / len(samples) ** 0.5
    distance = (samples.mean(0) - torch.as_tensor(expected, dtype=torch.float64)).abs()
    # Constant samples have no standard error: only rounding may separate them from the truth.
    return distance / (error + 1e-12)


def z_score(samples, expected):
    """The largest of :func:`z_scores`."""
    return z_scores(samples, expected).max().item()


def assert_mean_close(samples, expected, n_se=5):
    """Every mean over the first axis is within ``n_se`` standard errors of its expectation."""
    score = z_score(samples, expected)
    assert score <= n_se, f"a mean is {score:.1f} standard errors from its expectation"


def chi_square_score(counts, probabilities):
    """Pearson's chi-square of counts in cells, in its standard errors above its mean.

    With c cells chi-square has mean c - 1 and variance 2 (c - 1) where the probabilities are right.
    """
    counts, probabilities = (
        torch.as_tensor(v, dtype=torch.float64) for v in (counts, probabilities)
    )
    expected = counts.sum() * probabilities
    freedom = len(counts) - 1
    chi_square = ((counts - expected).square() / expected).sum().item()
    return (chi_square - freedom) / (2 * freedom) ** 0.5


def slope(x, y):
    """Least-squares slope of y on x."""
    x, y = (torch.as_tensor(v, dtype=torch.float64) for v in (x, y))
    x = x - x.mean()
    return ((x * y).sum() / x.square().sum()).item()


def flat(tensors):
    """One long vector of all numbers in the tensors."""
    return torch.cat([t.reshape(-1) for t in tensors])


def gradients(loss, parameters):
    """All derivatives of the loss in one vector, 0 where it does not depend on a parameter."""
    parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(parts, parameters, strict=True)
    return flat([torch.zeros_like(p) if g is None else g for g, p in pairs])
