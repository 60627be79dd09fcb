"""Pixel spaces: as good as their names, and one place for what follows from them."""

import copy
import json
import pickle

import numpy as np
import pytest

from pyro_vae.datasets import PIXEL_SPACES, Dataset, PixelSpace, pixel_space
from pyro_vae.errors import InputError
from pyro_vae.programs.likelihoods import LIKELIHOODS
from tests.conftest import tiny_architecture


@pytest.mark.parametrize("name", PIXEL_SPACES)
def test_a_space_is_as_good_as_its_name(name):
    space = pixel_space(name)
    assert space == name
    assert {name: 1}[space] == 1
    assert f"{space}" == str(space) == name
    assert json.loads(json.dumps({"pixels": space})) == {"pixels": name}
    for same in (pixel_space(space), pickle.loads(pickle.dumps(space)), copy.deepcopy(space)):
        assert same is space
    with pytest.raises(AttributeError, match="cannot be changed: drawn"):
        space.drawn = True


def test_what_the_two_spaces_say():
    binary, standardised = pixel_space("binary"), pixel_space("standardised")
    assert (binary.interval, binary.levels, binary.drawn) == ((0, 1), 2, True)
    assert standardised.interval is standardised.levels is None
    images = np.linspace(-1, 1, 2001)
    assert standardised.grey_limit(images) == pytest.approx(0.99, abs=1e-3)
    assert binary.grey_limit(images) is None
    with pytest.raises(InputError, match="unknown pixels 'raw'; allowed: standardised, binary"):
        pixel_space("raw")


def test_datasets_and_architectures_have_spaces_whoever_names_them():
    assert tiny_architecture(pixels="binary").pixels.drawn
    assert Dataset("a", *[None] * 3, image_shape=(2, 2), pixels="binary").pixels.drawn


def test_every_likelihood_is_one_of_a_known_space():
    for made in LIKELIHOODS.values():
        assert pixel_space(made.pixels).likelihoods


def test_there_is_room_for_levels(tmp_path, monkeypatch):
    from pyro_vae.datasets import load_dataset

    levels = PixelSpace(
        "levels", interval=(0.0, 1.0), levels=256, drawn=False, likelihoods=("logistic",)
    )
    monkeypatch.setitem(PIXEL_SPACES, "levels", levels)
    pictures = np.random.default_rng(0).integers(0, 256, (30, 3, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pictures, x_test=pictures)
    data = load_dataset(tmp_path / "a.npz", pixels="levels")
    assert (data.test.numpy() == (pictures / 255).astype(np.float32).reshape(30, 12)).all()
    assert data.pixels.grey_limit(data.test) is None
    assert (data.preprocessing.images(data.test).round() == pictures).all()
