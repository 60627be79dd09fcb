"""What of the runs lies beyond chance: sorted by size, averaged over seeds, told in a sentence."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from analysis.measures.by_name import Named
from analysis.measures.correlation import chance_strongest, pairs
from analysis.reporting import effects, findings
from pyro_vae.errors import InputError


def study_of(accuracies):
    """One model, a run of it for each of the measurements of decoding; no contours."""

    def run(seed, decoded):
        def measured(name):
            if name == "decoding":
                return decoded
            raise InputError("none")

        return SimpleNamespace(
            label="k = 1", seed=seed, name=f"k = 1, seed {seed}", weighted=False, measured=measured
        )

    runs = [run(seed, decoded) for seed, decoded in enumerate(accuracies)]
    return SimpleNamespace(labels=["k = 1"], of=lambda label: runs)


def measured(draws, strongest=0.1):
    """What the report keeps of correlations whose posterior means move as ``draws`` do."""
    units = draws.shape[1]
    pair_mean = np.corrcoef(draws.T)[pairs(units)]
    rng = np.random.default_rng(1)
    return Named(
        units=np.arange(units),
        rows=np.arange(20),
        num_draws=np.array(100),
        pair_average=pair_mean,
        means=rng.normal(size=(20, units)),
        covariance=np.eye(units) * 1e-3,
        strongest=np.full((20, 10), strongest),
        shuffled=rng.uniform(0.05, 0.15, (20, 10)),
    )


def test_the_effect_farthest_from_chance_comes_first_whatever_its_sign(monkeypatch):
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4_000, 6))
    draws[:, 4] -= draws[:, 1]  # r = -0.7, of units 1 and 4
    found = measured(draws)
    accuracies = Named(
        z2_accuracy=np.array([0.5, 0.7]),
        z2_null=np.array([0.2]),
        z1_accuracy=np.array([0.21]),
        z1_null=np.array([0.2]),
        chance_error=np.array(0.01),
    )

    monkeypatch.setattr(effects, "measured", lambda *args: found)
    listed = effects.clear(effects.effects(study_of([accuracies])))
    correlations = [one for one in listed if one.kind == effects.CORRELATION]
    assert "units 1 and 4" in correlations[0].what
    assert correlations[0].value == pytest.approx(-0.7, abs=0.03)
    # 100 draws of each of 20 patches; the null has the sign of what it is compared with.
    assert correlations[0].chance == pytest.approx(-chance_strongest(15, 2_000, 1)[0])
    sizes = [abs(one.beyond) for one in correlations]
    assert sizes == sorted(sizes, reverse=True)
    assert listed[: len(correlations)] == correlations
    # Labels from z1 lie one error from chance: no effect.
    (accuracy,) = [one for one in listed if one.kind == effects.ACCURACY]
    assert (accuracy.value, accuracy.chance) == (pytest.approx(0.6), 0.2)
    assert accuracy.sentence.endswith("0.600; by chance 0.200 ± 0.010, 40 sd away")


def test_an_effect_is_averaged_over_the_seeds_of_its_model(monkeypatch):
    def decoded(value, null):
        return Named(
            z2_accuracy=np.array([value]), z2_null=np.array([null]), chance_error=np.array(0.03)
        )

    def no_correlations(*args):
        raise InputError("none")

    monkeypatch.setattr(effects, "measured", no_correlations)
    study = study_of([decoded(0.5, 0.2), decoded(0.7, 0.2), decoded(0.9, 0.5)])
    (one,) = effects.effects(study)
    assert (one.value, one.chance) == (pytest.approx(0.7), pytest.approx(0.3))
    assert one.error == pytest.approx(0.03 / 3**0.5)
    assert one.sentence.startswith("k = 1, mean of 3 seeds: ")
    (alone,) = effects.effects(study_of([decoded(0.5, 0.2)]))
    assert alone.sentence.startswith("k = 1, seed 0: ")


def correlation(beyond, error):
    return effects.Effect(effects.CORRELATION, "r", "k = 1", "entry", 0.1 + beyond, 0.1, error)


def test_the_summary_says_so_where_no_correlation_lies_beyond_chance():
    nothing = [correlation(0.03, 0.02), correlation(-0.019, 0.01), correlation(0.001, 0.01)]
    told, entry = findings._correlation(nothing)
    assert told.startswith("Of 3 posterior correlations none lies beyond its null")
    assert "0.081; by chance 0.100" in told  # 1.9 errors, the first 1.5
    assert entry == "entry"
    told, _ = findings._correlation([*nothing, correlation(0.0026, 0.001)])
    assert told.startswith("Of the posterior correlations this lies farthest from its null")
    assert "0.103; by chance 0.100" in told


def test_of_many_effects_few_are_called_clear_by_chance():
    alone = correlation(0.025, 0.01)  # 2.5 errors: p = 0.012
    assert effects.clear([alone]) == [alone]
    # As one of ten the limit is 2.81 errors, and those of another kind do not count.
    many = [alone, correlation(-0.029, 0.01), *[correlation(0.001, 0.01)] * 8]
    assert effects.clear(many) == [many[1]]
    other = [dataclasses.replace(one, kind=effects.ACCURACY) for one in many]
    assert effects.clear([alone, *other]) == [alone, other[1]]
    unknown = correlation(0.001, float("nan"))
    assert effects.clear([unknown]) == [unknown]
    rng = np.random.default_rng(0)
    families = rng.normal(size=(400, 20))
    called = [bool(effects.clear([correlation(r, 1.0) for r in one])) for one in families]
    assert np.mean(called) < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_small_effects_are_told_with_a_digit_of_their_error():
    one = effects.Effect(effects.RESPONSE, "share", "k = 1", "entry", 0.00409, 0.0, 0.00014)
    assert one.sentence == "k = 1: share 0.0041; by chance 0.0000 ± 0.0001, 29 sd away"
