"""The picture that `sample` and `reconstruct` write: one bright draw hides no other."""

import io

import numpy as np
from PIL import Image

from pyro_vae import load_dataset
from pyro_vae.cli.pictures import grid


def test_patches_of_any_brightness_show_their_structure():
    data = load_dataset("natural", patch_size=8, num_train=50, components=10)
    stripes = np.where(np.arange(8) % 2, 0.4, -0.4) + np.zeros((8, 1))
    mean = np.linspace(-4, 4, 20)[:, None, None]  # of log intensities: factors of 3000 in grey
    images = np.exp(mean + stripes)
    shown = np.asarray(Image.open(io.BytesIO(grid(images, data.preprocessing))).convert("L"))
    inside = shown[shown < 250] / 255  # without the paper between
    dark, bright = np.mean(inside < 0.35), np.mean(inside > 0.65)
    assert dark > 0.25
    assert bright > 0.25
