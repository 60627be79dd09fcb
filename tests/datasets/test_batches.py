"""Batches: a pure function of (seed, epoch, batch), with honest binarisation."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_vae.datasets import Batches
from pyro_vae.datasets.ahead import ahead
from pyro_vae.errors import InputError

ROWS = torch.arange(23.0)[:, None].repeat(1, 2)
GREY = torch.linspace(0, 1, 101).repeat(400, 1)


def same(left, right):
    left, right = list(left), list(right)
    return len(left) == len(right) and all(
        torch.equal(a, b) for a, b in zip(left, right, strict=True)
    )


@given(
    rows=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**70),
    epoch=st.integers(0, 10**6),
)
@settings(max_examples=50, deadline=None)
def test_each_row_once_and_the_short_last_batch_is_kept(rows, batch_size, seed, epoch):
    batches = Batches(torch.arange(rows)[:, None], batch_size, seed=seed)
    seen = list(batches.epoch(epoch))
    assert len(seen) == len(batches)
    assert [len(b) for b in seen[:-1]] == [batch_size] * (len(seen) - 1)
    assert sorted(torch.cat(seen).flatten().tolist()) == list(range(rows))


@pytest.mark.parametrize("binarise", [None, "static", "epoch", "access"])
def test_start_gives_the_tail_of_the_epoch_bit_for_bit(binarise):
    batches = Batches(GREY, 37, seed=3, binarise=binarise)
    whole = list(batches.epoch(5))
    for start in (0, 1, 4, len(batches) - 1, len(batches)):
        fresh = Batches(GREY, 37, seed=3, binarise=binarise)
        assert same(fresh.epoch(5, start), whole[start:])


def test_epochs_can_be_asked_for_in_any_order():
    batches = Batches(GREY, 50, seed=0, binarise="access")
    later, earlier = batches.epoch(1), batches.epoch(0)
    mixed = [(next(later), next(earlier)) for _ in range(len(batches))]
    assert same((b for b, _ in mixed), batches.epoch(1))
    assert same((b for _, b in mixed), batches.epoch(0))


def test_seed_and_epoch_change_the_order():
    first = torch.cat(list(Batches(ROWS, 5, seed=0).epoch(0)))
    assert not torch.equal(first, torch.cat(list(Batches(ROWS, 5, seed=1).epoch(0))))
    assert not torch.equal(first, torch.cat(list(Batches(ROWS, 5, seed=0).epoch(1))))


@pytest.mark.parametrize("binarise", [None, "epoch", "access"])
def test_global_generator_and_data_are_untouched(binarise):
    data, before = GREY.clone(), torch.get_rng_state()
    list(Batches(data, 64, seed=0, binarise=binarise).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(data, GREY)


@pytest.mark.parametrize("binarise", ["epoch", "access"])
def test_draws_are_binary_with_the_grey_level_as_mean(binarise):
    drawn = torch.cat(list(Batches(GREY, 64, seed=0, binarise=binarise).epoch(0)))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    grey = GREY[0]
    error = (grey * (1 - grey) / len(GREY)).sqrt()
    assert ((drawn.mean(0) - grey).abs() <= 5 * error + 1e-7).all()
    # ... and each epoch draws anew: the second is not the first.
    again = torch.cat(list(Batches(GREY, 64, seed=0, binarise=binarise).epoch(1)))
    assert not torch.equal(drawn, again)


def test_draws_by_epoch_do_not_depend_on_the_batch_size_and_draws_by_access_do():
    def draw(size, binarise):
        return torch.cat(list(Batches(GREY, size, seed=0, binarise=binarise).epoch(0)))

    assert torch.equal(draw(7, "epoch"), draw(100, "epoch"))
    assert not torch.equal(draw(7, "access"), draw(100, "access"))
    assert torch.equal(draw(7, "static"), draw(100, None))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "8"])
def test_bad_batch_sizes(batch_size):
    with pytest.raises(InputError, match="batch_size must be a whole number of at least 1"):
        Batches(ROWS, batch_size, seed=0)


def test_bad_input():
    with pytest.raises(InputError, match="no rows"):
        Batches(torch.empty(0, 3), 2, seed=0)
    with pytest.raises(InputError, match=r"seed .* got -1"):
        Batches(ROWS, 2, seed=-1)
    with pytest.raises(InputError, match="unknown binarise 'always'; allowed: static, epoch"):
        Batches(ROWS, 2, seed=0, binarise="always")
    with pytest.raises(InputError, match=r"pixels in \[0, 1\], got 0 to 22"):
        Batches(ROWS, 2, seed=0, binarise="access")
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        Batches(torch.full((3, 2), torch.nan), 2, seed=0, binarise="epoch")
    batches = Batches(ROWS, 5, seed=0)
    # At the call, not at the first batch.
    with pytest.raises(InputError, match=r"start must be at most 5 .* got 6"):
        batches.epoch(0, 6)
    with pytest.raises(InputError, match=r"epoch must be .* got -1"):
        batches.epoch(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_thread_beside_torch_draws_the_same_pixels(monkeypatch, dtype):
    data = torch.rand(23, 7, dtype=dtype)
    found = {}
    for spare in (True, False):
        monkeypatch.setattr("pyro_vae.datasets.batches.spare_core", lambda spare=spare: spare)
        batches = Batches(data, 5, seed=3, binarise="access")
        found[spare] = [*batches.epoch(2), *batches.epoch(2, start=3)]
    assert [len(batch) for batch in found[True]] == [5, 5, 5, 5, 3, 5, 3]
    for one, other in zip(found[True], found[False], strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)


def test_one_result_is_made_ahead_and_no_thread_stays():
    begun = []

    def make(number):
        begun.append(number)
        return 10 // number

    results = ahead(make, [5, 2, 0, 1])
    assert next(results) == 2
    assert threads() == 1
    assert next(results) == 5
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert begun == [5, 2, 0, 1]
    assert threads() == 0

    left = ahead(make, [1, 2, 5])
    assert next(left) == 10
    left.close()  # training that is interrupted within an epoch
    assert threads() == 0


def threads():
    return sum(one.name.startswith("next-batch") for one in threading.enumerate())
