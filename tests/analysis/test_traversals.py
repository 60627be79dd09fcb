"""Traversals move one unit and nothing else, from the code of the image that was asked for."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from analysis import traverse as command
from analysis.pictures.traversals import plot_traversal
from analysis.probes.traversals import traverse
from pyro_vae.errors import InputError
from pyro_vae.evaluation import kl_per_unit
from pyro_vae.evaluation.encoding import encode
from tests.conftest import tiny_pair


def linear_pair():
    """One level of four units, decoded by a matrix."""
    return tiny_pair("bottomup", levels=1)


def test_steps_of_a_linear_decoder_are_its_columns():
    model, guide = linear_pair()
    x = torch.randn(30, 6)
    found = traverse(model, guide, x, image=3, units=(2, 0), values=(-1.0, 0.5, 2.0))
    weight = model.likelihood.loc.parts[0].weight.detach().numpy()
    bias = model.likelihood.loc.parts[0].bias.detach().numpy()
    mean = encode(model, guide, x[3:4]).means["z1"][0]
    for place, unit in enumerate((2, 0)):
        for step, value in enumerate((-1.0, 0.5, 2.0)):
            code = mean.copy()
            code[unit] = value
            np.testing.assert_allclose(found.rows[place, step], weight @ code + bias, atol=1e-5)
    other = traverse(model, guide, x, image=4, units=(2, 0), values=(-1.0, 0.5, 2.0))
    assert np.abs(other.rows - found.rows).max() > 1e-3
    # Differences along a unit are the same from any image.
    np.testing.assert_allclose(np.diff(other.rows, axis=1), np.diff(found.rows, axis=1), atol=1e-5)


def test_units_come_in_the_order_of_their_kl_and_upper_levels_stay():
    model, guide = tiny_pair(levels=2)
    x = torch.randn(30, 6)
    torch.manual_seed(1)
    found = traverse(model, guide, x)
    torch.manual_seed(1)
    kl = kl_per_unit(model, guide, x)["z1"]
    np.testing.assert_allclose(found.kl, kl)
    assert list(found.units) == sorted(range(4), key=lambda unit: -kl[unit])
    assert found.rows.shape == (4, 9, 6)
    above = traverse(model, guide, x, level="z2")
    assert np.ptp(above.rows, axis=1).max() < 1e-6  # the decoder reads z1 alone


def test_rows_of_the_picture_are_units():
    images = np.zeros((2, 3, 4, 5))
    images[1, 2] = 1.0
    ax = plot_traversal(Figure().subplots(), images, (7, 1), np.arange(8.0), (-2.0, 0.0, 2.0))
    sheet = np.asarray(ax.get_images()[0].get_array())
    assert sheet[-4:, -5:].min() == 1.0
    assert sheet[:4, :5].max() == 0.0
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "unit 7\n7.0 nats",
        "unit 1\n1.0 nats",
    ]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["-2", "0", "2"]


def test_the_command_draws_runs_side_by_side(finished_run, tmp_path, capsys):
    out = tmp_path / "units.png"
    runs = [str(finished_run)] * 2
    assert command.main([*runs, "--out", str(out), "--num-units", "3", "--image", "2"]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert f"wrote {out}" in capsys.readouterr().out
    for flags, match in (
        (["--image", "99"], "image 99 is none of the"),
        (["--level", "z9"], "unknown level 'z9'; allowed: z1, z2"),
        (["--num-units", "0"], "--num-units must be a whole number of at least 1"),
    ):
        assert command.main([*runs, "--out", str(out), *flags]) == 2
        err = capsys.readouterr().err
        assert match in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("units", [(4,), (-1,), (0.5,)])
def test_units_that_are_none_are_refused(units):
    with pytest.raises(InputError, match="unit"):
        traverse(*linear_pair(), torch.randn(5, 6), units=units)
