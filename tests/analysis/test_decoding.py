"""Decoding of labels: Bayes rates, planted units, nulls at chance."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from analysis.measures import decoding, selection
from analysis.measures.decoding import binomial_error, decode
from analysis.measures.selection import (
    accuracy_as_units_are_added,
    forward_selection,
    most_certain_units,
    random_units_accuracy,
    selective_accuracy,
)
from analysis.pictures.correlation import plot_correlation_matrix
from analysis.pictures.decoding import plot_confusion
from pyro_vae.errors import InputError
from tests.statistics import assert_mean_close, z_score


def two_classes(distances, count, seed):
    """Units normal with unit variance, means +-d/2 in the two classes: Bayes rate Phi(|d| / 2)."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    noise = generator.normal(size=(count, len(distances)))
    return noise + (labels[:, None] - 0.5) * np.asarray(distances), labels


def bayes_rate(distances):
    return stats.norm.cdf(np.linalg.norm(distances) / 2)


PLANTED = (2, 5, 9)


def textures(count, seed, units=12, strength=2.5):
    """Four classes at the corners of a tetrahedron in the planted units; the others are noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    values = generator.normal(size=(count, units))
    values[:, PLANTED] += strength * corners[labels]
    return values, labels


def test_accuracy_is_the_bayes_rate_of_a_gaussian_mixture():
    distances = np.array([1.5, 0.0, -1.0, 0.5])
    truth = bayes_rate(distances)
    # Units of any scale, and a constant one: the decoder standardises.
    scales, shift = np.array([1e-4, 1.0, 1e3, 5.0, 1.0]), np.array([3.0, -1e3, 0.0, 7.0, 2.0])

    def rescaled(data):
        values, labels = data
        return np.column_stack([values, np.zeros(len(values))]) * scales + shift, labels

    train = rescaled(two_classes(distances, 4_000, seed=1))
    test = rescaled(two_classes(distances, 20_000, seed=2))
    found = decode(*train, *test, repeats=3)
    error = binomial_error(truth, 20_000)
    assert np.abs(found.accuracy - truth).max() < 4 * error
    assert abs(found.mean - (truth - 0.03)) > 8 * error  # what a decoder of less would have
    np.testing.assert_allclose(found.confusion.diagonal(), truth, atol=6 * error)
    np.testing.assert_allclose(found.confusion.sum(axis=1), 1.0)
    assert (found.num_train, found.num_test, found.num_units) == (3_200, 20_000, 5)
    assert found.unconverged == 0
    assert found.sd == pytest.approx(found.accuracy.std(ddof=1))
    assert found.standard_error == pytest.approx(np.sqrt(found.mean * (1 - found.mean) / 20_000))
    plain = decode(*two_classes(distances, 4_000, 1), *two_classes(distances, 20_000, 2), repeats=3)
    np.testing.assert_allclose(found.accuracy, plain.accuracy, atol=2e-4)


def test_rows_of_the_confusion_matrix_are_the_true_classes():
    generator = np.random.default_rng(0)
    labels = np.repeat([3, 4, 8], [60, 60, 30])
    # Class 8 lies on top of class 3, which has twice as many data: it is decoded as class 3.
    values = np.where(labels == 4, 9.0, 0.0)[:, None] + 0.1 * generator.normal(size=(150, 1))
    found = decode(values, labels, values, labels, repeats=2)
    assert found.classes.tolist() == [3, 4, 8]
    assert found.confusion[2, 0] > 0.8
    assert found.confusion[0, 2] < 0.2
    assert found.chance == pytest.approx(0.4)
    lacking = decode(values, labels, values[:120], labels[:120], repeats=2)
    assert np.isnan(lacking.confusion[2]).all()
    assert np.isfinite(lacking.confusion[:2]).all()


def test_shuffled_labels_are_decoded_at_chance():
    train, test = textures(240, seed=1), textures(240, seed=2)
    found = decode(*train, *test, repeats=40)
    assert found.chance == 0.25
    # Balanced classes are exchangeable under permutations: the null's mean is 1/4 exactly.
    assert_mean_close(found.null, 0.25)
    assert z_score(found.accuracy, 0.25) > 8
    assert len(decode(*train, *test, repeats=2, null=False).null) == 0
    blind = decode(np.ones_like(train[0]), train[1], *test, repeats=2)
    assert blind.accuracy.tolist() == [0.25, 0.25]


def test_repeats_are_different_subsamples_and_follow_the_seed():
    train, test = textures(400, seed=1), textures(400, seed=2)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = decode(*train, *test), decode(*train, *test)
    other = decode(*train, *test, seed=1)
    np.testing.assert_array_equal(first.table(), again.table())
    assert first.sd > 0
    assert not np.array_equal(first.accuracy, other.accuracy)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert first.table().columns.tolist() == ["repeat", "accuracy", "train_accuracy", "null"]


def test_too_many_units_show_in_the_training_accuracy():
    train, test = textures(60, seed=1, units=80), textures(400, seed=2, units=80)
    found = decode(*train, *test, repeats=2)
    assert found.train_accuracy.min() > 0.99
    assert found.mean < 0.9


def test_fits_that_do_not_converge_are_counted(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_ITERATIONS", 1)
    train = textures(200, seed=1)
    assert decode(*train, *train, repeats=3, null=False).unconverged == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a | {"train_labels": np.zeros(80)}, "two or more"),
        (lambda a: a | {"train_labels": np.r_[np.zeros(77), 1, 1, 1]}, "3 training rows"),
        (lambda a: a | {"test_labels": np.full(80, 9)}, "test label"),
        (lambda a: a | {"train": np.full((80, 3), np.nan)}, "finite"),
        (lambda a: a | {"test": a["test"][:, :2]}, "2 units"),
        (lambda a: a | {"train_labels": a["train_labels"][:-1]}, "shape"),
        (lambda a: a | {"train": a["train"][:, :0]}, "shape"),
        (lambda a: a | {"repeats": 0}, "repeats"),
    ],
)
def test_what_cannot_be_decoded_is_refused(change, message):
    values, labels = textures(80, seed=1, units=10)
    given = {"train": values, "train_labels": labels, "test": values, "test_labels": labels}
    with pytest.raises(InputError, match=message):
        decode(**change(given))


def test_forward_selection_gives_back_the_planted_units():
    values, labels = textures(1_000, seed=1)
    found = forward_selection(values, labels)
    assert sorted(found.units) == list(PLANTED)
    assert found.chance == 0.25
    steps = found.steps
    assert steps["unit"].tolist()[:3] == list(found.units)
    assert steps["accepted"].tolist() == [True] * 3 + [False]
    assert steps["gain"].iloc[-1] < 0.01
    np.testing.assert_allclose(np.diff(steps["accuracy"]), steps["gain"][1:], atol=1e-12)
    assert steps["gain"][0] == pytest.approx(steps["accuracy"][0] - 0.25)
    assert found.single[list(PLANTED)].min() > np.delete(found.single, PLANTED).max() + 0.05
    generator = np.random.default_rng(0)
    null = forward_selection(values, generator.permutation(labels), max_units=4)
    assert sorted(null.units) != list(PLANTED)
    assert null.steps["accuracy"].max() < 0.35


def test_the_order_of_units_does_not_change_the_selection():
    values, labels = textures(600, seed=3, units=8 + 2)
    values[:, 7] = values[:, 2]  # a copy of a planted unit is as good, and adds nothing
    values[:, 0] = 4.0  # and a constant one cannot be chosen
    order = np.random.default_rng(0).permutation(values.shape[1])
    found, permuted = forward_selection(values, labels), forward_selection(values[:, order], labels)
    assert len(found.units) == 3
    assert {2, 7} & set(found.units)
    assert not {2, 7} <= set(found.units)
    np.testing.assert_array_equal(
        values[:, list(found.units)], values[:, order][:, list(permuted.units)]
    )
    np.testing.assert_allclose(found.single[order], permuted.single)
    assert np.isnan(found.single[0])


def test_equal_accuracies_are_told_apart_by_the_log_loss():
    labels = np.arange(90) % 2
    noise = np.random.default_rng(0).uniform(-1, 1, size=(90, 2))
    # Both units separate the classes, the second one with less spread within them.
    values = labels[:, None] + noise * [0.4, 0.02]
    assert forward_selection(values, labels).units == (1,)
    assert forward_selection(values[:, ::-1], labels).units == (0,)


def test_every_row_is_held_out_once_and_never_fitted_in_its_part():
    values = np.arange(60.0)[:, None]
    parts = selection._standardised_parts(values, np.arange(60) % 2, 3, seed=0)
    held_out = []
    for fitted, fitted_labels, unseen, unseen_labels in parts:
        assert (len(fitted), fitted_labels.sum(), unseen_labels.sum()) == (40, 20, 10)
        assert fitted.mean() == pytest.approx(0.0)
        assert not np.isin(unseen.round(6), fitted.round(6)).any()
        rows = np.setdiff1d(np.arange(60), _original(fitted, unseen)[0])
        held_out += rows.tolist()
    assert sorted(held_out) == list(range(60))


def _original(fitted, unseen):
    """Standardised rows of 0, 1, ... as the whole numbers they were: their rank among all."""
    ranks = np.argsort(np.argsort(np.concatenate([fitted, unseen])[:, 0]))
    return ranks[: len(fitted)], ranks[len(fitted) :]


def test_selection_keeps_to_candidates_and_limits():
    values, labels = textures(400, seed=1)
    assert forward_selection(values, labels, max_units=1).steps["step"].tolist() == [1]
    assert set(forward_selection(values, labels, candidates=[1, 5, 9]).units) == {5, 9}
    none = forward_selection(values, labels, candidates=[0, 1], min_gain=0.2)
    assert none.units == ()
    assert none.steps["accepted"].tolist() == [False]
    for wrong in ([12], [1, 1], []):
        with pytest.raises(InputError, match="0 to 11"):
            forward_selection(values, labels, candidates=wrong)
    with pytest.raises(InputError, match="varies"):
        forward_selection(np.ones((40, 2)), labels[:40])


def test_units_added_follow_the_bayes_rate():
    distances = np.array([0.0, 2.0, 1.5, 0.0])
    train, test = two_classes(distances, 3_000, 1), two_classes(distances, 10_000, 2)
    table = accuracy_as_units_are_added(*train, *test, [1, 0, 2, 3], repeats=2)
    assert table["unit"].tolist() == [1, 0, 2, 3]
    truth = [bayes_rate(distances[[1, 0, 2, 3]][:count]) for count in (1, 2, 3, 4)]
    np.testing.assert_allclose(table["accuracy"], truth, atol=4 * binomial_error(truth[0], 10_000))
    assert truth[2] - truth[1] > 8 * binomial_error(truth[0], 10_000)


def test_selected_units_have_the_accuracy_and_the_others_none():
    train, test = textures(800, seed=1), textures(2_000, seed=2)
    table = selective_accuracy(*train, *test, PLANTED)
    mean = table.groupby("group")["accuracy"].mean()
    assert abs(mean["other"] - 0.25) < 4 * binomial_error(0.25, 2_000)
    assert mean["selective"] > decode(*train, *test, null=False).mean - 0.01
    assert mean["other"] < mean["random"] < mean["selective"] - 0.1
    assert table.groupby("group")["units"].first().to_dict() == {
        "selective": 3,
        "other": 9,
        "random": 3,
    }
    assert table.loc[table["group"] == "random", "accuracy"].nunique() > 1
    # One unit of twelve at random: now a planted one, now noise.
    single = random_units_accuracy(*train, *test, 1, repeats=15)
    assert single.min() < 0.3 < 0.4 < single.max()
    all_units = selective_accuracy(*train, *test, range(12), repeats=2)
    assert set(all_units["group"]) == {"selective", "random"}
    with pytest.raises(InputError, match="0 to 11"):
        selective_accuracy(*train, *test, ())


def test_most_certain_units_have_the_lowest_mean_variance():
    # Unit 0 has the lower mean sd than unit 1, but the higher mean variance.
    sd = np.array([[0.0, 0.6, 0.1, 2.0], [1.0, 0.6, 0.1, 2.0]])
    assert most_certain_units(sd) == [2, 1]
    assert most_certain_units(sd, candidates=[3, 0]) == [0, 3]
    with pytest.raises(InputError, match="1 units"):
        most_certain_units(sd, candidates=[3])


def test_pictures_of_matrices_want_square_ones():
    ax = Figure().subplots()
    with pytest.raises(InputError, match=r"of 2 classes is square, got shape \(3, 3\)"):
        plot_confusion(ax, np.eye(3), ["a", "b"], "title")
    with pytest.raises(InputError, match=r"square, got shape \(4, 5\)"):
        plot_correlation_matrix(ax, np.zeros((4, 5)))
    with pytest.raises(InputError, match=r"square, got shape \(6,\)"):
        plot_correlation_matrix(ax, np.zeros(6))
