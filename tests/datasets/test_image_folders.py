"""Folders of images used whole: their colours, sizes, splits and broken files."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae.datasets import load_dataset
from pyro_vae.datasets.image_folders import read_folder
from pyro_vae.datasets.sizing import Sizing
from pyro_vae.errors import InputError


def colour(number, height=6, width=8):
    """An image of one colour that tells its number; the left quarter is black."""
    image = np.full((height, width, 3), (10 * number, 5 * number, 255 - number), dtype=np.uint8)
    image[:, : width // 4] = 0
    return image


def write(folder, pictures):
    for name, picture in pictures.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return folder


def twelve(folder, make=colour):
    return write(folder, {f"{number:02}.png": make(number) for number in range(12)})


def grey(number):
    return colour(number)[..., 0]


def load(folder, **settings):
    return load_dataset(folder, **{"pixels": "levels", "image_size": 3, **settings})


def all_rows(data):
    return torch.cat([data.train, data.valid, data.test]).reshape(-1, *data.image_shape)


def test_colours_stay_and_each_file_is_in_one_split(tmp_path):
    data = load(twelve(tmp_path), crop=(0, 2, 6, 6))
    assert data.image_shape == data.channels_first == (3, 3, 3)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [8, 2, 2]
    rows = (255 * all_rows(data)).round()
    assert torch.equal(rows, rows[:, :, :1, :1].expand_as(rows))
    found = sorted(row[:, 0, 0].tolist() for row in rows)
    assert found == sorted([10 * n, 5 * n, 255 - n] for n in range(12))
    other = load(tmp_path, crop=(0, 2, 6, 6), seed=1)
    assert not torch.equal(other.test, data.test)
    assert torch.equal(load(tmp_path, crop=(0, 2, 6, 6)).test, data.test)
    assert "left_out" not in data.info


def test_the_square_is_cut_from_the_centre(tmp_path):
    data = load(twelve(tmp_path), image_size=6)
    rows = all_rows(data)
    assert (rows[..., :1] == 0).all()  # the second of two black columns
    assert (rows[..., 1:][:, 2] > 0.9).all()


def test_grey_images_stay_grey(tmp_path):
    data = load(twelve(tmp_path, grey))
    assert data.image_shape == (3, 3)
    assert data.channels_first == (1, 3, 3)


def test_mixed_folders_are_told_and_become_colour(tmp_path):
    twelve(tmp_path)
    write(tmp_path, {"grey1.png": grey(20), "grey2.jpg": np.full((9, 9), 77, dtype=np.uint8)})
    with pytest.warns(UserWarning, match="holds 2 grey images and 12 in colour: the grey ones get"):
        data = load(tmp_path)
    assert data.info["grey_images"] == 2
    rows = all_rows(data)
    assert sorted(rows[(rows[:, 0] == rows[:, 2]).all((1, 2)), 0, 2, 2].mul(255).tolist()) == [
        77,
        200,
    ]
    assert len(rows) == 14


def test_broken_files_are_left_out_and_named(tmp_path):
    twelve(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    whole = (tmp_path / "03.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=r"left out: .*\.png is not a readable image") as caught:
        data = load(tmp_path)
    assert len(caught) == 2
    assert data.info["left_out"] == ["broken.png", "cut.png"]
    assert len(all_rows(data)) == 12
    for number in range(4):
        (tmp_path / f"{number:02}.png").unlink()
    with pytest.raises(InputError, match=r"holds 8 images, at least 10 .* \(2 cannot be read: "):
        load(tmp_path)


def test_small_images_are_errors_and_sizes_must_agree(tmp_path):
    twelve(tmp_path)
    write(tmp_path, {"small.png": colour(1, 5, 9)})
    with pytest.raises(InputError, match=r"small\.png: 5 x 9 pixels are smaller than the crop 0 0"):
        load(tmp_path, crop=(0, 0, 6, 6))
    with pytest.raises(InputError, match=r"small\.png: 5 x 9 .* the image size 6"):
        load(tmp_path, image_size=6)
    assert load(tmp_path, image_size=None, crop=(0, 0, 5, 8)).image_shape == (3, 5, 8)


def test_images_of_several_sizes_are_named_where_nothing_brings_them_to_one(tmp_path):
    twelve(tmp_path)
    write(tmp_path, {"small.png": colour(1, 5, 9)})
    small = r"small\.png has 5 x 9 pixels, 00\.png has 6 x 8: image_size brings images to one size"
    with pytest.raises(InputError, match=small):
        read_folder(tmp_path, Sizing())


def test_folders_inside_are_labels(tmp_path):
    write(tmp_path, {f"{'ab'[n % 2]}/{n:02}.png": colour(n) for n in range(12)})
    data = load(tmp_path)
    assert data.label_names == ("a", "b")
    level = (255 * data.test.reshape(-1, 3, 9)[:, 2, -1]).round()
    assert data.labels["test"].tolist() == ((255 - level) % 2).int().tolist()
    write(tmp_path, {"c.png": colour(3)})
    assert load(tmp_path).labels is None


def test_other_depths_and_transparency_are_8_bit_levels(tmp_path):
    twelve(tmp_path / "deep", lambda n: np.full((6, 6), 257 * n + 3, dtype=np.uint16))
    levels = (255 * all_rows(load(tmp_path / "deep"))).round().unique().tolist()
    assert levels == list(range(12))
    opacity = np.full((6, 6, 1), 51, dtype=np.uint8)  # a fifth: four fifths of the paper show
    twelve(tmp_path / "sheer", lambda n: np.dstack([colour(n, width=6), opacity]))
    rows = (255 * all_rows(load(tmp_path / "sheer"))).round()
    assert sorted(rows[:, 2, 2, 2].tolist()) == sorted(
        round((255 - n) / 5 + 204) for n in range(12)
    )


def test_other_pixel_spaces_and_patches(tmp_path):
    twelve(tmp_path)
    data = load(tmp_path, pixels="standardised", image_size=4)
    assert data.channels_first == (3, 4, 4)
    assert all_rows(data)[: len(data.train)].std(correction=0) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="image_size takes the images of a folder whole"):
        load_dataset(tmp_path, pixels="levels")
    with pytest.raises(InputError, match="patch_size is for photographs"):
        load(tmp_path, patch_size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path)
