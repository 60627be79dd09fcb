"""Gabor fits and classes of filters (truth 18): planted parameters and classes are given back."""

import numpy as np
import pandas as pd
import pytest
from scipy.fft import idctn

from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.classes import classify
from pyro_vae.evaluation.filters.footprint import footprints
from pyro_vae.evaluation.filters.gabor import PARAMETERS, fit_gabors, gabor_images
from pyro_vae.evaluation.filters.projection import Projection, pixels

SHAPE = (20, 20)
SMALL = (12, 12)
COUNT = 16


def planted(count=COUNT, seed=0):
    """Gabors inside 20 x 20 patches: sizes 1.5 to 3.5 pixels, bars up to twice as long."""
    rng = np.random.default_rng(seed)
    ranges = {
        "amplitude": (0.5, 2),
        "x": (4, 15),
        "y": (4, 15),
        "size": (1.5, 3.5),
        "length": (0.8, 2),
        "orientation": (0, np.pi),
        "wavelength": (3, 8),
        "phase": (-np.pi, np.pi),
    }
    table = pd.DataFrame({name: rng.uniform(*bounds, count) for name, bounds in ranges.items()})
    return table.assign(length=table["length"] * table["size"])


def standardised(images):
    return images / np.sqrt((images**2).mean(axis=(1, 2), keepdims=True))


def low_passed_noise(count, rng):
    """Noise in the 128 lowest spatial frequencies, as an untrained decoder has it."""
    coefficients = np.zeros((count, *SHAPE))
    low = np.argsort(np.hypot(*np.indices(SHAPE)), axis=None)[:128]
    coefficients.reshape(count, -1)[:, low] = rng.normal(size=(count, 128))
    return standardised(idctn(coefficients, axes=(1, 2), norm="ortho"))


def waves(angle, wavelength, phase):
    """Gratings over the whole patch."""
    y, x = np.indices(SHAPE)
    angle, wavelength, phase = (
        np.reshape(value, (-1, 1, 1)) for value in (angle, wavelength, phase)
    )
    along = x * np.cos(angle) + y * np.sin(angle)
    return standardised(np.cos(2 * np.pi * along / wavelength + phase))


def gratings(count, rng):
    return waves(*(rng.uniform(*ends, count) for ends in ((0, np.pi), (2.5, 15), (0, 2 * np.pi))))


def plaids(count, rng):
    """Sums of three gratings of 4 to 7 pixels, a sixth of a turn apart."""
    first = rng.uniform(0, np.pi, count)
    return sum(
        waves(first + turn * np.pi / 3, rng.uniform(4, 7, count), rng.uniform(0, 6, count))
        for turn in range(3)
    )


@pytest.fixture(scope="module")
def fitted():
    """Fits of all kinds of filters, with a column ``kind``."""
    rng = np.random.default_rng(1)
    gabors = standardised(gabor_images(planted(), SHAPE))
    shuffled = rng.permuted(gabors.reshape(COUNT, -1), axis=1).reshape(gabors.shape)
    kinds = {
        "gabors": gabors,
        "noisy gabors": gabors + 0.6 * low_passed_noise(COUNT, rng),
        "shuffled gabors": shuffled,
        "white noise": rng.normal(size=(COUNT, *SHAPE)),
        "low-passed noise": low_passed_noise(COUNT, rng),
        "gratings": gratings(COUNT, rng),
        "noisy gratings": gratings(COUNT, rng) + 0.5 * low_passed_noise(COUNT, rng),
        "plaids": plaids(COUNT, rng),
    }
    fits = fit_gabors(np.concatenate(list(kinds.values())))
    return fits.assign(kind=np.repeat(list(kinds), COUNT))


def of_kind(fitted, kind):
    return fitted[fitted["kind"] == kind].reset_index(drop=True)


def classes_of(fitted, kind, **settings):
    return set(classify(of_kind(fitted, kind), **settings)["class"])


def distances(found, truth):
    """Absolute errors, of angles on their circles."""
    errors = {name: (found[name] - truth[name]).abs() for name in PARAMETERS}
    for name, period in (("orientation", np.pi), ("phase", 2 * np.pi)):
        errors[name] = np.minimum(errors[name] % period, -errors[name] % period)
    # Turning the axis by half a turn turns the phase around.
    turned = (found["orientation"] - truth["orientation"]).abs() > np.pi / 2
    mirrored = (found["phase"] + truth["phase"]).abs() % (2 * np.pi)
    errors["phase"] = errors["phase"].where(~turned, np.minimum(mirrored, 2 * np.pi - mirrored))
    return pd.DataFrame(errors)


