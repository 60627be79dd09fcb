"""Mutual information of units with the label: mixtures by quadrature, nulls, ends, bins."""

import numpy as np
import pytest
from scipy import integrate, stats

from analysis.measures import information
from analysis.measures.information import unit_information
from pyro_vae.errors import InputError
from pyro_vae.evaluation.disentanglement.binned import quantile_bins
from tests.analysis.test_decoding import two_classes
from tests.statistics import assert_mean_close, z_score


def mixture_information(distance):
    """I(z; label) of a unit with means +-d/2 and even classes, by quadrature; nats."""

    def density(z):
        return (stats.norm.pdf(z - distance / 2) + stats.norm.pdf(z + distance / 2)) / 2

    entropy = integrate.quad(lambda z: -density(z) * np.log(density(z)), -12, 12)[0]
    return entropy - 0.5 * np.log(2 * np.pi * np.e)


def binned_information(distance, bins):
    """The same after a cut into bins of equal probability."""
    grid = np.linspace(-12, 12, 200_001)
    below = np.stack([stats.norm.cdf(grid + sign * distance / 2) for sign in (-1, 1)])
    edges = np.interp(np.arange(1, bins) / bins, below.mean(axis=0), grid)
    cut = np.stack([stats.norm.cdf(edges + sign * distance / 2) for sign in (-1, 1)])
    cells = np.diff(np.pad(cut, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))) / 2
    return (cells * np.log(cells / (cells.sum(axis=0) / 2))).sum()


def test_information_of_a_gaussian_mixture():
    distance, bins = 2.0, 12
    # Forty independent units that share their labels.
    found = unit_information(*two_classes([distance] * 40, 2_000, seed=1), bins=bins, shuffles=2)
    binned, truth = binned_information(distance, bins), mixture_information(distance)
    assert truth - 0.01 < binned < truth
    assert_mean_close(found["information"], binned)
    assert z_score(found["information"], mixture_information(1.7)) > 8
    assert found["label_entropy"][0] == pytest.approx(np.log(2), abs=1e-3)


def test_independent_units_have_no_information():
    values, labels = two_classes([0.0] * 200, 1_000, seed=1)
    found = unit_information(values, labels)
    assert_mean_close(found["information"], 0.0)
    assert_mean_close(found["null"], 0.0)
    bins = 10
    excess = (bins - 1) / (2 * len(values))  # of the table's information before it is corrected
    assert z_score(found["information"] + excess, 0.0) > 8
    above = (found["information"] > found["null_high"]).mean()
    assert abs(above - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 200)
    assert 0.7 < found["information"].std() / found["null_sd"].mean() < 1.3


def test_information_ignores_monotone_maps_and_knows_its_ends():
    values, labels = two_classes([1.0, 0.3], 500, seed=1)
    kwargs = {"shuffles": 2}
    plain = unit_information(values, labels, **kwargs)["information"]
    mapped = unit_information(np.exp(3 * values), labels, **kwargs)["information"]
    np.testing.assert_allclose(plain, mapped, atol=1e-12)
    classes = np.arange(500) % 5
    ends = unit_information(np.column_stack([classes, np.ones(500)]), classes, **kwargs)
    # A copy of the label has all of its entropy, which Miller's correction raises by 4 / (2 N).
    assert ends["information"][0] == pytest.approx(np.log(5) + 4 / 1_000)
    assert ends["information"][1] == 0.0
    with pytest.raises(InputError, match="too few"):
        unit_information(values[:19], labels[:19])
    with pytest.raises(InputError, match="bins"):
        unit_information(values, labels, bins=1)


def test_quantile_bins_hold_equally_many_and_keep_ties_together():
    values = np.column_stack([np.random.default_rng(0).normal(size=1_000), np.arange(1_000) // 400])
    binned = quantile_bins(values, 8)
    assert np.bincount(binned[:, 0]).tolist() == [125] * 8
    for value in (0, 1, 2):
        assert len(set(binned[values[:, 1] == value, 1])) == 1
    # A unit that is silent but for a few data keeps those apart.
    silent = np.where(np.arange(1_000) < 950, 0.0, values[:, 0] ** 2)[:, None]
    assert np.array_equal(quantile_bins(silent, 8)[:, 0] > 0, silent[:, 0] > 0)
    assert information.SHUFFLES >= 20  # a 0.95 quantile wants that many
