"""What pictures share: names of models along an axis."""

import pytest
from matplotlib.figure import Figure

from analysis.pictures.style import name_models


@pytest.mark.parametrize(
    ("names", "rotation"),
    [
        (["k = 1", "k = 10"], 0),
        (["k = 1", "k = 1, random start"], 30),
        (["k = 1, random start"], 0),  # alone it has room
    ],
)
def test_long_names_of_models_are_slanted(names, rotation):
    ax = Figure().subplots()
    name_models(ax, names)
    assert [label.get_text() for label in ax.get_xticklabels()] == names
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {rotation}
