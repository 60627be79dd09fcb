"""HierarchicalVAEEncoder holds what scikit-learn asks of estimators, and says true numbers."""

import pickle
import signal

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pyro_vae import HierarchicalVAEEncoder
from pyro_vae.encoder import estimator
from pyro_vae.errors import InputError
from pyro_vae.evaluation import log_likelihood
from pyro_vae.runs import job

TINY = {"hidden": (8,), "epochs": 1, "num_particles": 2, "device": "cpu"}


def encoder(latent=(3,), **settings):
    return HierarchicalVAEEncoder(latent, **(TINY | {"random_state": 0} | settings))


# scikit-learn has no tag for "at most 1", and its checks give larger numbers: a Bernoulli
# likelihood is checked behind a scaler, in a pipeline, which cannot hold two of the checks.
GREY = make_pipeline(MinMaxScaler(clip=True), encoder(likelihood="bernoulli"))
IN_PLACE = "a Pipeline fits its steps in place, which changes its parameter steps"
CANNOT_HOLD = {
    Pipeline: dict.fromkeys(
        ["check_estimators_overwrite_params", "check_dont_overwrite_parameters"], IN_PLACE
    ),
    HierarchicalVAEEncoder: {},
}


@parametrize_with_checks(
    [
        encoder(),
        encoder((3, 2), level="all", guide="bottomup", family="laplace", objective="elbo"),
        GREY,
    ],
    expected_failed_checks=lambda estimator: CANNOT_HOLD[type(estimator)],
)
def test_every_check_of_scikit_learn_holds(estimator, check):  # as scikit-learn names them
    check(estimator)


