"""What a start from the data says where something does not fit, and what it refuses."""

import functools

import numpy as np
import pytest
import torch

from pyro_vae.errors import InputError
from pyro_vae.programs import LocScale, PairConfig
from pyro_vae.programs.guides import Guide
from pyro_vae.programs.start import STARTS, DataStart, from_data, rotation

PIXELS = 9
WIDE = ("encoders=20/10", "feedback=5", "priors=12")


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """A short regression: how good it is is tested elsewhere."""
    monkeypatch.setattr(from_data, "regress_", functools.partial(from_data.regress_, steps=2))


@pytest.fixture(scope="module")
def rows():
    """Nine Laplace sources in nine pixels; scales go up and down together."""
    rng = np.random.default_rng(0)
    sources = rng.laplace(size=(2_000, PIXELS)) * np.exp(rng.normal(size=(2_000, 1)) / 2)
    return torch.tensor(sources @ rng.normal(size=(PIXELS, PIXELS)), dtype=torch.float32)


def notices(rows, **settings):
    said = []
    given = {"latent": (10, 1), "hidden": WIDE, "init": "data", **settings}
    model, guide = PairConfig(**given).build(rows.shape[1], rows=rows, say=said.append)
    parameters = [*model.parameters(), *guide.parameters()]
    assert all(torch.isfinite(parameter).all() for parameter in parameters)
    for line in said:
        assert "\n" not in line
    return said


def test_where_everything_fits_nothing_is_said(rows):
    assert notices(rows) == []
    assert notices(rows, guide="bottomup", family=("normal",)) == []


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"latent": (5, 1)}, "z1 has room for 5 (--latent 9 holds all): the 5 most worth"),
        ({"latent": (1, 1)}, "z1 has room for 1 (--latent 9 holds all): the 1 most worth"),
        (
            {"hidden": ("encoders=8/10", "feedback=5", "priors=12")},
            "z1's encoder hold 4 (those of 18 units hold all): the 4 most worth",
        ),
        (
            {"hidden": ("encoders=20,6/10", "feedback=5", "priors=12"), "activation": ("tanh",)},
            "z1's encoder hold 6 (those of 9 units hold all): the 6 most worth",
        ),
        (
            {"latent": (10, 4), "hidden": ("encoders=20/10", "feedback=5", "priors=4")},
            "2 of 4 units of z2 start as factors",
        ),
        ({"hidden": ("encoders=20/10", "feedback=5", "priors=1")}, "0 of 1 units of z2 start"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(rows, settings, match):
    lines = notices(rows, **settings)
    assert any(match in line for line in lines), lines


def test_one_unit_has_no_factors(rows):
    assert any("0 of 1 units of z2" in line for line in notices(rows, latent=(1, 1)))


def test_few_rows_and_constant_pixels_are_told_of(rows):
    few = notices(rows[:6])
    assert any("6 rows are few for ICA in 5 dimensions" in line for line in few)
    flat = rows.clone()
    flat[:, 2:4] = 0.7
    assert any("2 of 9 pixels are constant" in line for line in notices(flat))


def test_an_ica_that_does_not_settle_is_told_of(rows, monkeypatch):
    monkeypatch.setattr(rotation, "STEPS", 1)
    monkeypatch.setattr(rotation, "WHOLE_STEPS", 1)
    assert any("ICA had not settled" in line for line in notices(rows))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"model": "burda1"}, "--init data wants a linear decoder with Gaussian pixels"),
        ({"hidden": ("decoder=7",)}, "--init data wants a linear decoder with Gaussian pixels"),
        ({"init": "ica"}, "unknown init 'ica'; allowed: random, data"),
    ],
)
def test_what_cannot_start_is_refused_before_the_data_are_read(settings, match):
    with pytest.raises(InputError, match=match):
        _ = PairConfig(**{"init": "data", **settings}).architecture


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: x[:1], "N >= 2, got \\(1, 9\\)"),
        (lambda x: x[:0], "rows has shape"),
        (lambda x: torch.ones_like(x), "constant"),
        (lambda x: x / 0, "finite"),
    ],
)
def test_rows_that_nothing_can_start_from(rows, change, match):
    with pytest.raises(InputError, match=match):
        notices(change(rows))


def test_hidden_layers_too_narrow_for_one_source(rows):
    with pytest.raises(InputError, match=r"too narrow for a single source; take --hidden"):
        notices(rows, hidden=("encoders=1/10", "feedback=5", "priors=12"))


def test_pairs_of_another_make_are_refused(rows):
    model, _ = PairConfig(latent=(4,), family=("normal",), model="sparse").build(PIXELS)
    foreign = Guide([LocScale(PIXELS, (5,), 4)])
    with pytest.raises(InputError, match="knows no Guide; allowed: top-down, bottom-up"):
        DataStart(model, foreign).initialise_(rows)
    bernoulli, guide = PairConfig("burda1").build(PIXELS)
    with pytest.raises(InputError, match="wants a linear decoder"):
        DataStart(bernoulli, guide)


def test_every_start_is_a_start():
    for made in STARTS.values():
        assert callable(made.check)
        assert callable(made.initialise_)
        assert made.__doc__