def test_the_function_and_its_axes():
    table = pd.DataFrame([[2.0, 5, 3, 2, 4, 0, 6, 0.3]], columns=list(PARAMETERS))
    (image,) = gabor_images(table, (9, 11))
    assert image.shape == (9, 11)
    # Orientation 0 points along the columns: x' = x - 5, y' = y - 3.
    expected = 2 * np.exp(-(2**2) / (2 * 2**2) - 3**2 / (2 * 4**2)) * np.cos(np.pi * 2 / 3 + 0.3)
    assert image[6, 7] == pytest.approx(expected, rel=1e-12)
    # A quarter turn takes the axis to the rows, downwards.
    (turned,) = gabor_images(table.assign(orientation=np.pi / 2, x=3, y=5), (11, 9))
    np.testing.assert_allclose(turned, image.T, atol=1e-12)


def test_planted_parameters_are_recovered(fitted):
    truth, found = planted(), of_kind(fitted, "gabors")
    scale = np.sqrt((gabor_images(truth, SHAPE) ** 2).mean(axis=(1, 2)))
    errors = distances(found, truth.assign(amplitude=truth["amplitude"] / scale))
    assert errors.to_numpy().max() < 1e-4
    assert found["r2"].min() > 1 - 1e-8
    np.testing.assert_allclose(found["frequency"], 1 / truth["wavelength"], rtol=1e-4)
    np.testing.assert_allclose(found["scale"], np.sqrt(truth["size"] * truth["length"]), rtol=1e-4)
    # Another filter's parameters are nowhere near.
    assert (distances(found, truth.iloc[::-1].reset_index(drop=True)).max(axis=1) > 0.1).all()


def test_noise_moves_the_parameters_a_little(fitted):
    found = of_kind(fitted, "noisy gabors")
    errors = distances(found, planted()).drop(columns=["amplitude", "phase"])
    assert errors.median().max() < 0.5  # pixels, radians
    # Noise of 0.36 times the energy: the fit explains 1 / 1.36 and a little of the noise.
    assert found["r2"].median() == pytest.approx(1 / 1.36, abs=0.06)


def test_r2_and_coverage_are_those_of_the_returned_parameters(fitted):
    rng = np.random.default_rng(3)
    filters = rng.normal(size=(3, *SMALL))
    found = fit_gabors(filters)
    rest = filters - gabor_images(found, SMALL)
    expected = 1 - (rest**2).sum(axis=(1, 2)) / (filters**2).sum(axis=(1, 2))
    np.testing.assert_allclose(found["r2"], expected, atol=1e-6)
    envelope = gabor_images(found.assign(amplitude=1, wavelength=np.inf, phase=0), SMALL)
    energy = (envelope**2).sum(axis=(1, 2)) ** 2 / (envelope**4).sum(axis=(1, 2))
    np.testing.assert_allclose(found["coverage"], energy / 144, rtol=1e-6)


def test_no_move_from_the_fit_is_better():
    rng = np.random.default_rng(4)
    truth = planted(2).assign(x=[5.0, 6.0], y=[6.0, 4.0])
    filters = rng.normal(size=(2, *SMALL)) + 3 * gabor_images(truth, SMALL)
    found = fit_gabors(filters)
    assert (found["size"] > 0.6).all()  # neither this nor the centre is at a bound
    for name in PARAMETERS:
        for move in (0.05, -0.05):
            rest = filters - gabor_images(found.assign(**{name: found[name] + move}), SMALL)
            r2 = 1 - (rest**2).sum(axis=(1, 2)) / (filters**2).sum(axis=(1, 2))
            assert (r2 < found["r2"] - 1e-6).all(), name


def test_the_gradient_is_that_of_the_squared_residual():
    rng = np.random.default_rng(5)
    filters = rng.normal(size=(2, 144))
    at = np.array([[5.0, 6.5, np.log(2), np.log(3), 0.7, np.log(0.2)], [2, 9, 0.5, 0.2, 4, -2.0]])
    above, below = (
        np.stack([Projection.of(filters, at + move, *pixels(SMALL)).cost for move in moves], 1)
        for moves in (1e-5 * np.eye(6), -1e-5 * np.eye(6))
    )
    here = Projection.of(filters, at, *pixels(SMALL))
    gradient = np.einsum("mip,mp->mi", here.jacobian(), here.residual)
    np.testing.assert_allclose(gradient, (above - below) / 2e-5, rtol=1e-6)


