"""The Frechet distance: closed forms, invariances, and what it is between samples of one law."""

import numpy as np
import pytest
import torch

from pyro_vae import InputError
from pyro_vae.evaluation.fid import (
    FeatureMap,
    fid,
    frechet_distance,
    frechet_distance_of_moments,
    label_features,
    random_features,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def covariance(size, seed):
    factor = rng(seed).normal(size=(size, size))
    return factor @ factor.T / size


def test_closed_forms_between_gaussians():
    """Diagonal ones differ by |m - m'|^2 + sum (s - s')^2; scaled ones by (1 - c)^2 tr C."""
    m, n = rng().normal(size=(2, 5))
    s, t = rng(1).uniform(0.2, 3, size=(2, 5))
    found = frechet_distance_of_moments(m, np.diag(s**2), n, np.diag(t**2))
    assert found == pytest.approx(((m - n) ** 2).sum() + ((s - t) ** 2).sum(), rel=1e-12)
    C = covariance(6, 2)
    zero = np.zeros(6)
    assert frechet_distance_of_moments(zero, C, zero, 4 * C) == pytest.approx(np.trace(C))
    assert frechet_distance_of_moments(zero, C, zero, C) == pytest.approx(0, abs=1e-12)


def test_two_by_two_by_its_own_formula():
    """tr (C C')^(1/2) of 2 x 2 matrices is sqrt(tr(C C') + 2 sqrt(det C C'))."""
    C, D = covariance(2, 3), covariance(2, 4)
    product = C @ D
    cross = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    found = frechet_distance_of_moments(np.zeros(2), C, np.zeros(2), D)
    assert found == pytest.approx(np.trace(C) + np.trace(D) - 2 * cross, rel=1e-10)
    # The square root of each alone, which is right where both commute, is another number.
    roots = [np.sqrt(np.linalg.eigvalsh(one)) for one in (C, D)]
    assert abs(found - np.square(roots[0] - roots[1]).sum()) > 1e-3


def test_it_is_a_distance_that_rotations_and_shifts_leave_as_it_is():
    a, b = rng().normal(size=(200, 7)), rng(1).normal(size=(150, 7)) * 1.5 + 0.3
    found = frechet_distance(a, b)
    turn = np.linalg.qr(rng(2).normal(size=(7, 7)))[0]
    assert frechet_distance(b, a) == pytest.approx(found, rel=1e-10)
    assert frechet_distance(a @ turn + 2, b @ turn + 2) == pytest.approx(found, rel=1e-10)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * found, rel=1e-10)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-10)
    order = rng(3).permutation(7)
    assert frechet_distance(a[:, order], b[:, order]) == pytest.approx(found, rel=1e-10)
    assert frechet_distance(a[:, order], b) != pytest.approx(found, rel=1e-3)


def test_samples_of_lower_rank_are_in_float64_whatever_they_come_in():
    """Fewer rows than features: against the root of C C' from its own eigenvalues."""
    a, b = rng().normal(size=(2, 50, 64)).astype(np.float32)
    found = frechet_distance(a, b)
    C, D = (np.cov(one.astype(np.float64), rowvar=False) for one in (a, b))
    cross = np.sqrt(np.linalg.eigvals(C @ D).real.clip(0)).sum()
    shift = np.square(a.astype(np.float64).mean(0) - b.astype(np.float64).mean(0)).sum()
    assert found == pytest.approx(shift + np.trace(C) + np.trace(D) - 2 * cross, rel=1e-6)
    assert found == pytest.approx(frechet_distance(a.astype(float), b.astype(float)), rel=1e-12)


@pytest.mark.parametrize("count", [1_000, 4_000])
def test_the_null_grows_with_the_features_and_falls_with_the_images(count):
    """Samples of one N(0, I_d) are (d^2 + 5 d) / (2 n) apart: .54 d^2 / n for d = 64."""
    d = 64
    found = np.array(
        [frechet_distance(*rng(seed).normal(size=(2, count, d))) for seed in range(20)]
    )
    error = found.std(ddof=1) / len(found) ** 0.5
    truth = (d**2 + 5 * d) / (2 * count)
    assert truth == pytest.approx(0.54 * d**2 / count, rel=0.01)
    assert abs(found.mean() - truth) < 4 * error + 0.03 * truth  # the next order in d / n
    assert found.mean() / error > 8  # it is not 0


