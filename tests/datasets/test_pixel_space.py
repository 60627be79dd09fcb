"""Pixel spaces: as good as their names, and one place for what follows from them."""

import copy
import json
import pickle

import numpy as np
import pytest

from pyro_vae.datasets import PIXEL_SPACES, Dataset, pixel_space
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


def test_what_the_spaces_say():
    binary, standardised = pixel_space("binary"), pixel_space("standardised")
    levels = pixel_space("levels")
    assert (levels.interval, levels.levels, levels.drawn) == ((0, 1), 256, False)
    assert [space.whole for space in (levels, binary, standardised)] == [True, False, False]
    assert (binary.interval, binary.levels, binary.drawn) == ((0, 1), 2, True)
    assert standardised.interval is standardised.levels is None
    images = np.linspace(-1, 1, 2001)
    assert standardised.grey_limit(images) == pytest.approx(0.99, abs=1e-3)
    assert binary.grey_limit(images) is None
    with pytest.raises(
        InputError, match="unknown pixels 'raw'; allowed: standardised, binary, levels"
    ):
        pixel_space("raw")


def test_datasets_and_architectures_have_spaces_whoever_names_them():
    assert tiny_architecture(pixels="binary").pixels.drawn
    assert Dataset("a", *[None] * 3, image_shape=(2, 2), pixels="binary").pixels.drawn


def test_every_likelihood_is_one_of_a_known_space():
    for made in LIKELIHOODS.values():
        assert pixel_space(made.pixels).likelihoods
