"""Factors of log-magnitude and the scales they give, on sources whose scales were planted."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import laplace, norm

from pyro_vae.errors import InputError
from pyro_vae.programs.start.magnitude_factors import (
    MagnitudeFactors,
    expected_magnitudes,
    magnitude_factors,
    scale_model,
)
from pyro_vae.programs.start.regression import regress_

ROWS, SOURCES, FACTORS = 6_000, 30, 3


def planted(seed=0, strength=0.5, draw="laplace"):
    """Sources y = exp(B f + c) times unit ones, and f (N, q), B (r, q), c (r,)."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(ROWS, FACTORS))
    loadings = strength * rng.normal(size=(SOURCES, FACTORS))
    intercept = rng.normal(size=SOURCES)
    units = getattr(rng, draw)(size=(ROWS, SOURCES))
    return np.exp(factors @ loadings.T + intercept) * units, factors, loadings, intercept


def span_overlap(found, planted):
    """Cosine of the largest angle between the spans of the columns."""
    first, second = np.linalg.qr(found)[0], np.linalg.qr(planted)[0]
    return np.linalg.svd(first.T @ second, compute_uv=False).min()


def test_planted_factors_are_recovered_in_their_span():
    sources, factors, loadings, _ = planted()
    found = magnitude_factors(np.abs(sources), 10)
    assert found.number == FACTORS  # the seven others are no more than chance
    assert span_overlap(found.loadings, loadings) > 0.99
    means = found.means(np.abs(sources))
    explained = np.linalg.lstsq(means, factors, rcond=None)[0]
    assert (factors - means @ explained).var() < 0.3 * factors.var()
    # Sources whose scales do not vary have no factor, and their rotation is no match.
    alone, _, _, _ = planted(strength=0.0)
    assert magnitude_factors(np.abs(alone), 10).number == 0
    assert span_overlap(found.loadings[::-1], loadings) < 0.9


def test_the_factors_posterior_is_that_of_the_factor_model():
    """Means and variances by conditioning the joint normal of (f, log m)."""
    sources, _, _, _ = planted()
    found = magnitude_factors(np.abs(sources), FACTORS)
    marginal = found.loadings @ found.loadings.T + found.psi * np.eye(SOURCES)
    gain = found.loadings.T @ np.linalg.inv(marginal)
    table = np.log(np.abs(sources)) - found.centre
    np.testing.assert_allclose(found.means(np.abs(sources)), table @ gain.T, atol=1e-9)
    posterior = np.eye(FACTORS) - gain @ found.loadings
    np.testing.assert_allclose(posterior, np.diag(found.variance), atol=1e-9)
    # And the model's covariance is that of the rows along the factors.
    top = np.linalg.eigvalsh(marginal)[::-1][:FACTORS]
    np.testing.assert_allclose(top, found.eigenvalues)


@pytest.mark.parametrize("location", [0.0, 0.3, -2.0])
def test_expected_magnitudes_are_the_integrals(location):
    for scale in (0.2, 1.5):
        known = {True: (laplace, abs, 1), False: (norm, np.square, 2)}
        for is_laplace, (density, power, root) in known.items():
            whole = quad(
                lambda z, d=density, p=power, s=scale: p(z) * d.pdf(z, location, s),
                location - 60 * scale,
                location + 60 * scale,
                points=[0.0, location],
                limit=200,
            )[0]
            found = expected_magnitudes(
                np.array([[location]]), np.array([scale]), laplace=is_laplace
            )
            assert found[0, 0] == pytest.approx(whole ** (1 / root), rel=1e-6)


