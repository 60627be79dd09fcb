"""Bits per dimension: the length of a code, where pixels are levels; none where they are not."""

import json
import math

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae import InputError
from pyro_vae.evaluation import bits_per_dim, evaluate
from pyro_vae.evaluation.bits import levelled_pixels, mean_in_bits
from pyro_vae.evaluation.statistics import mean_and_error
from tests.conftest import tiny_pair
from tests.statistics import double_precision


@pytest.fixture
def levels():
    """A pair over 0/1 pixels, and rows of them."""
    with double_precision():
        model, guide = tiny_pair("bottomup", levels=1, pixels="binary", num_pixels=8)
        yield model.double(), guide.double(), (torch.rand(40, 8) < 0.3).double()


def test_a_uniform_code_of_256_levels_takes_eight_bits():
    """-log p / (D ln 2) of the uniform law is log2 of the number of levels, whatever D is."""
    for num_pixels in (1, 12, 3072):
        nats = np.full(5, -num_pixels * math.log(256))
        np.testing.assert_allclose(bits_per_dim(nats, num_pixels), 8.0, rtol=1e-14)
        assert bits_per_dim(nats, num_pixels + 1)[0] < 8.0


def test_the_length_of_a_code_for_images_that_a_factorised_model_knows():
    """Against the entropy: E[-log2 p(x)] / D of independent pixels is their mean entropy."""
    shares = np.array([0.1, 0.3, 0.5, 0.9])
    x = np.random.default_rng(0).random((40_000, 4)) < shares
    nats = np.where(x, np.log(shares), np.log(1 - shares)).sum(1)
    found = mean_and_error(bits_per_dim(nats, 4))
    entropy = -(shares * np.log2(shares) + (1 - shares) * np.log2(1 - shares)).mean()
    assert abs(found.mean - entropy) < 4 * found.standard_error
    assert abs(found.mean - entropy * math.log(2)) > 8 * found.standard_error  # nats are no bits
    in_bits = mean_in_bits(mean_and_error(nats, np.full(len(nats), 0.5)), 4)
    assert in_bits.mean == pytest.approx(found.mean)
    assert in_bits.standard_error == pytest.approx(found.standard_error)
    assert in_bits.monte_carlo_error == pytest.approx(0.5 / 200 / (4 * math.log(2)))


def test_both_are_of_every_datum_with_their_errors(levels):
    model, guide, x = levels
    found = evaluate(model, guide, x, num_particles=60, bound_particles=5)
    per_bit = 8 * math.log(2)
    np.testing.assert_allclose(found.bits_per_dim, -found.elbo / per_bit, rtol=1e-12)
    np.testing.assert_allclose(found.iw_bits_per_dim, -found.log_likelihood / per_bit, rtol=1e-12)
    assert (found.iw_bits_per_dim < found.bits_per_dim).all()
    summary = found.summary()
    for name, nats in (("bits_per_dim", "elbo"), ("iw_bits_per_dim", "log_likelihood")):
        for error in ("standard_error", "monte_carlo_error"):
            if error in summary[nats]:
                assert summary[name][error] == pytest.approx(summary[nats][error] / per_bit)
        assert summary[name]["mean"] == pytest.approx(-summary[nats]["mean"] / per_bit)
    assert [*summary][-5:] == ["bits_per_dim", "iw_bits_per_dim", "ess", "khat_above_0.7", "khat"]
    assert found.first(3).bits_per_dim.shape == (3,)
    assert "bits_per_dim" not in found.columns()  # which are in nats


def test_a_density_has_none():
    model, guide = tiny_pair()
    found = evaluate(model, guide, torch.randn(5, 6), num_particles=5, bound_particles=5)
    assert levelled_pixels(model) is None
    for name in ("bits_per_dim", "iw_bits_per_dim"):
        with pytest.raises(InputError, match="pixels that take whole levels"):
            getattr(found, name)
        assert name not in found.summary()
    assert levelled_pixels(lambda x: None) is None


def test_the_number_of_pixels_is_checked():
    with pytest.raises(InputError, match="num_pixels must be a whole number of at least 1, got 0"):
        bits_per_dim(np.zeros(3), 0)


def test_tables_and_files_have_them(levels, tmp_path, capsys):
    from pyro_vae.cli.table import print_estimates

    model, guide, x = levels
    found = evaluate(model, guide, x, num_particles=60, bound_particles=5)
    print_estimates(found.summary(), len(x), 60, 5)
    out = capsys.readouterr().out
    assert f"bits per dimension, of the ELBO        {found.bits_per_dim.mean():.4f}" in out
    assert "bits per dimension, of L_60" in out
    pyro_vae.runs.RunDirectory.write_json(tmp_path / "a.json", {"test": found.summary()})
    stored = json.loads((tmp_path / "a.json").read_text())["test"]
    assert stored["iw_bits_per_dim"]["mean"] == pytest.approx(found.iw_bits_per_dim.mean())
