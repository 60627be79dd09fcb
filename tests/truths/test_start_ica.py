"""Independent components on constructed rows: planted sources come back, and nothing else does."""

import numpy as np
import pytest

from pyro_vae.errors import InputError
from pyro_vae.programs.start import ica, rotation
from pyro_vae.programs.start.ica import Sources, independent_components, worth_modelling

SOURCES, PIXELS, ROWS = 6, 9, 4_000


def planted(draw, rows=ROWS, seed=0):
    """Rows (N, D) = centre + sources A', and A (D, r) for sources of variance one."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(PIXELS, SOURCES))
    centre = rng.normal(size=PIXELS)
    return centre + draw(rng, (rows, SOURCES)) @ columns.T, columns, centre


def laplace(rng, shape):
    return rng.laplace(size=shape) / np.sqrt(2)


def uniform(rng, shape):
    return rng.uniform(-np.sqrt(3), np.sqrt(3), size=shape)


def normal(rng, shape):
    return rng.normal(size=shape)


def agreement(found, columns):
    """|cosine| of every planted column with the found one that is most like it, each used once."""
    cosines = np.abs(
        (columns / np.linalg.norm(columns, axis=0)).T @ (found / np.linalg.norm(found, axis=0))
    )
    best = cosines.argmax(axis=1)
    assert len(set(best)) == columns.shape[1], "two sources share a column"
    return cosines.max(axis=1), best


@pytest.mark.parametrize("draw", [laplace, uniform])  # more and less peaked than a normal source
def test_planted_sources_are_recovered_up_to_order_and_sign(draw):
    rows, columns, centre = planted(draw)
    found = independent_components(rows)
    assert found.columns.shape == (PIXELS, SOURCES)  # the rank of the rows, not their width
    cosine, best = agreement(found.columns, columns)
    # Errors of a rotation are of the order 1 / sqrt(N) = 0.016.
    assert cosine.min() > 1 - 0.06**2
    norms = np.linalg.norm(found.columns[:, best], axis=0) / np.linalg.norm(columns, axis=0)
    np.testing.assert_allclose(norms, 1, atol=0.1)
    np.testing.assert_allclose(found.centre, centre, atol=5 * rows.std() / np.sqrt(ROWS))
    assert found.converged


def test_normal_sources_are_not_recovered():
    """The same recovery fails where no rotation is better than another: the test can fail."""
    rows, columns, _ = planted(normal)
    cosines = np.abs(
        (columns / np.linalg.norm(columns, axis=0)).T
        @ (lambda c: c / np.linalg.norm(c, axis=0))(independent_components(rows).columns)
    )
    assert np.sort(cosines.max(axis=1))[1] < 0.98


def test_the_columns_make_the_covariance_whatever_the_sources_are():
    for draw in (laplace, normal):
        rows, _, _ = planted(draw, rows=300)
        found = independent_components(rows)
        np.testing.assert_allclose(found.columns @ found.columns.T, np.cov(rows.T, bias=True))


def test_the_same_seed_gives_the_same_bits_and_another_the_same_sources():
    rows, _, _ = planted(laplace)
    first, again, other = (independent_components(rows, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.columns, again.columns)
    _, order = agreement(other.columns, first.columns)
    np.testing.assert_allclose(other.columns[:, order], first.columns, atol=0.05)  # signs too


@pytest.mark.parametrize("whole_steps", [1, rotation.WHOLE_STEPS])
@pytest.mark.parametrize("draw", [laplace, uniform])
def test_the_rotation_is_a_fixed_point_of_all_rows(draw, whole_steps, monkeypatch):
    """At independent sources s_i E[f(y_i) y_j] is symmetric: the gradient vanishes.

    One step on all rows does not come there from elsewhere: the batches do.
    """
    monkeypatch.setattr(rotation, "WHOLE_STEPS", whole_steps)
    white = draw(np.random.default_rng(0), (ROWS, SOURCES))
    white = (white - white.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T))).T
    turn, settled = rotation.independent_rotation(white, seed=1)
    np.testing.assert_allclose(turn @ turn.T, np.eye(SOURCES), atol=1e-12)

    def largest_gradient(rotation):
        sources = white @ rotation.T
        products = np.tanh(sources).T @ sources / ROWS
        return np.abs(products - products.T).max()

    assert settled
    assert largest_gradient(turn) < 1e-4
    elsewhere = np.linalg.qr(np.random.default_rng(2).normal(size=turn.shape))[0]
    assert largest_gradient(elsewhere) > 1e-2


def test_of_many_rows_some_are_looked_at(monkeypatch):
    rows, columns, _ = planted(laplace)
    monkeypatch.setattr(ica, "MAX_ROWS", 1_500)
    few = independent_components(rows)
    assert agreement(few.columns, columns)[0].min() > 1 - 0.1**2
    monkeypatch.undo()
    assert not np.array_equal(few.columns, independent_components(rows).columns)


def test_negentropy_ranks_shapes_and_vanishes_for_the_normal():
    """0.10 for a Laplace density by the expansion; 0.07 is exact."""
    rng = np.random.default_rng(1)
    flat, peaked = rng.normal(size=(200_000, 1)), rng.laplace(size=(200_000, 1))
    assert ica._negentropy(flat) == pytest.approx(0, abs=1e-4)
    assert ica._negentropy(peaked) == pytest.approx(0.104, abs=0.01)
    assert ica._negentropy(7 * peaked) == pytest.approx(float(ica._negentropy(peaked)[0]))


def test_what_a_unit_is_worth():
    """Zero for a direction without variance; exact for a normal one, by two log-densities."""
    columns = np.array([[3.0, 0.0], [0.0, 1e-9]])
    found = Sources(columns, np.zeros(2), np.array([0.0, 0.0]), True)
    noise = 0.5
    x = np.random.default_rng(0).normal(scale=np.hypot(3.0, noise), size=400_000)
    variance = 9 + noise**2
    with_unit = -np.log(variance) / 2 - x**2 / (2 * variance)
    as_noise = -np.log(noise**2) / 2 - x**2 / (2 * noise**2)
    gain = with_unit - as_noise
    worth = worth_modelling(found, noise)
    assert worth[0] == pytest.approx(gain.mean(), abs=5 * gain.std() / np.sqrt(len(x)))
    assert worth[1] == pytest.approx(0, abs=1e-12)


def test_iterations_that_end_too_early_are_told_of(monkeypatch):
    monkeypatch.setattr(rotation, "STEPS", 1)
    monkeypatch.setattr(rotation, "WHOLE_STEPS", 1)
    rows, _, _ = planted(laplace)
    found = independent_components(rows)
    assert not found.converged
    assert np.isfinite(found.columns).all()


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (np.zeros((5, 3)), "constant"),
        (np.full((5, 3), np.nan), "finite"),
        (np.zeros((1, 3)), "N >= 2, got \\(1, 3\\)"),
        (np.zeros(3), "got \\(3,\\)"),
    ],
)
def test_rows_that_nothing_can_start_from(rows, match):
    with pytest.raises(InputError, match=match):
        independent_components(rows)
