"""Flips and shifts: what they do to known pixels, and whose draws they are."""

import copy

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae.datasets import Augmentation, Batches
from pyro_vae.errors import InputError
from pyro_vae.runs import new_config
from pyro_vae.runs.data_settings import DataConfig
from pyro_vae.training.parallel import Processes
from tests.conftest import small_patches, tiny_pair

SHAPE = (3, 5, 7)
# Every number tells its channel and its place.
IMAGE = torch.arange(105.0)


def moved(image, down, across, flip):
    """One image (C, H, W), padded by its edges and cut again: another way to the same."""
    image = torch.flip(image, [-1]) if flip else image
    pad = 10
    padded = torch.nn.functional.pad(image[None], (pad,) * 4, mode="replicate")[0]
    height, width = image.shape[-2:]
    return padded[:, pad - down : pad - down + height, pad - across : pad - across + width]


def draws(rows, augmentation, seed=0):
    return augmentation(rows, np.random.default_rng(seed))


def parts(count=4000, **settings):
    rows = IMAGE.repeat(count, 1)
    return draws(rows, Augmentation(**settings).of(SHAPE)).reshape(count, *SHAPE)


def test_every_result_is_a_flip_and_a_shift_with_edges_repeated():
    images = parts(flip=True, shift=2)
    whole = IMAGE.reshape(SHAPE)
    known = {
        moved(whole, down, across, flip).contiguous().numpy().tobytes(): (down, across, flip)
        for down in range(-2, 3)
        for across in range(-2, 3)
        for flip in (False, True)
    }
    assert len(known) == 50
    found = [known[image.contiguous().numpy().tobytes()] for image in images]
    counts = np.array([found.count(what) for what in known.values()])
    # Uniform over all fifty: Pearson's statistic has mean 49 and standard deviation 10.
    chi = ((counts - 80.0) ** 2 / 80).sum()
    assert 49 - 5 * 10 < chi < 49 + 5 * 10


@pytest.mark.parametrize(("settings", "number"), [({"flip": True}, 2), ({"shift": 1}, 9)])
def test_each_alone_does_nothing_else(settings, number):
    assert len(parts(400, **settings).unique(dim=0)) == number


def test_colour_last_and_grey_rows_move_as_channels_do():
    """The same draws move a colour image in either order, and each channel alone, alike."""
    augmentation = Augmentation(flip=True, shift=2)
    first = IMAGE.repeat(50, 1)
    expected = draws(first, augmentation.of(SHAPE)).reshape(50, *SHAPE)
    last = first.reshape(50, *SHAPE).permute(0, 2, 3, 1).reshape(50, -1)
    found = draws(last, augmentation.of((5, 7, 3))).reshape(50, 5, 7, 3)
    assert torch.equal(found.permute(0, 3, 1, 2), expected)
    for shape in ((5, 7), (1, 5, 7)):
        grey = draws(first[:, :35], augmentation.of(shape)).reshape(50, 5, 7)
        assert torch.equal(grey, expected[:, 0])


def batches(binarise=None, seed=3, data=None, augment="flip,shift=2"):
    data = torch.rand(23, 105, generator=torch.Generator().manual_seed(0)) if data is None else data
    augment = None if augment is None else Augmentation.read(augment).of(SHAPE)
    return Batches(data, 5, seed=seed, binarise=binarise, augment=augment)


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(list(left), list(right), strict=True))


@pytest.mark.parametrize("binarise", [None, "epoch", "access"])
def test_batches_are_functions_of_seed_epoch_and_batch(binarise):
    whole = list(batches(binarise).epoch(4))
    for start in range(6):
        assert same(batches(binarise).epoch(4, start), whole[start:])
    assert not same(batches(binarise, seed=4).epoch(4), whole)
    plain = batches(binarise, augment=None)
    assert not same(plain.epoch(4), whole)


