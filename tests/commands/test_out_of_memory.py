"""Memory that runs out ends in one line, by whichever error it is told."""

import numpy as np
import pytest
import torch

from pyro_vae.cli.common import exit_code


def too_much():
    return torch.empty(2**60)


@pytest.mark.parametrize(
    "call",
    [
        too_much,
        lambda: np.empty(2**50),
        lambda: bytearray(2**62),
    ],
)
def test_real_ones(capsys, call):
    assert exit_code("pyro-vae fit", call) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("pyro-vae fit: out of memory; use fewer particles or smaller batches (")


def test_a_library_that_finds_no_room(capsys):
    def fails():
        raise ImportError("a.so: failed to map segment from shared object")

    assert exit_code("pyro-vae fit", fails) == 2
    assert "out of memory" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ImportError("no module x")])
def test_other_errors_are_not_taken_for_it(error):
    def fails():
        raise error

    with pytest.raises(type(error)):
        exit_code("pyro-vae fit", fails)
