"""Picture files as new images of a run: cut as its patches are, or sized as its images are."""

import numpy as np
import pytest
from PIL import Image

from pyro_vae import InputError, load_dataset
from pyro_vae.datasets import tiles
from pyro_vae.datasets.new_images import holds_images, read_new_images

SIZE = 8


@pytest.fixture(scope="module")
def levels():
    return np.random.default_rng(0).integers(0, 256, (12, 20, 30), dtype=np.uint8)


@pytest.fixture
def folder(levels, tmp_path):
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(levels):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number:02}.png")
    return tmp_path / "photos"


def patches_of(folder, **settings):
    data = load_dataset(str(folder), patch_size=SIZE, num_train=50, components=10, **settings)
    return data.preprocessing


def test_a_photograph_is_cut_into_patches_side_by_side(folder, levels):
    preprocessing = patches_of(folder)
    found = read_new_images(folder / "03.png", preprocessing)
    np.testing.assert_allclose(found, tiles(levels[3] / 255, SIZE), atol=1e-6)
    rows = preprocessing.rows(found)
    np.testing.assert_allclose(rows, preprocessing.rows(tiles(levels[3], SIZE)), atol=1e-4)
    assert len(read_new_images(folder, preprocessing)) == 12 * 2 * 3


def test_filtered_photographs_stay_whole(folder):
    preprocessing = patches_of(folder, whiten="radial")
    assert read_new_images(folder, preprocessing).shape == (12, 20, 30)


def test_whole_images_are_sized_as_those_of_the_run(folder, tmp_path):
    data = load_dataset(str(folder), image_size=10, pixels="levels")
    found = read_new_images(folder, data.preprocessing)
    assert found.shape == (12, 10, 10)
    assert found.dtype == np.uint8
    colour = tmp_path / "colour"
    colour.mkdir()
    for number in range(10):
        Image.new("RGB", (12, 12), (number, 2, 200)).save(colour / f"{number}.png")
    preprocessing = load_dataset(str(colour), image_size=10, pixels="levels").preprocessing
    new = read_new_images(folder / "00.png", preprocessing)
    assert new.shape == (1, 3, 10, 10)  # grey in three equal channels
    assert preprocessing.rows(new).shape == (1, 300)
    made = read_new_images(colour / "4.png", preprocessing)
    assert np.rint(preprocessing.images(preprocessing.rows(made))).max() == 200


def test_what_cannot_be_taken_is_named(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    Image.new("L", (5, 5)).save(tmp_path / "small.png")
    preprocessing = patches_of(folder)
    rows = np.arange(10 * 16, dtype=np.uint8).reshape(10, 4, 4)
    np.save(tmp_path / "rows.npy", rows)
    whole = load_dataset(str(tmp_path / "rows.npy"), pixels="levels").preprocessing
    Image.new("L", (40, 40)).save(folder / "large.png")
    for path, taken, message in (
        (tmp_path / "empty", preprocessing, "empty holds no images"),
        (tmp_path / "small.png", preprocessing, "small.png: 5 x 5 pixels are smaller than a patch"),
        (folder, whole, "holds images of several shapes"),
    ):
        with pytest.raises(InputError, match=message):
            read_new_images(path, taken)
    assert not holds_images(tmp_path / "codes.npz")