def test_each_epoch_and_batch_has_draws_of_its_own_and_the_data_stay():
    data = IMAGE.repeat(20, 1)
    before, state = data.clone(), torch.get_rng_state()
    one, two = (list(batches(data=data).epoch(epoch)) for epoch in (0, 1))
    assert not same(one, two)
    assert not torch.equal(one[0], one[1])
    assert torch.equal(data, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_processes_share_what_one_alone_would_see():
    """Every process makes the whole batch and takes its own rows of it."""
    whole = list(batches().epoch(2))
    shares = []
    for rank in range(2):
        process = Processes()
        process.size, process.rank = 2, rank
        shares.append([process.share(batch) for batch in batches().epoch(2)])
    assert same(map(torch.cat, zip(*shares, strict=True)), whole)


def test_training_resumes_exactly_and_with_the_same_augmentation_only(tmp_path):
    data = torch.rand(23, 6, generator=torch.Generator().manual_seed(0))
    pair = tiny_pair()

    def trained(words="flip,shift=1", checkpoint=None, **settings):
        model, guide = copy.deepcopy(pair)
        pyro_vae.fit(
            model,
            guide,
            data,
            valid=data[:5],
            objective="elbo",
            epochs=2,
            batch_size=6,
            augment=None if words is None else Augmentation.read(words).of((2, 3)),
            compile=False,
            checkpoint=checkpoint,
            progress=False,
            **settings,
        )
        return [value for part in (model, guide) for value in part.state_dict().values()]

    whole = trained()
    assert not same(trained(None), whole)
    cut = tmp_path / "checkpoint.pt"
    trained(checkpoint=cut, max_minutes=1e-9)
    for words in (None, "flip"):
        with pytest.raises(InputError, match=r"trained with augment = flip,shift=1, this run has"):
            trained(words, cut, resume=True)
    trained(checkpoint=cut, resume=True, max_minutes=1e-9)  # one step more
    assert same(trained(checkpoint=cut, resume=True), whole)


def test_whole_levels_stay_whole():
    levels = torch.randint(256, (23, 105), generator=torch.Generator().manual_seed(0)) / 255
    seen = torch.cat(list(batches(data=levels).epoch(0)))
    assert set(seen.unique().tolist()) <= set(levels.unique().tolist())


@pytest.mark.parametrize("text", ["flip", "shift=3", "flip,shift=12"])
def test_words_are_read_and_written(text):
    assert str(Augmentation.read(text)) == text
    assert Augmentation.read(text.replace(",", " , ")) == Augmentation.read(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rotate", "unknown augmentation 'rotate'; allowed: flip, shift=N"),
        ("flip,colour=2", "unknown augmentation 'colour=2'; allowed: flip, shift=N"),
        ("flip=2", "unknown augmentation 'flip=2'"),
        ("", "unknown augmentation ''"),
        ("shift", "augmentation 'shift': shift=N wants a whole number of pixels above 0"),
        ("shift=0", "above 0"),
        ("shift=-2", "above 0"),
        ("shift=1.5", "above 0"),
    ],
)
def test_unknown_words_are_named(text, message):
    with pytest.raises(InputError, match=message):
        Augmentation.read(text)
    with pytest.raises(InputError, match=message):
        new_config({"augment": text})


def test_rows_that_are_no_images_are_refused():
    augmentation = Augmentation(flip=True)
    with pytest.raises(InputError, match=r"flip is for images, .*; the rows have shape \(105,\)"):
        augmentation.of((105,))
    config = DataConfig(augment="flip")
    patches = small_patches("pca")
    with pytest.raises(InputError, match=r"the rows have shape \(9,\)"):
        config.augmentation(patches)
    assert config.augmentation(small_patches("zca")).image_shape == (6, 6)
    with pytest.raises(InputError, match=r"of shape None, which rows of shape \(105,\) are not"):
        Batches(IMAGE[None], 5, seed=0, augment=augmentation)
    with pytest.raises(InputError, match=r"of shape \(5, 7\), which rows of shape \(105,\) are no"):
        Batches(IMAGE[None], 5, seed=0, augment=augmentation.of((5, 7)))
    with pytest.raises(InputError, match=r"5 x 7 pixels out of sight; allowed: shifts of 1 to 4"):
        Augmentation(shift=5).of(SHAPE)
