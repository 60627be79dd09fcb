"""What a picture's cells show."""

import numpy as np


def cell(ax, row, column, size):
    """An image of the sheet that was drawn into the axes."""
    sheet = np.asarray(ax.get_images()[0].get_array())
    top, left = row * (size[0] + 1), column * (size[1] + 1)
    return sheet[top : top + size[0], left : left + size[1]]


def tick_names(axis):
    return dict(
        zip(axis.get_ticklocs(), (t.get_text() for t in axis.get_ticklabels()), strict=True)
    )
