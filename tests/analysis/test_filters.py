"""What is made of classified filters: counts, selections, correlations, pictures, the section."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.measures.by_name import Named
from analysis.measures.filters import (
    CLASSES,
    class_counts,
    field_correlation,
    gabor_summary,
    select_gabors,
)
from analysis.pictures import filters as pictures
from analysis.reporting.sections import filters as section
from pyro_vae import Dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.gabor import fit_gabors, gabor_images
from tests.analysis.test_gabor import SMALL, planted


def test_counts_of_active_units():
    table = pd.DataFrame({"class": ["localised"] * 3 + ["non-localised", "unresolved"]})
    assert class_counts(table) == {"active": 5, "localised": 3, "non_localised": 1, "unresolved": 1}
    active = np.array([True, False, True, True, False])
    assert class_counts(table, active) == {
        "active": 3,
        "localised": 2,
        "non_localised": 1,
        "unresolved": 0,
    }
    with pytest.raises(InputError, match="no unit of z1 is active"):
        class_counts(table, ~active & active)
    with pytest.raises(InputError, match="shape"):
        class_counts(table, active[:3])


def test_the_selection_rule():
    good = {"x": 10.0, "y": 10.0, "scale": 4.0, "wavelength": 4.0, "frequency": 0.25}
    breaches = [
        {},
        {"x": 5.9},
        {"x": 14.1},
        {"y": 5.9},
        {"y": 14.1},
        {"scale": 2.9},
        {"scale": 6.1},
        {"wavelength": 2.0, "frequency": 0.5},
        {"frequency": 0.18},
        {"x": np.nan},
    ]
    table = pd.DataFrame([good | breach for breach in breaches])
    assert select_gabors(table).tolist() == [True] + [False] * 9
    # Twice the patch: twice the place and the size, and the same wavelength.
    double = table.assign(x=2 * table["x"], y=2 * table["y"], scale=2 * table["scale"])
    assert select_gabors(double, 40).tolist() == select_gabors(table).tolist()
    assert not select_gabors(double, 20).any()
    assert select_gabors(table, centre=(5, 15))[:5].all()


def test_summary_of_parameters():
    fits = planted(400).assign(r2=np.linspace(0, 1, 400))
    fits["frequency"] = 1 / fits["wavelength"]
    table = gabor_summary(fits).set_index("quantity")
    assert table.loc["r2", ["low", "median", "high"]].tolist() == pytest.approx([0.25, 0.5, 0.75])
    even, one = table.loc["orientation bias"], gabor_summary(fits.assign(orientation=3.0))
    assert even["median"] < even["high"] == pytest.approx(np.sqrt(np.log(20) / 400))
    assert one.iloc[-1]["median"] == pytest.approx(1)
    # Orientations are axes: 0 and pi are one, and 0 and pi / 2 cancel.
    halves = fits.assign(orientation=np.arange(400) % 2 * np.pi / 2)
    assert gabor_summary(halves).iloc[-1]["median"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="no filter"):
        gabor_summary(fits[:0])


def test_field_correlation():
    rng = np.random.default_rng(0)
    fields, error = rng.normal(size=(6, 500)), 0.75
    noisy = fields + error * rng.normal(size=fields.shape)
    table = field_correlation(fields, 3 * noisy, np.full(fields.shape, 3 * error))
    np.testing.assert_allclose(table["correlation"], 0.8, atol=0.06)  # 1 / sqrt(1 + 0.75^2)
    np.testing.assert_allclose(table["ceiling"], 0.8, atol=0.06)
    # E|N(0, 1 / D)| = sqrt(2 / (pi D)) between unrelated fields.
    assert table["other"].mean() == pytest.approx(np.sqrt(2 / np.pi / 500), rel=0.5)
    np.testing.assert_allclose(field_correlation(fields, -fields)["correlation"], -1)
    turn = np.linalg.qr(rng.normal(size=(500, 500)))[0]
    turned = field_correlation(fields @ turn, noisy @ turn)
    np.testing.assert_allclose(turned["correlation"], table["correlation"])
    with pytest.raises(InputError, match="shape"):
        field_correlation(fields, fields[:, 1:])


def ax():
    return Figure().subplots()


def test_the_grid_is_sorted_and_framed():
    images = np.stack([np.full((2, 2), v) for v in (1.0, 4.0, -5.0)])
    classes = ["unresolved", "localised", "localised"]
    shown = pictures.plot_filter_grid(ax(), images, classes, [0.1, 0.6, 0.9], columns=3)
    sheet = np.asarray(shown.get_images()[0].get_array())
    assert sheet.shape == (4, 14, 3)
    frames = [sheet[0, 5 * place] for place in range(3)]
    for frame, name in zip(frames, ("localised", "localised", "unresolved"), strict=True):
        np.testing.assert_allclose(frame, to_rgb(pictures.CLASS_COLOURS[name]))
    # The best fit comes first; each on its own scale: black, white, white.
    assert [sheet[1, 1 + 5 * place, 0] for place in range(3)] == [0, 1, 1]
    texts = [text.get_text() for text in shown.get_legend().get_texts()]
    assert texts == ["localised: 2", "non-localised: 0", "unresolved: 1"]
    with pytest.raises(InputError, match="do not fit"):
        pictures.plot_filter_grid(ax(), images, classes[:2], [0.1, 0.6])


def test_pairs_share_a_scale():
    filters, fits = np.full((1, 4, 4), 2.0), np.full((1, 4, 4), 1.0)
    shown = pictures.plot_fit_pairs(ax(), filters, fits, [0.5])
    sheet = np.asarray(shown.get_images()[0].get_array())
    assert sheet[4:, :8, 0].tolist() == [[1.0] * 4 + [0.75] * 4] * 4
    assert [text.get_text() for text in shown.texts] == ["0.50"]
    with pytest.raises(InputError, match="do not fit"):
        pictures.plot_fit_pairs(ax(), filters, fits[:, 1:], [0.5])


def test_counts_and_parameters_are_drawn():
    counts = pd.DataFrame(
        {
            "model": ["a", "a", "b"],
            "seed": [0, 1, 0],
            "localised": [4, 6, 9],
            "non_localised": [1, 1, 2],
            "unresolved": [0, 2, 3],
        }
    )
    shown = pictures.plot_class_counts(ax(), counts)
    heights = [bar.get_height() for bar in shown.patches]
    assert heights == [5, 9, 1, 2, 1, 3]
    assert sorted(shown.get_lines()[0].get_ydata()) == [4, 6]
    fits = planted(9).assign(model=["a"] * 4 + ["b"] * 5)
    scatter = pictures.plot_gabor_parameters(ax(), fits)
    assert [len(line.get_xdata()) for line in scatter.get_lines()[:2]] == [4, 5]
    (first, _) = pictures.plot_orientations(ax(), fits).patches
    assert first.get_data().values.sum() == pytest.approx(1)


def subject(filters, active, seed=0, label="vanilla"):
    """What the section asks of a run, from planted filters (U, H, W)."""
    rows = filters.reshape(len(filters), -1)
    fields = {"projective": rows, "receptive": 2 * rows, "receptive_se": 0 * rows}
    fits = fit_gabors(filters)
    measured = {
        "filters": fields,
        "activity": {"z1_active": active},
        "gabor": {name: fits[name].to_numpy() for name in fits.columns},
    }
    x = torch.zeros(2, rows.shape[1])
    return SimpleNamespace(
        label=label,
        seed=seed,
        name=f"{label}, seed {seed}",
        measured=lambda name: Named(measured[name]),
        natural=Dataset("toy", x, x, x, image_shape=filters.shape[1:], pixels="standardised"),
    )


def test_the_section(monkeypatch):
    monkeypatch.setattr(section, "NULL_FILTERS", 5)
    rng = np.random.default_rng(0)
    size = 0.15 * 12 / np.array([1, 1, 2])  # the last is too small for the rule
    planned = pd.DataFrame(
        {
            "amplitude": 1.0,
            "x": 6.0,
            "y": [5.0, 6.0, 6.0],
            "size": 1.2 * size,
            "length": 1.6 * size,
            "orientation": [0.3, 1.2, 2.0],
            "wavelength": [4.0, 3.5, 4.0],
            "phase": 0.4,
        }
    )
    filters = np.concatenate([gabor_images(planned, SMALL), rng.normal(size=(2, *SMALL))])
    active = np.array([True, True, True, True, False])
    runs = [subject(filters, active), subject(filters, active, 1), subject(filters, ~active | True)]
    runs[2].label, runs[2].name = "k = 10", "k = 10, seed 0"
    dead = subject(filters, active & False, 0, "dead")
    study = SimpleNamespace(
        subjects=[*runs, dead],
        settings=SimpleNamespace(seed=0),
        examples=lambda: [runs[0], runs[2], dead],
    )
    items = {entry.name: entry.build() for entry in section.entries(study)}
    counts = items["z1-filter-classes"].table
    assert counts[["model", "seed", "active", "localised", "unresolved"]].to_numpy().tolist() == [
        ["vanilla", 0, 4, 3, 1],
        ["vanilla", 1, 4, 3, 1],
        ["k = 10", 0, 5, 3, 2],
    ]
    assert "0 are called localised" in items["z1-filter-classes"].sentence
    over = items["z1-filter-classes-over-seeds"].table.set_index(["model", "quantity"])
    assert over.loc[("vanilla", "localised"), ["mean", "sd", "n"]].tolist() == [3, 0, 2]
    selected = items["z1-gabor-selection"].table
    assert selected["localised"].tolist() == [2] * 3
    assert (selected["selected"] >= 2).all()  # the rule does not ask for goodness
    np.testing.assert_allclose(items["z1-receptive-fields"].table["correlation"], 1)
    panels = items["z1-filters"].figure.axes
    assert (
        panels[0].get_title().endswith("4 active units: 3 localised, 0 non-localised, 1 unresolved")
    )
    assert "no unit of z1 is active" in panels[2].texts[0].get_text()
    assert {name for name, item in items.items() if item.figure is None} == {
        "z1-filter-classes-over-seeds"
    }
    for entry in section.entries(
        SimpleNamespace(**vars(study) | {"subjects": [dead], "examples": lambda: [dead]})
    ):
        with pytest.raises(InputError, match="no unit of z1 is active"):
            entry.build()
    assert set(counts.columns) >= {name.replace("-", "_") for name in CLASSES}
