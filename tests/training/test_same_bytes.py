"""The same seed gives the same bytes; other threads the same numbers but for rounding."""

import pytest
import torch

from pyro_vae.storage import load_checkpoint
from tests.conftest import tiny_pair
from tests.quick_fit import fit, same

# Of the bounds after a few steps, relative: sums over pixels and particles run in another order.
ACROSS_THREADS = 1e-4
WIDE = torch.randn(300, 120, generator=torch.Generator().manual_seed(2))


def trained(path, threads=1):
    """History and parameters of a pair whose tensors are large enough to be shared by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        pair = tiny_pair(num_pixels=120)
        found = fit(pair, WIDE, valid=WIDE[:40], batch_size=150, checkpoint=path)
    finally:
        torch.set_num_threads(before)
    return found.history, [p.detach() for program in pair for p in program.parameters()]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_gives_the_same_bytes(tmp_path, threads):
    (first, parameters), (second, others) = (
        trained(tmp_path / f"{name}.pt", threads) for name in "ab"
    )
    assert same(first, second)
    assert all(map(torch.equal, parameters, others))
    assert (tmp_path / "a.pt").stat().st_size == (tmp_path / "b.pt").stat().st_size
    one, two = (load_checkpoint(tmp_path / f"{name}.pt")["optimiser"] for name in "ab")
    assert repr(one) == repr(two)


def test_other_threads_change_rounding_alone(tmp_path):
    one, first = trained(tmp_path / "a.pt", 1)
    two, second = trained(tmp_path / "b.pt", 2)
    for row, other in zip(one, two, strict=True):
        for name in ("elbo", "bound"):
            assert row[name] == pytest.approx(other[name], rel=ACROSS_THREADS), name
    for parameter, other in zip(first, second, strict=True):
        assert torch.allclose(parameter, other, rtol=1e-2, atol=1e-4)
