"""Pictures of a self-supervised pair: every step and route, on one scale and of one side."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from analysis.pictures.steps import plot_rows, rates_figure, routes_page
from analysis.probes import steps
from pyro_vae.evaluation import route_rates
from tests.self_supervised import level_rows, tiny_images

SHAPE, COUNT = (3, 8, 4), 3


@pytest.fixture(scope="module")
def pair():
    return tiny_images(("downscale:2", "greyscale"), SHAPE)


X = level_rows(2 * COUNT, SHAPE)


def test_representations_are_shown_as_large_as_the_image(pair):
    y1, y2 = pair[0].represent(X)
    shown = steps.shown_rows(pair[0], "y2", y2)
    assert shown.shape == (6, 8, 4, 3)
    np.testing.assert_allclose(shown[:, ::2, ::2, 0].reshape(6, -1), y2)
    np.testing.assert_allclose(shown[:, 1::2, 1::2, 2].reshape(6, -1), y2)
    colours = steps.shown_rows(pair[0], "y1", y1)[:, ::2, ::2]
    np.testing.assert_allclose(np.moveaxis(colours, -1, 1).reshape(6, -1), y1)


def test_every_picture_has_its_rows(pair):
    x, other = X[:COUNT], X[COUNT:]
    parts = {
        "steps": steps.generated_steps(pair[0], COUNT),
        "routes": steps.by_every_route(*pair, x),
        "larger": steps.super_resolved(*pair, x),
        "textures": steps.textured(*pair, x, other),
        "between": steps.interpolated(*pair, X[:2], COUNT),
    }
    assert [*parts["steps"]] == ["y2", "y1", "x", "x:mean"]
    assert [*parts["routes"]] == ["x", "RS1", "RS2", "RS3", "from y2", "from y1", "CR"]
    assert [*parts["larger"]] == ["y1 of x", "draw 1", "draw 2", "draw 3", "x"]
    for rows in parts.values():
        for images in rows.values():
            assert images.shape == (COUNT, 8, 4, 3)
            assert 0 <= images.min() <= images.max() <= 1
    draws = parts["larger"]
    assert not np.array_equal(draws["draw 1"], draws["draw 2"])
    figure = routes_page([*parts.items()])
    assert [ax.get_title() for ax in figure.axes] == [*parts]
    ax = plot_rows(Figure().subplots(), draws, "larger")
    assert [label.get_text() for label in ax.get_yticklabels()] == [*draws]


def test_rates_stand_in_one_figure(pair):
    torch.manual_seed(0)
    rates = pd.DataFrame([rate.row() for rate in route_rates(*pair, X)])
    unknown = rates.assign(psnr=np.nan)
    figure = rates_figure({"one": rates, "other": unknown})
    for ax, times in zip(figure.axes, (1, 1, 2), strict=True):
        assert sorted(text.get_text() for text in ax.texts) == sorted([*rates.route] * times)
    assert [line.get_label() for line in figure.axes[2].lines] == ["one", "other"]
    assert "bits-back" in figure.axes[1].get_xlabel()
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), rates.share)