def labelled(count=600, seed=0):
    """Bars across or along 8 x 8 images, in noise: two classes, as rows."""
    generator = torch.Generator().manual_seed(seed)
    labels, places = torch.arange(count) % 2, torch.arange(count) // 2 % 8
    images = 0.3 * torch.randn(count, 8, 8, generator=generator)
    for image, label, place in zip(images, labels, places, strict=True):
        (image[place] if label else image[:, place]).add_(1.0)
    return images.flatten(1), labels


@pytest.mark.parametrize("shape", [(1, 8, 8), None])
def test_a_small_network_learns_the_labels_and_a_seed_is_a_network(shape):
    rows, labels = labelled(600)
    first, again, other = (
        label_features(rows, labels, shape, num_features=16, steps=100, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first.accuracy > 0.9
    assert np.array_equal(first(rows[:9]), again(rows[:9]))
    assert not np.array_equal(first(rows[:9]), other(rows[:9]))
    assert first(rows[:9]).shape == (9, 16)
    assert ("convolutional" in first.name) == (shape is not None)
    shuffled = label_features(rows, labels[torch.randperm(600)], shape, num_features=16, steps=30)
    assert shuffled.accuracy < 0.75


def test_features_leave_the_global_generator_alone():
    rows, labels = labelled()
    state = torch.get_rng_state()
    label_features(rows, labels, steps=2)
    random_features(rows)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_features_are_rectified_projections_of_any_scale():
    rows, _ = labelled()
    features = random_features(rows, num_features=12, seed=4)
    found = features(rows)
    assert found.shape == (600, 12)
    assert (found >= 0).all()
    assert 0.2 < (found > 0).mean() < 0.8
    scaled = random_features(100 * rows + 7, num_features=12, seed=4)
    np.testing.assert_allclose(scaled(100 * rows + 7), found, atol=1e-4)
    assert not np.allclose(random_features(rows, num_features=12, seed=5)(rows), found)


def test_other_images_stand_apart_from_the_null_and_real_ones_do_not():
    rows, labels = labelled(600)
    settings = {"num_features": 16, "steps": 60}

    def features(seed):
        return label_features(rows, labels, (1, 8, 8), **settings, seed=seed)

    real, more = labelled(800, seed=1)[0], labelled(300, seed=2)[0]
    same = fid(real, more, features)
    assert same.values.shape == same.nulls.shape == (3,)
    assert same.mean < 3 * same.null
    blurred = fid(real, more.reshape(-1, 8, 8).roll(1, 1).flatten(1) * 0.5, features)
    assert (blurred.values > 3 * blurred.nulls).all()
    np.testing.assert_array_equal(blurred.nulls, same.nulls)  # of the same real images
    told = "\n".join(blurred.lines())
    for text in ("300 generated images", blurred.features, "seeds 0, 1, 2", "null", "accuracy"):
        assert text in told


def test_any_map_is_a_feature_map_and_seeds_choose_the_images():
    real, other = torch.randn(900, 5), torch.randn(400, 5)
    found = fid(real, other, FeatureMap(lambda x: x, "pixels", 5), seeds=(3, 4))
    assert found.features == "pixels"
    assert len(set(found.nulls)) == 2
    assert found.accuracy is None
    assert "accuracy" not in "\n".join(found.lines())


@pytest.mark.parametrize(
    ("count", "settings", "match"),
    [
        (451, {}, "451 generated images want 902 real ones, half of them for the null"),
        (5, {}, "5 images are too few for the covariance of 5 features: at least 6"),
        (100, {"seeds": ()}, "at least one seed"),
    ],
)
def test_too_few_images_are_refused(count, settings, match):
    pixels = FeatureMap(lambda x: x, "pixels", 5)
    with pytest.raises(InputError, match=match):
        fid(torch.randn(900, 5), torch.randn(count, 5), pixels, **settings)


def test_bad_tables_and_labels_are_refused():
    with pytest.raises(InputError, match="at least two rows"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(InputError, match="3 features cannot be compared with 4"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))
    rows, labels = labelled(250)
    with pytest.raises(InputError, match="250 rows and 249 labels of 2 classes"):
        label_features(rows, labels[:-1])
    with pytest.raises(InputError, match="of 1 classes"):
        label_features(rows, torch.zeros(250))
    with pytest.raises(InputError, match="constant"):
        random_features(torch.ones(5, 4))
