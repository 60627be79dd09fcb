"""Priors, posteriors, likelihoods and images that cannot be: exit code 2, one line, no run left."""

import numpy as np
import pytest

from tests.conftest import run_fit


@pytest.fixture
def refused(capsys, tmp_path):
    """Run fit.py, check that it refuses in one line and writes nothing, and return that line."""

    def call(*flags):
        path = tmp_path / "run"
        capsys.readouterr()
        assert run_fit(*flags, "--run-dir", path) == 2
        out, err = capsys.readouterr()
        assert err.count("\n") == 1, err
        assert err.startswith("fit.py: ")
        assert out == ""
        assert not path.exists()
        return err.removeprefix("fit.py: ").strip()

    return call


@pytest.fixture
def levels(tmp_path):
    """Path of a file of 8-bit images."""

    def write(height, width):
        path = tmp_path / "levels.npy"
        draws = np.random.default_rng(0).integers(0, 256, (60, height, width))
        np.save(path, draws.astype(np.uint8))
        return path

    return write


AT_LEAST_ONE = "must be a whole number of at least 1, got 0"
DEPENDENT = "whose 4 units are not independent of each other"
BY_UNIT = "--objective free-bits --free-bits 0.1 --groups"


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("--prior mixture:components=0", f"components of the prior 'mixture' {AT_LEAST_ONE}"),
        ("--prior vamp:components=0", f"components of the prior 'vamp' {AT_LEAST_ONE}"),
        ("--prior mixture:components=ten", "components of the prior 'mixture': cannot read 'ten'"),
        ("--prior mixture:spread=-1", "spread"),
        ("--prior mixtures", "unknown prior 'mixtures'; allowed: standard, learned, mixture,"),
        ("--prior realnvp:transforms=0", f"transforms of a flow {AT_LEAST_ONE}"),
        ("--prior realnvp --latent 12 1", "top level has one; take spline, maf or learned"),
        ("--prior spatial", "how its 4 units lie: give C x H x W"),
        ("--prior spatial:shape=1x3x2", "1x3x2 of the prior 'spatial' has 6 units"),
        ("--prior vamp:components=500,start=data", "and there are 80; allowed"),
        ("--prior vamp --guide bottomup", "bottomup guide of 2 levels is an integral over"),
        (f"--prior mixture {BY_UNIT} unit", DEPENDENT),
        (f"--prior vamp {BY_UNIT} 2", DEPENDENT),
        (f"--posterior flow {BY_UNIT} unit", "in the guide is FlowDistribution"),
        (f"{BY_UNIT} 9", "level 'z2' has 4 units, fewer than 9"),
        ("--posterior flow --latent 12 1", "a level has one; take iaf or locscale"),
        (
            "--posterior iaf --num-particles 8 --thin 2",
            "posterior locscale at every level, not iaf",
        ),
        ("--posterior flow/flow/flow", "wants 1 or 2 names for 2 levels, got 3"),
    ],
)
def test_parts_that_cannot_be(refused, images, flags, wanted):
    assert wanted in refused("--dataset", images, *flags.split())


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (300, "needs whole levels 0..255 (or fractions in [0, 1]), got 0 to 300"),
        (-1, "got -1 to 255"),
        (12.5, "got level 12.5 at [3, 1, 2]"),
    ],
)
def test_pixels_that_are_no_levels(refused, tmp_path, value, wanted):
    images = np.tile(np.arange(256.0).reshape(16, 4, 4), (5, 1, 1))
    images[3, 1, 2] = value
    np.save(tmp_path / "images.npy", images)
    flags = ("--model", "burda1", "--latent", "4", "--hidden", "5", "--likelihood", "logistic")
    assert wanted in refused("--dataset", tmp_path / "images.npy", *flags)


def test_a_mixture_of_no_logistics(refused, levels):
    flags = ("--model", "burda1", "--latent", "4", "--likelihood", "logistic-mixture:components=0")
    wanted = "components of the likelihood 'logistic-mixture' must be a whole number of at least 1"
    assert wanted in refused("--dataset", levels(4, 4), *flags)


@pytest.mark.parametrize(("height", "width", "side"), [(6, 8, 6), (8, 10, 10)])
def test_sides_that_a_network_cannot_halve(refused, levels, height, width, side):
    flags = ("--model", "image", "--preset", "conv-small", "--latent", "16")
    said = refused("--dataset", levels(height, width), *flags)
    assert f"images of side {side} cannot be halved 2 times; allowed: multiples of 4" in said
