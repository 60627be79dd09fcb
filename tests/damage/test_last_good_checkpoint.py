"""A resume takes the checkpoint before a damaged one, and ends where an unbroken run does."""

import pytest
import torch

from pyro_vae.errors import InputError
from pyro_vae.storage import load_checkpoint, previous, save_checkpoint
from tests.conftest import tiny_pair
from tests.damage.damages import cut
from tests.quick_fit import fit, same


def test_the_one_before_is_kept(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for number in range(3):
        save_checkpoint(path, {"number": number}, keep_previous=True)
    assert load_checkpoint(path)["number"] == 2
    assert load_checkpoint(previous(path))["number"] == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "checkpoint.previous.pt",
        "checkpoint.pt",
    ]


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_resume_goes_on_from_it_bit_for_bit(tmp_path, damage):
    unbroken, pair = tiny_pair(), tiny_pair()
    expected = fit(unbroken, epochs=4)
    path = tmp_path / "checkpoint.pt"
    fit(pair, epochs=4, checkpoint=path, max_minutes=None)
    whole = path.read_bytes()
    assert load_checkpoint(path)["progress"]["epoch"] == 4
    assert load_checkpoint(previous(path))["progress"]["epoch"] == 3
    if damage == "gone":
        path.unlink()
    else:
        changed = bytearray(whole)
        changed[whole.index(next(pair[0].parameters()).detach().numpy().tobytes())] ^= 1
        path.write_bytes(cut(whole, 0.5) if damage == "cut" else changed)
    pair = tiny_pair(seed=5)
    with pytest.warns(UserWarning, match=r"going on from .*checkpoint\.previous\.pt"):
        found = fit(pair, epochs=4, checkpoint=path, resume=True)
    assert same(found.history, expected.history)
    for one, other in zip(pair, unbroken, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    assert load_checkpoint(path)["progress"]["epoch"] == 4


def test_a_damaged_checkpoint_never_becomes_the_one_before(tmp_path):
    path = tmp_path / "checkpoint.pt"
    fit(checkpoint=path)
    good = previous(path).read_bytes()
    path.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="going on from"):
        fit(tiny_pair(), checkpoint=path, resume=True, max_minutes=1e-9)
    assert previous(path).read_bytes() == good
    load_checkpoint(path)


def test_where_both_are_damaged_the_last_one_is_named(tmp_path):
    path = tmp_path / "checkpoint.pt"
    fit(checkpoint=path)
    for file in (path, previous(path)):
        file.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"checkpoint\.pt is no checkpoint that can be loaded"):
        fit(tiny_pair(), checkpoint=path, resume=True)


@pytest.mark.parametrize("part", ["model", "optimiser", "progress", "plan"])
@pytest.mark.parametrize("wrong", [3, "text", [], {"a": 1}])
def test_parts_of_another_kind_are_named_with_their_file(tmp_path, part, wrong):
    """Forged ones: their checksums are right."""
    path = tmp_path / "checkpoint.pt"
    fit(checkpoint=path, epochs=1)
    previous(path).unlink()
    save_checkpoint(path, load_checkpoint(path) | {part: wrong})
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        fit(tiny_pair(), checkpoint=path, resume=True, epochs=2)
