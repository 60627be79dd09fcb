"""Pictures of ArviZ data: planted pairs are found, panels show the draws, pyplot is left alone."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray
from matplotlib.figure import Figure

from analysis.pictures import posterior
from analysis.reporting.sections import arviz_plots
from pyro_vae.errors import InputError
from pyro_vae.export import netcdf_bytes, to_inference_data
from pyro_vae.export.arviz_forms import arviz_data
from tests.conftest import tiny_pair

UNITS = 6


def make(correlation=0.8, draws=200, seed=0, khat=(0.1, 0.9, np.nan, 0.5)):
    """Draws of z2 for patches 10 and 20; in patch 20 units 1 and 4 are correlated."""
    rng = np.random.default_rng(seed)
    z2 = rng.normal(size=(1, draws, 2, UNITS))
    shared = z2[:, :, 1, 1]
    z2[:, :, 1, 4] = correlation * shared + (1 - correlation**2) ** 0.5 * z2[:, :, 1, 4]
    z2[:, :, 1, 3] = 3.0 + 0.1 * z2[:, :, 1, 3]
    dims = ("chain", "draw", "datum", "z2_unit")
    labels = {"datum": [10, 20]}
    return arviz_data(
        {
            "posterior": xarray.Dataset({"z2": (dims, z2)}, coords=labels),
            "prior": xarray.Dataset(
                {"z2": (("chain", "draw", "z2_unit"), rng.normal(size=(1, draws, UNITS)))}
            ),
            "importance_diagnostics": xarray.Dataset({"khat": ("datum", np.array(khat, float))}),
        }
    )


@pytest.fixture(scope="module")
def idata():
    return make()


@pytest.fixture
def ax():
    before = plt.get_fignums()
    yield Figure(layout="constrained").subplots()
    assert plt.get_fignums() == before


def test_the_planted_pair_is_the_strongest_and_beyond_chance(idata):
    pair = posterior.strongest_pair(idata, 20)
    assert pair.units == (1, 4)
    draws = idata.posterior["z2"].sel(datum=20).values[0]
    assert pair.correlation == pytest.approx(np.corrcoef(draws[:, 1], draws[:, 4])[0, 1])
    assert abs(pair.correlation - 0.8) < 5 * (1 - 0.8**2) / 200**0.5
    assert pair.correlation > 3 * pair.chance


def test_independent_units_have_a_strongest_pair_at_the_level_of_chance(idata):
    pair = posterior.strongest_pair(idata, 10, shuffles=200)
    # The largest of 15 null correlations of sd 1 / sqrt(200) averages 1.9 sd: 0.13.
    assert 0.11 < pair.chance < 0.16
    assert abs(pair.correlation) < 2 * pair.chance
    assert posterior.strongest_pair(make(-0.8), 20).correlation < -0.6


def test_units_that_never_move_form_no_pair():
    still = make()
    still.posterior["z2"][..., 1:] = 0.0
    with pytest.raises(InputError, match="1 units of z2 vary"):
        posterior.strongest_pair(still, 20)


def test_the_pair_plot_shows_the_draws_of_these_units(ax, idata):
    posterior.plot_pair(ax, idata, 20, (1, 4))
    shown = np.asarray(ax.collections[0].get_offsets())
    draws = idata.posterior["z2"].sel(datum=20).values[0]
    np.testing.assert_array_equal(shown, draws[:, [1, 4]])
    assert "z2, unit 1" in ax.get_xlabel()
    assert "z2, unit 4" in ax.get_ylabel()


def test_the_forest_has_a_row_per_unit(ax, idata):
    posterior.plot_forest(ax, idata, 20)
    assert {text.get_text() for text in ax.get_yticklabels()} == {f"unit {u}" for u in range(UNITS)}
    assert ax.get_xlim()[1] > 3


def test_a_large_level_shows_the_units_farthest_from_zero(ax, idata):
    posterior.plot_forest(ax, idata, 20, max_units=1)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["unit 3"]


def test_the_density_shows_posterior_and_prior(ax, idata):
    posterior.plot_density(ax, idata, 20, 3)
    curves = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) > 10]
    assert len(curves) == 2
    centres = sorted(float(curve.mean()) for curve in curves)
    assert abs(centres[0]) < 0.6
    assert abs(centres[1] - 3) < 0.2
    assert {text.get_text() for text in ax.figure.axes[0].get_legend().get_texts()} == {
        "posterior",
        "prior",
    }


def test_khat_is_drawn_for_patches_that_have_one(ax, idata):
    np.testing.assert_array_equal(posterior.khats(idata), [0.1, 0.9, 0.5])
    posterior.plot_khat(ax, idata)
    heights = np.asarray(ax.collections[0].get_offsets())[:, 1]
    np.testing.assert_array_equal(heights, [0.1, 0.9, 0.5])
    assert ax.get_title() == "33% of 3 above 0.7"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ax, idata: posterior.plot_forest(ax, idata, 20, "z7"), "no level 'z7'"),
        (lambda ax, idata: posterior.plot_forest(ax, idata, 11), "no patch 11"),
        (lambda ax, idata: posterior.plot_pair(ax, idata, 20, (0, 6)), "no unit 6"),
        (lambda ax, idata: posterior.plot_density(ax, idata, 20, -1), "no unit -1"),
        (lambda ax, idata: posterior.plot_forest(ax, make(draws=5), 20), "5 posterior draws"),
        (lambda ax, idata: posterior.khats(make(khat=(np.nan,) * 4)), "no patch has an estimate"),
        (
            lambda ax, idata: posterior.khats(arviz_data({"posterior": xarray.Dataset()})),
            "no k-hat",
        ),
    ],
)
def test_what_is_not_there_is_named(ax, idata, call, message):
    with pytest.raises(InputError, match=message):
        call(ax, idata)


class Subject:
    def __init__(self, path, label, seed=0):
        self.run = type("Run", (), {"path": path})
        self.label, self.seed, self.name = label, seed, f"{label}, seed {seed}"


class Study:
    def __init__(self, *subjects):
        self.subjects = subjects
        self.settings = type("Settings", (), {"seed": 0})

    def examples(self):
        return list({subject.label: subject for subject in reversed(self.subjects)}.values())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run directory with the ArviZ data of a real pair, one without, one with a broken file."""
    folder = tmp_path_factory.mktemp("runs")
    model, guide = tiny_pair()
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    idata = to_inference_data(
        model, guide, torch.as_tensor(x), num_draws=40, diagnostic_particles=100, num_particles=2
    )
    for name, content in (("good", netcdf_bytes(idata)), ("none", None), ("broken", b"nonsense")):
        (folder / name).mkdir()
        if content is not None:
            (folder / name / "posterior.nc").write_bytes(content)
    return folder


def test_the_section_draws_what_it_can_and_names_what_it_cannot(runs):
    before = plt.get_fignums()
    study = Study(*(Subject(runs / name, name) for name in ("good", "none", "broken")))
    entries = arviz_plots.entries(study)
    assert [entry.name for entry in entries] == [
        "arviz-khat",
        "arviz-forest-z2",
        "arviz-pair-z2",
        "arviz-density-z2",
    ]
    for entry in entries:
        item = entry.build()
        assert item.sentence.endswith(".")
        assert set(item.table["model"]) == {"good"}
        notes = " ".join(text.get_text() for ax in item.figure.axes for text in ax.texts)
        assert "there is no posterior.nc in none" in notes
        assert "readable" in notes
        item.figure.canvas.draw()
    assert plt.get_fignums() == before
    with pytest.raises(InputError, match=r"there is no posterior\.nc"):
        arviz_plots.entries(Study(Subject(runs / "none", "none")))[1].build()