@pytest.mark.parametrize("draw", ["laplace", "normal"])
def test_the_scale_model_finds_planted_scales(draw):
    """With the true factors' directions the scales come back, and beat constant ones."""
    sources, factors, loadings, intercept = planted(draw=draw)
    is_laplace = draw == "laplace"
    found = magnitude_factors(np.abs(sources), FACTORS)
    scales = scale_model(np.abs(sources), found, laplace=is_laplace)
    assert 0.8 <= scales.slope <= 1.2  # log m = log b + noise that knows nothing of b
    # A little above the planted ones, since the factors are not known exactly.
    np.testing.assert_allclose(scales.intercept, intercept, atol=0.3)

    def log_likelihood(log_scale):
        size = np.abs(sources) / np.exp(log_scale)
        return (-log_scale - (size if is_laplace else size**2 / 2)).sum(axis=1).mean()

    flat = np.abs(sources).mean(0) if is_laplace else np.sqrt(np.square(sources).mean(0))
    signal = scales.slope * found.means(np.abs(sources)) @ found.loadings.T
    truth = log_likelihood(factors @ loadings.T + intercept)
    constant, fitted = log_likelihood(np.log(flat)), log_likelihood(signal + scales.intercept)
    assert constant + 0.8 * (truth - constant) < fitted < truth + 1
    assert scales.gain > 0
    # The wrong family's optimum is another one.
    other = scale_model(np.abs(sources), found, laplace=not is_laplace)
    assert np.abs(other.intercept - scales.intercept).mean() > 0.2


@pytest.mark.parametrize("draw", ["laplace", "normal"])
def test_the_intercepts_are_the_best_ones_under_uncertain_factors(draw):
    """By drawing the factors from their posterior: every other intercept is less likely."""
    sources, _, _, _ = planted(draw=draw)
    size, is_laplace = np.abs(sources), draw == "laplace"
    found = magnitude_factors(size, FACTORS)
    scales = scale_model(size, found, laplace=is_laplace)
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(20, ROWS, FACTORS)) * np.sqrt(found.variance)
    signal = scales.slope * (found.means(size) + noise) @ found.loadings.T

    def expected(shift):
        ratio = size / np.exp(signal + scales.intercept + shift)
        fit = ratio if is_laplace else ratio**2 / 2
        return -shift - fit.mean(axis=(0, 1))

    best = expected(0.0)
    for shift in (-0.1, 0.1):
        assert (expected(shift) < best).all()


def test_without_factors_that_help_the_slope_is_zero():
    rng = np.random.default_rng(0)
    magnitudes = np.abs(rng.laplace(size=(500, 4)))
    useless = MagnitudeFactors(
        np.log(magnitudes).mean(0), rng.normal(size=(4, 1)), np.array([2.0]), 1.0
    )
    shuffled = magnitudes[rng.permutation(500)]
    found = scale_model(shuffled, useless)
    assert found.slope < 0.5
    assert found.gain >= 0


def test_at_most_one_factor_less_than_sources():
    magnitudes = np.exp(np.random.default_rng(0).normal(size=(400, 1)) * np.ones(4))
    magnitudes *= np.exp(0.1 * np.random.default_rng(1).normal(size=(400, 4)))
    assert 1 <= magnitude_factors(magnitudes, 10).number <= 3
    assert magnitude_factors(magnitudes[:, :2], 5).number == 1


@pytest.mark.parametrize("shape", [(5,), (5, 1), (1, 5)])
def test_too_little_for_factors(shape):
    with pytest.raises(InputError, match="at least two rows of two sources"):
        magnitude_factors(np.ones(shape), 2)


def test_regression_finds_a_linear_map_and_repeats_it():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 4, generator=generator)
    truth = 0.3 * torch.randn(3, 4, generator=generator)
    targets = inputs @ truth.T + 0.2
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        head = torch.nn.Linear(4, 3)
        explained = regress_(
            head,
            list(head.parameters()),
            inputs,
            targets,
            generator=torch.Generator().manual_seed(2),
        )
        assert explained > 0.999
        found.append(head.weight.detach().clone())
        assert all(parameter.grad is None for parameter in head.parameters())
    assert torch.equal(*found)
    torch.testing.assert_close(found[0], truth, atol=0.05, rtol=0)
    noise = torch.randn(500, 3, generator=generator)
    assert regress_(head, [*head.parameters()], inputs, noise, generator=generator) < 0.1
    with pytest.raises(InputError, match="500 inputs for 3 targets"):
        regress_(head, [*head.parameters()], inputs, targets[:3], generator=generator)
