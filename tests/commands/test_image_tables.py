"""Tables in bits on tiny colours: every row trains, late priors too, and bits are those of nats."""

import functools

import numpy as np
import pytest

from experiments.campaign import taking_over
from pyro_vae.training.prior_refit import refit_prior

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """60 training and 10 test images of 8 x 8 x 3 levels."""
    path = tmp_path_factory.mktemp("colours") / "colours.npz"
    images = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3)).astype(np.uint8)
    np.savez(path, x_train=images[:60], x_test=images[60:])
    return path


@pytest.fixture
def rows_of(images_table, colours, monkeypatch):
    """Rebuild a table on those images; late priors are fitted in three steps."""
    quick = functools.partial(refit_prior, steps=3)
    monkeypatch.setattr(taking_over, "refit_prior", quick)
    return lambda name: images_table(name, colours, "--epochs", 3)


def nats(row: dict[str, str]) -> float:
    return float(row["distortion"]) + float(row["rate"])


def test_priors_from_the_start_and_late(rows_of, tmp_path):
    rows, out = rows_of("priors")
    late = [name for name in rows if name.startswith("late-")]
    assert late == ["late-standard", "late-mixture", "late-realnvp"]
    assert [rows[name]["epochs"] for name in late] == ["1"] * 3  # a third of three
    for row in rows.values():
        assert row["status"] == "finished"
        assert float(row["bits_per_dim"]) == pytest.approx(nats(row) / (192 * np.log(2)), rel=1e-6)
        assert float(row["iw_bits_per_dim"]) <= float(row["bits_per_dim"])
        assert 0 < float(row["seconds_1"]) < float(row["seconds_100"])
    assert float(rows["realnvp"]["bits_per_dim_published"]) == 3.51
    # Each is compared with the standard normal prior that was trained as long.
    bits = {
        name: np.load(tmp_path / "results" / "cells" / f"{name}-seed0" / "per_datum.npz")
        for name in rows
    }
    for name, other in (("mixture", "standard"), ("late-mixture", "late-standard")):
        gain = (bits[name]["bits_per_dim"] - bits[other]["bits_per_dim"]).mean()
        assert f"| {gain:+.4f} +- " in out


def test_decoders_that_see_pixels(rows_of):
    rows, out = rows_of("pixelvae")
    assert list(rows) == ["independent", "window", "whole", "whole-warm-up"]
    assert all(row["status"] == "finished" for row in rows.values())
    assert [row["bits_per_dim_published"] for row in rows.values()] == ["", "", "3.66", ""]
    assert float(rows["window"]["parameters"]) < float(rows["whole"]["parameters"])
    assert "64 x 64 ImageNet" in out
