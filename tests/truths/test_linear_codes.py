"""Codes without a model: components of mixtures whose sources are known."""

import numpy as np
import pytest

from pyro_vae import InputError
from pyro_vae.evaluation import information_gap
from pyro_vae.evaluation.disentanglement.linear_codes import reference_codes


def mixture(num=2_000, seed=0):
    """Two even factors of other variances in five pixels, mixed at right angles."""
    known = np.random.default_rng(seed).integers(0, 8, (num, 2))
    mixing = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0][:2]
    return (known * [1.0, 1.5]) @ mixing + 3, known


def test_components_find_the_factors_of_a_linear_mixture():
    train, _ = mixture()
    rows, known = mixture(seed=5)
    codes = reference_codes(train, rows, known, num_units=2)
    assert list(codes) == ["factors", "pixels", "pca", "ica"]
    assert codes["pixels"] is rows
    gaps = {name: information_gap(code[None], known).mig.mean for name, code in codes.items()}
    assert gaps["factors"] > 0.98
    assert gaps["pixels"] < 0.3
    # Even sources are far from normal, and their variances differ: both find their axes.
    for name in ("pca", "ica"):
        alike = np.abs(np.corrcoef(codes[name].T, known.T)[:2, 2:])
        assert alike.max(0) == pytest.approx([1, 1], abs=0.02), name
    pixels = np.abs(np.corrcoef(rows.T, known.T)[:5, 5:])
    assert np.sort(pixels.max(1))[0] < 0.9  # and no pixel was asked to
    assert codes["ica"].std(0) == pytest.approx([1, 1], rel=0.05)
    assert np.sort(codes["pca"].var(0)) == pytest.approx(np.array([1, 2.25]) * 63 / 12, rel=0.1)
    assert codes["factors"].mean(0) == pytest.approx([0, 0], abs=1e-12)


def test_units_are_no_more_than_pixels():
    train, known = mixture(50)
    codes = reference_codes(train, train, known, num_units=9)
    assert codes["pca"].shape == (50, 5)
    with pytest.raises(InputError, match="num_units must be a whole number of at least 1"):
        reference_codes(train, train, known, num_units=0)
