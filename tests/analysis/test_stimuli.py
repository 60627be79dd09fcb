"""The report's entries of occluded patches and illusory contours."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.measures import illusion
from analysis.measures.illusion import ONE, OTHER
from analysis.pictures import stimuli as pictures
from analysis.probes import inpainting
from analysis.reporting.sections import stimuli as section
from pyro_vae.errors import InputError
from tests.conftest import tiny_pair
from tests.stimuli import QUICK, patches, planted, subject

# The section


def study(*subjects):
    labels = list(dict.fromkeys(run.label for run in subjects))
    return SimpleNamespace(
        subjects=subjects,
        labels=labels,
        settings=SimpleNamespace(seed=0),
        examples=lambda: [next(s for s in subjects if s.label == label) for label in labels],
    )


def built(the_study):
    return {entry.name: entry.build for entry in section.entries(the_study)}


def test_every_entry_is_built_and_a_run_that_fails_is_left_out():
    good = planted()[0]
    pair = tiny_pair(num_pixels=36)
    weighted = subject(*pair, patches(), k=3, label="k = 3", contours=good.measured("contours"))
    good.measured = {
        "inpainting": inpainting.inpaint(subject(*pair, patches()), **QUICK),
        "contours": good.measured("contours"),
    }.__getitem__
    good.natural = patches()
    good.run.model, good.run.guide = pair
    weighted.natural = good.natural

    def refuse(name):
        raise InputError("a dead model")

    dead = SimpleNamespace(label="dead", seed=0, name="dead, seed 0", measured=refuse)
    entries = built(study(good, weighted, dead))
    for name in (
        "inpainting-errors",
        "inpainting-course",
        "inpainting-differences",
        "contour-responses",
        "contour-contrasts",
    ):
        item = entries[name]()
        assert item.sentence.endswith(".")
        assert list(item.table.columns[:2]) == ["model", "seed"]
        assert set(item.table["model"]) == {"k = 1", "k = 3"}
    assert entries["inpainting-examples"]().figure is not None
    with pytest.raises(InputError, match="a dead model"):
        built(study(dead))["contour-responses"]()
    for name in entries:
        with pytest.raises(InputError, match="a dead model"):
            built(study(dead))[name]()


def test_contour_stimuli_are_shown():
    item = built(study(planted()[0]))["contour-stimuli"]()
    (ax,) = item.figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == list(illusion.CONDITIONS)
    assert "unit 0" in [label.get_text() for label in ax.get_yticklabels()]


def test_error_tables_hold_means_errors_and_paired_differences():
    rng = np.random.default_rng(0)
    base = rng.normal(5, 2, size=300)
    found = {
        "error_grey": base,
        "error_sweeps": base - 1 + 0.1 * rng.normal(size=300),
        "error_linear_noise": rng.permutation(base) - 1,
        "error_sweeps_ew": base[:40] - 1.5 + 0.1 * rng.normal(size=40),
    }
    table = section.error_table(found).set_index("method")
    assert list(table.index) == ["grey", "sweeps", "sweeps_ew", "linear_noise"]
    np.testing.assert_allclose(table.loc["grey", "error"], base.mean())
    np.testing.assert_allclose(table.loc["grey", "standard_error"], base.std(ddof=1) / 300**0.5)
    paired = section.difference_table(found).set_index("against")
    assert abs(paired.loc["grey", "difference"] + 1) < 5 * paired.loc["grey", "standard_error"]
    assert paired.loc["grey", "standard_error"] < 0.01 < table.loc["grey", "standard_error"]
    assert paired.loc["grey", "p"] < 1e-9 < 0.001 < paired.loc["linear_noise", "p"]
    assert paired.loc["sweeps", "patches"] == 40
    assert abs(paired.loc["sweeps", "difference"] + 0.5) < 0.1


def test_pictures_name_methods_and_models(ax):
    table = pd.DataFrame(
        {
            "model": ["a", "a", "b", "b"],
            "seed": 0,
            "method": ["grey", "sweeps"] * 2,
            "error": [1.0, 0.5, 1.0, 0.4],
            "standard_error": 0.1,
        }
    )
    assert pictures.plot_errors(ax, table, section.METHODS) is ax
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        section.METHODS["grey"],
        section.METHODS["sweeps"],
    ]
    assert ax.get_legend_handles_labels()[1] == ["a", "b"]
    drawn = [bars[0].get_xdata() for bars in ax.containers]
    np.testing.assert_array_equal(drawn, [[1.0, 0.5], [1.0, 0.4]])


def test_courses_and_shares_are_drawn_as_given():
    one, two = Figure().subplots(1, 2)
    course = np.linspace(1, 0.5, 5)
    pictures.plot_course(one, {"a": [course, course + 1], "b": [course]}, 1.2, 0.3)
    np.testing.assert_array_equal(one.lines[1].get_ydata(), course + 1)
    assert [line.get_ydata()[0] for line in one.lines[-2:]] == [1.2, 0.3]
    table = illusion.contour_shares(1 + np.random.default_rng(0).random((9, 5)))
    table.insert(0, "model", "a")
    pictures.plot_shares(two, table, "condition")
    np.testing.assert_allclose(two.containers[0][0].get_xdata(), table["share"])
    assert [text.get_text() for text in two.get_yticklabels()] == list(illusion.CONDITIONS)
    assert [ONE, OTHER] == [3, 4]
