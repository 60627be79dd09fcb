"""Figures 7.1 to 7.9 of Gatopoulos 2020: which runs each takes, what stands in its rows."""

import numpy as np
import pandas as pd
import pytest

import pyro_vae
from analysis import image_routes, image_steps
from analysis.probes import steps
from analysis.reporting.finished import FinishedRun
from analysis.reporting.measurements import MEASUREMENTS
from analysis.reporting.paper_pictures import FIGURES, Shown
from analysis.reporting.sections.steps import entries
from analysis.reporting.store import Store
from analysis.reporting.study import Settings, load_study
from analysis.reporting.titles import TITLES, title_of
from pyro_vae import PairConfig
from pyro_vae.errors import InputError
from pyro_vae.evaluation import route_rates
from pyro_vae.runs import new_config
from tests.conftest import bare_runs, run_fit
from tests.self_supervised import tiny_images

SHAPE, COUNT = (3, 8, 8), 4
TRANSFORMS = {"small": ["downscale:2"], "sketch": ["sketch"], "many": ["downscale:2"] * 2}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Runs of every kind, as they begin."""
    folder = tmp_path_factory.mktemp("runs")
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "data.npz", x_train=images[:20], x_test=images[20:])
    runs = []
    for name, texts in TRANSFORMS.items():
        config = new_config({"model": "ssvae", "transforms": texts})
        runs.append(FinishedRun(folder / name, *tiny_images(texts, SHAPE), config))
    for prior in ("standard", "realnvp"):
        config = new_config({"model": "image", "prior": prior})
        pair = PairConfig("image", preset="conv", latent=(4,), prior=prior).build(192, SHAPE)
        runs.append(FinishedRun(folder / prior, *pair, config))
    data = pyro_vae.load_dataset(str(folder / "data.npz"), pixels="levels", num_valid=5)
    return Shown(runs, data, COUNT, rated=6)


@pytest.mark.parametrize("number", FIGURES)
def test_every_figure_has_rows_of_images_of_its_runs(shown, number):
    parts = [*FIGURES[number](shown)]
    of = {"7.2": "small", "7.3": "small", "7.4": "sketch", "7.5": "sketch"}
    of |= {"7.6": "many", "7.9": "many"}
    for title, rows in parts:
        assert number not in of or title.endswith(f": {of[number]}"), title
        for name, images in rows.items():
            assert images.shape == (COUNT, 8, 8, 3), name
            assert images.min() >= 0
            assert images.max() <= 1
    if number in ("7.7", "7.8"):
        assert len(parts) == 5
    x = shown.data.test[:COUNT].reshape(COUNT, *SHAPE).movedim(1, -1)
    drawn = {"7.3", "7.5", "7.8"}
    for title, rows in parts:
        if "x" in rows and number not in drawn and "generated" not in title:
            np.testing.assert_allclose(rows["x"], x, atol=1e-6)


def test_what_no_run_is_of_the_kind_for_is_said(shown):
    alone = Shown(shown.runs[-1:], shown.data, COUNT)
    for number, kind in (("7.2", "smaller"), ("7.4", "sketch"), ("7.6", "several transforms")):
        with pytest.raises(InputError, match=kind):
            next(FIGURES[number](alone))
    with pytest.raises(InputError, match="in one step"):
        next(FIGURES["7.1"](Shown(shown.runs[:1], shown.data, COUNT)))


def test_draws_share_what_is_kept_and_nothing_else(shown):
    """Given all latents and a single y, E[x | .] is one image; given the top alone draws differ."""
    model, guide = shown.many.model, shown.many.guide
    x = shown.x
    top = steps.varied(model, guide, x, ("z3",), draws=2)
    assert not np.array_equal(top["draw 1"], top["draw 2"])
    again = steps.varied(model, guide, x, ("z3",), draws=2)
    np.testing.assert_array_equal(top["draw 2"], again["draw 2"])


@pytest.fixture(scope="module")
def trained(shown, tmp_path_factory):
    """Directories of a plain and of a self-supervised run, trained for an epoch."""
    folder = tmp_path_factory.mktemp("trained")
    data = ("--dataset", shown.runs[0].path.parent / "data.npz", "--valid-size", 4)
    judged = ("--test-size", 4, "--objective", "elbo", "--num-particles", 1)
    with pytest.MonkeyPatch.context() as patch:
        bare_runs(patch)
        flags = ("--model", "image", "--preset", "conv", "--latent", 4)
        assert run_fit(*flags, *data, *judged, "--run-dir", folder / "one") == 0
        flags = ("--model", "ssvae", "--likelihood", "logistic", "--transforms", "downscale:2")
        assert run_fit(*flags, *data, *judged, "--run-dir", folder / "many") == 0
    return folder / "one", folder / "many"


@pytest.mark.slow
def test_the_commands_write_pictures_and_rates(trained, tmp_path, capsys):
    one, many = map(str, trained)
    words = ["--out", str(tmp_path / "out"), "--columns", "3", "--images", "4"]
    assert image_steps.main([one, many, *words]) == 0
    text = capsys.readouterr().out
    assert "no figure 7.4: none of the runs" in text
    drawn = {path.name for path in (tmp_path / "out").iterdir()}
    assert drawn == {
        *(f"figure-7.{number}.png" for number in (1, 2, 3, 7, 8)),
        "figure-7.7-rates.png",
        "figure-7.7-rates.csv",
    }
    table = pd.read_csv(tmp_path / "out/figure-7.7-rates.csv")
    assert [*table.run] == ["one"] + ["many"] * 4
    assert [*table.route] == ["RS", "RS1", "RS2", "from y1", "CR"]
    assert image_routes.main([many, *words]) == 0
    alone = pd.read_csv(tmp_path / "out/rates.csv")
    expected = table[1:].drop(columns="run").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, expected, check_dtype=False)
    assert image_routes.main([one, *words]) == 2
    assert "images are made in one step" in capsys.readouterr().err


def test_the_report_shows_steps_routes_and_rates(trained, tmp_path):
    store = Store(tmp_path / "measured", MEASUREMENTS)
    study = load_study(trained, Settings(test_size=5), store)
    found = {entry.name: entry.build() for entry in entries(study)}
    assert [*found] == ["route-rates", "steps-1", "routes-1"]
    table = found["route-rates"].table
    assert [*table.route] == ["RS", "RS1", "RS2", "from y1", "CR"]
    many = table[1:].reset_index(drop=True)
    subject = study.subjects[1]
    rates = route_rates(subject.run.model, subject.run.guide, subject.natural.test[:5])
    by_hand = pd.DataFrame([rate.row() for rate in rates])
    pd.testing.assert_frame_equal(many[[*by_hand]], by_hand, check_dtype=False)
    assert all(one.figure is not None for one in found.values())
    assert all(title_of(name) in TITLES.values() or "(1)" in title_of(name) for name in found)
    plain = load_study(trained[:1], Settings(test_size=5), store)
    (rates,) = entries(plain)
    with pytest.raises(InputError, match="in one step"):
        rates.build()
