"""Fingerprints tell other rows from the same, and from the same but for rounding."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch

from pyro_vae.datasets import Dataset, Fingerprint, describe_difference, load_dataset


def dataset(train, image_shape=(4, 5)):
    held_out = torch.arange(40.0).reshape(2, 20)
    return Dataset("toy", train, held_out, held_out, image_shape, "standardised")


def rows(count=2000):
    return torch.randn(count, 20, generator=torch.Generator().manual_seed(0))


def test_the_checksum_is_of_all_values_and_their_order():
    first = dataset(rows())
    assert first.checksum == dataset(rows()).checksum
    changed = rows()
    changed[7, 3] += 1e-6
    swapped = rows()
    swapped[[5, 6]] = swapped[[6, 5]]
    others = [changed, swapped, rows(1999), rows().double(), rows().reshape(4000, 10)]
    sums = {dataset(other).checksum for other in others} | {first.checksum}
    assert len(sums) == len(others) + 1
    assert len(first.checksum) == 64


def test_rounding_agrees_and_one_other_row_does_not():
    first = dataset(rows()).fingerprint
    off = torch.where(torch.rand(2000, 20) < 0.5, 1 + 2.0**-23, 1 - 2.0**-24) * rows()
    assert dataset(off).checksum != first.checksum
    assert dataset(off).fingerprint.agrees(first)
    swapped, moved, cut = rows(), rows(), rows(1999)
    swapped[[5, 6]] = swapped[[6, 5]]
    moved[9, 4] += 0.005
    for other in (swapped, moved, cut, rows().flip(0), -rows()):
        assert not dataset(other).fingerprint.agrees(first)
    # Kept in a file, it is the same.
    back = json.loads(json.dumps(asdict(first)))
    assert Fingerprint(**back).agrees(first)
    assert first.agrees(Fingerprint(**back))
    assert not first.agrees(Fingerprint("0", ()))


def test_differences_are_named(tmp_path):
    path = tmp_path / "a.npy"
    first = np.random.default_rng(0).normal(size=(60, 12))

    def info(array, **settings):
        np.save(path, array)
        return load_dataset(path, **settings).info

    old = json.loads(json.dumps(info(first)))
    for new, message in (
        (info(first), "the values, or their order"),
        (info(first[:50]), "rows in each split: train 48, now 40, valid 6, now 5, test 6, now 5"),
        (info(first.reshape(60, 3, 4)), r"shape of a row: \[12\], now \[3, 4\]"),
        (info(7 * first), r"scale: 1\.00276, now 7\.01929$"),
        (info(first + 1), r"mean: -0\.0105187, now 0\.989481$"),
        (old | {"origin": "b.npy"}, "origin: .*a.npy, now b.npy"),
    ):
        assert re.match(message, describe_difference(old, new)), describe_difference(old, new)


def test_photographs_that_came_or_went_are_named():
    one = {"photographs": {"train": ["a.png", "b.png"], "valid": ["c.png"], "test": ["d.png"]}}
    two = {"photographs": {"train": ["a.png", "x.png"], "valid": ["c.png"], "test": ["d.png"]}}
    assert describe_difference(one, two) == "training photographs: b.png gone; x.png added"
    turned = {"photographs": {**one["photographs"], "train": ["b.png", "a.png"]}}
    assert describe_difference(one, turned) == "training photographs: in another order"


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_every_split_counts(split):
    parts = {name: rows(30) for name in ("train", "valid", "test")}
    first = Dataset("toy", **parts, image_shape=(4, 5), pixels="standardised")
    parts[split] = 2 * parts[split]
    other = Dataset("toy", **parts, image_shape=(4, 5), pixels="standardised")
    assert not other.fingerprint.agrees(first.fingerprint)