def clusters(rows=150, features=6, seed=0):
    """Three clusters of rows in the units of no standardisation, with their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    centres = 20 * rng.standard_normal((3, features))
    return 50 + centres[labels] + 4 * rng.standard_normal((rows, features)), labels


@pytest.fixture(scope="module")
def linear():
    """A pair whose log p(x) is a closed form: one latent unit behind a linear mean."""
    X, _ = clusters(features=3)
    settings = {"hidden": ("encoders=16", "decoder=linear"), "epochs": 20, "num_particles": 5}
    return encoder((1,), **settings, batch_size=25, learning_rate=3e-2).fit(X), X


def evidence(fitted, X):
    """log p(x) in the units of X: N(scale b + mean, scale^2 (W W^T + noise^2 I))."""
    (head,) = fitted.model_.likelihood.loc.parts
    weight, bias = (part.detach().double().numpy() for part in (head.weight, head.bias))
    scale, mean = fitted.preprocessing_.scale, fitted.preprocessing_.mean
    noise = fitted.model_.likelihood.noise
    covariance = scale**2 * (weight @ weight.T + noise**2 * np.eye(len(bias)))
    return multivariate_normal(scale * bias + mean, covariance).logpdf(X)


def test_the_score_is_a_bound_on_the_density_of_x_in_its_own_units(linear):
    """At k = 2000 it is log p(x), within 4 standard errors over 150 rows of noise of their own."""
    fitted, X = linear
    exact = evidence(fitted, X)
    gap = exact - fitted.score_samples(X, num_particles=2_000)
    error = gap.std() / np.sqrt(len(X))
    assert abs(gap.mean()) < 4 * error
    # Without the Jacobian it would be off by this much, hundreds of standard errors.
    assert 3 * np.log(fitted.preprocessing_.scale) > max(5, 100 * error)
    # L_1 and L_5 lie below, in order.
    scores = [fitted.score_samples(X, num_particles=k).mean() for k in (1, 5)]
    assert scores[0] < scores[1] < exact.mean() + 4 * error
    assert fitted.score(X) == scores[1]


def test_other_units_shift_the_score_by_their_jacobian():
    X, _ = clusters()
    scores = [encoder().fit(data).score(data) for data in (X, 1_000 * X - 7)]
    assert scores[1] == pytest.approx(scores[0] - 6 * np.log(1_000), abs=1e-3)


def test_the_score_does_not_depend_on_the_objective_and_is_not_annealed():
    """Two epochs of nothing: the pair is as it began, whatever was to train it."""
    X, _ = clusters()
    objectives = ("iwae", "elbo", "renyi:alpha=0.5", "beta-vae:beta=4", "free-bits:free_bits=1")
    scores = {
        encoder((3, 2), objective=name, learning_rate=1e-30, likelihood="gaussian:noise=0.9")
        .fit(X)
        .score(X)
        for name in objectives
    }
    assert len(scores) == 1


def test_grey_values_are_scored_below_what_they_draw():
    rng = np.random.default_rng(0)
    P = rng.random((40, 5))
    fitted = encoder(likelihood="bernoulli", epochs=5).fit(P)
    drawn = (rng.random((50, *P.shape)) < P).astype(float)
    of_draws = fitted.score_samples(drawn.reshape(-1, 5), num_particles=100).reshape(50, 40)
    error = of_draws.mean(1).std() / np.sqrt(50)
    assert fitted.score_samples(P, num_particles=100).mean() < of_draws.mean() + 4 * error
    x = torch.from_numpy(drawn[0]).float()
    plain = log_likelihood(fitted.model_, fitted.guide_, x, 2_000).numpy()
    gap = plain - fitted.score_samples(drawn[0], num_particles=2_000)
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))


def test_codes_are_posterior_means_in_the_order_of_the_rows():
    X, _ = clusters()
    fitted = encoder().fit(X)
    rows = fitted.preprocessing_.scaled(X)
    with pyro.poutine.trace() as trace, torch.no_grad():
        fitted.guide_(rows)
    mean = trace.trace.nodes["z1"]["fn"].mean.numpy()
    np.testing.assert_allclose(fitted.transform(X), mean, rtol=1e-4, atol=1e-6)


def test_levels_are_chosen_and_named():
    X, _ = clusters()
    fitted = encoder((3, 2), level="all").fit(X)
    assert list(fitted.get_feature_names_out()) == ["z1_0", "z1_1", "z1_2", "z2_0", "z2_1"]
    both = fitted.transform(X)
    np.testing.assert_array_equal(
        clone(fitted).set_params(level="z1").fit(X).transform(X), both[:, :3]
    )
    np.testing.assert_array_equal(fitted.set_params(level="z2").transform(X), both[:, 3:])
    frame = fitted.set_output(transform="pandas").transform(pd.DataFrame(X, index=range(7, 157)))
    assert list(frame.columns) == ["z2_0", "z2_1"]
    assert frame.index[0] == 7


def test_codes_go_back_to_the_units_of_x(linear):
    fitted, X = linear
    Z = fitted.transform(X)
    back = fitted.inverse_transform(Z)
    (head,) = fitted.model_.likelihood.loc.parts
    rows = Z @ head.weight.detach().double().numpy().T + head.bias.detach().double().numpy()
    how = fitted.preprocessing_
    np.testing.assert_allclose(back, how.scale * rows + how.mean, rtol=1e-6)
    assert ((back - X) ** 2).mean() < 0.5 * X.var()


def test_codes_of_a_higher_level_go_back_through_the_means_of_those_below():
    X, _ = clusters()
    fitted = encoder((3, 2), level="z2").fit(X)
    Z = fitted.transform(X)
    (below,) = fitted.model_.conditionals
    with torch.no_grad():
        z1 = below(torch.from_numpy(Z).float()).mean.double().numpy()
    through = fitted.inverse_transform(Z)
    fitted.set_params(level="z1")
    np.testing.assert_allclose(through, fitted.inverse_transform(z1), rtol=1e-5)
    fitted.set_params(level="all")
    np.testing.assert_array_equal(
        fitted.inverse_transform(np.hstack([z1, Z])),
        fitted.inverse_transform(np.hstack([z1, 0 * Z])),
    )
    with pytest.raises(InputError, match="Z has 3 features; all of the pair has 5"):
        fitted.inverse_transform(z1)


def test_a_seed_gives_the_same_numbers_and_leaves_the_process_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, _ = clusters()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (encoder((3, 2), epochs=2).fit(X) for _ in range(2))
    assert first.history_[1:] == second.history_[1:]  # row 0 has NaN
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    assert first.score(X) == second.score(X)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert not list(pyro.get_param_store().keys())
    assert not list(tmp_path.iterdir())
    other = encoder((3, 2), epochs=2, random_state=np.random.RandomState(5)).fit(X)
    assert other.history_ != first.history_


def test_a_fitted_estimator_is_pickled_whole():
    X, _ = clusters()
    fitted = encoder((3, 2), level="all").fit(X)
    read = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(read.transform(X), fitted.transform(X))
    assert read.score(X) == fitted.score(X)
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.score(X)


def test_codes_of_a_pipeline_are_classified():
    X, labels = clusters(300)
    scales = 10.0 ** np.arange(6)
    pipeline = make_pipeline(
        StandardScaler(), encoder(epochs=20, batch_size=20), LogisticRegression()
    )
    pipeline.fit(X[:200] * scales, labels[:200])
    assert pipeline.score(X[200:] * scales, labels[200:]) > 0.9  # chance is a third


def test_a_grid_is_searched_by_the_held_out_bound():
    X, _ = clusters(60)
    grid = {"latent": [(1,), (4, 2)], "objective": ["iwae", "elbo"]}
    # The first point again, with a learning rate that moves nothing.
    search = GridSearchCV(
        encoder(epochs=3, batch_size=10),
        [grid, {"latent": [(1,)], "learning_rate": [1e-9]}],
        cv=2,
        error_score="raise",
    ).fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 5
    assert np.isfinite(scores).all()
    assert scores[-1] < scores[0]
    assert search.best_params_ == search.cv_results_["params"][scores.argmax()]
    assert search.score(X) == pytest.approx(search.best_estimator_.score(X))


def test_held_out_rows_are_judged_after_each_epoch():
    X, _ = clusters()
    fitted = encoder(epochs=2, validation_fraction=0.2).fit(X)
    assert [row["epoch"] for row in fitted.history_] == [0, 1, 2]
    assert fitted.n_iter_ == 2
    assert all(np.isfinite(row["bound"]) for row in fitted.history_)
    assert "bound" not in encoder().fit(X).history_[0]
    grey = MinMaxScaler().fit_transform(X)
    held = encoder(likelihood="bernoulli", validation_fraction=0.5).fit(grey)
    assert held.history_[-1]["bound"] < 0  # of drawn pixels, which have probabilities


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"latent": (0,)}, "each number of latent must be a whole number of at least 1, got 0"),
        ({"latent": ()}, "latent must hold the units of at least one level"),
        ({"hidden": (2.5,)}, "each width of hidden must be a whole number"),
        ({"hidden": ()}, "at least one hidden layer"),
        ({"activation": "sine"}, "unknown activation 'sine'"),
        ({"family": "cauchy"}, "unknown family 'cauchy'"),
        ({"guide": "flow"}, "unknown guide 'flow'"),
        ({"prior": "flat"}, "unknown prior 'flat'"),
        ({"likelihood": "poisson"}, "unknown likelihood 'poisson'"),
        ({"likelihood": "gaussian:noise=0"}, "noise must be positive"),
        ({"objective": "vimco"}, "unknown objective 'vimco'"),
        ({"objective": "ciwae"}, "'ciwae' wants beta"),
        ({"num_particles": 0}, "num_particles must be a whole number of at least 1, got 0"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": 2.5}, "batch_size must be"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"validation_fraction": 1.0}, r"validation_fraction must lie in \[0, 1\)"),
        ({"level": "z2"}, "unknown level 'z2'; allowed: z1, all"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"likelihood": "bernoulli"}, r"wants values in \[0, 1\], got"),
    ],
)
def test_what_cannot_be_used_is_named(settings, line):
    X = np.abs(clusters()[0])
    with pytest.raises(InputError, match=line):
        encoder(**settings).fit(X)


def test_constant_data_are_refused():
    with pytest.raises(InputError, match="the values of X vary by 0 only: zero variance"):
        encoder().fit(np.ones((20, 4)))


def test_ctrl_c_reaches_the_caller(monkeypatch):
    """A grid search is not to go on with the next point."""

    def interrupted(*args, **settings):
        return job.fit_pair(
            *args, **settings, on_epoch=lambda _: signal.raise_signal(signal.SIGINT)
        )

    monkeypatch.setattr(estimator, "fit_pair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder(epochs=3).fit(clusters()[0])