def test_symmetries():
    truth = planted(1).assign(x=5.0, y=6.0, wavelength=4.0, size=1.5, length=2.0, orientation=0.6)
    (image,) = gabor_images(truth, SMALL)
    found = fit_gabors(np.stack([image, -image, image.T, 1e-30 * image, np.roll(image, 1, 1)]))
    base, negative, transposed, tiny, moved = (row for _, row in found.iterrows())
    assert abs(abs(negative["phase"] - base["phase"]) - np.pi) < 1e-4
    assert transposed["x"] == pytest.approx(base["y"], abs=1e-4)
    assert transposed["orientation"] == pytest.approx(np.pi / 2 - base["orientation"], abs=1e-4)
    assert tiny["amplitude"] == pytest.approx(1e-30 * base["amplitude"], rel=1e-4)
    assert tiny["r2"] == pytest.approx(1, abs=1e-8)
    assert moved["x"] == pytest.approx(base["x"] + 1, abs=0.1)  # the last column came round


def test_zero_and_broken_filters_have_no_fit():
    filters = np.stack([np.zeros(SMALL), np.full(SMALL, np.nan), np.ones(SMALL)])
    filters[1, 0, 0] = np.inf
    found = fit_gabors(filters)
    assert found["unit"].tolist() == [0, 1, 2]
    assert found.drop(columns="unit").iloc[:2].isna().all(axis=None)
    assert found.iloc[2].notna().all()
    assert classify(found)["class"].tolist() == ["unresolved", "unresolved", "non-localised"]
    assert not gabor_images(found, SMALL)[:2].any()
    assert fit_gabors(filters[:2])["r2"].isna().all()


@pytest.mark.parametrize("shape", [(4, 100), (0, 8, 8), (3, 8, 3)])
def test_filters_of_wrong_shapes_are_refused(shape):
    with pytest.raises(InputError, match="must have shape"):
        fit_gabors(np.ones(shape))


def test_classes(fitted):
    for kind in ("gabors", "noisy gabors"):
        assert classes_of(fitted, kind) == {"localised"}, kind
    for kind in ("white noise", "low-passed noise", "shuffled gabors"):
        assert classes_of(fitted, kind) == {"unresolved"}, kind
    for kind in ("gratings", "noisy gratings"):
        assert classes_of(fitted, kind) == {"non-localised"}, kind
    sums = classify(of_kind(fitted, "plaids"))["class"]
    assert (sums == "non-localised").mean() > 0.7
    assert not (sums == "localised").any()
    # No single Gabor function explains these: their few frequencies make them structured.
    assert (of_kind(fitted, "plaids")["r2"] < 0.5).mean() > 0.8


def test_each_threshold_holds_something_back(fitted):
    assert "localised" in classes_of(fitted, "low-passed noise", min_r2=0.0)
    assert classes_of(fitted, "gratings", max_coverage=1.0) == {"localised"}
    assert classes_of(fitted, "noisy gabors", min_r2=0.95) != {"localised"}
    loose = classes_of(fitted, "low-passed noise", max_spectral_area=1.0)
    assert loose == {"non-localised"}
    assert "non-localised" not in classes_of(
        fitted, "low-passed noise", max_spectral_area=1.0, min_spread=1.1
    )
    assert "unresolved" in classes_of(fitted, "plaids", max_spectral_area=0.0)
    with pytest.raises(InputError, match="coverage"):
        classify(pd.DataFrame({"r2": [1.0]}))


def test_footprints_of_known_images():
    _, x = np.indices(SHAPE)
    even, point = np.ones(SHAPE), np.zeros(SHAPE)
    point[2, 17] = -3.0
    wave = np.cos(2 * np.pi * x / 5)
    found = footprints(np.stack([even, point, wave]))
    np.testing.assert_allclose(found["compactness"], [0.25, 1, 0.25], atol=1e-12)
    assert found["spread"][0] == pytest.approx(1)
    assert found["spread"][1] < 0.2
    np.testing.assert_allclose(found["spectral_area"], [1 / 400, 1, 2 / 400], atol=1e-12)
    pair = np.zeros((1, *SHAPE))
    pair[0, 2, 2], pair[0, 2, 12] = 3, -1  # energies 9 and 1; the window holds one of them
    assert footprints(pair)["compactness"][0] == pytest.approx(0.9)
    white = footprints(np.random.default_rng(0).normal(size=(200, *SHAPE)))["spectral_area"]
    assert white.mean() == pytest.approx(0.5, abs=0.01)
