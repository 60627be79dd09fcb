"""A trained quantised pair of small images: its bounds are of x, and L_K reaches the bracket."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import pyro_vae
from pyro_vae import OptimiserSettings
from pyro_vae.evaluation import ais, bidirectional, consistency, evaluate
from tests.self_supervised import tiny_images
from tests.statistics import z_score

pytestmark = pytest.mark.slow

SHAPE = (1, 4, 4)
CHAINS = {"num_particles": 12, "num_temperatures": 32}


@pytest.fixture(scope="module")
def rows():
    """Scanned digits at 4 x 4 pixels of 256 levels."""
    digits = torch.as_tensor(load_digits().images).reshape(-1, 4, 2, 4, 2).mean((2, 4))
    return (digits * 255 / 16).round().flatten(1).float() / 255


@pytest.fixture(scope="module")
def pair(rows):
    """Two high bits first, then all eight: 100 steps of the ELBO."""
    made = tiny_images(("quantise:2",), SHAPE, rows=rows)
    torch.manual_seed(0)
    before = pyro_vae.log_weights(*made, rows[-100:], 1).log_w.mean().item()
    pyro_vae.fit(
        *made,
        rows[:1_600],
        objective="elbo",
        epochs=2,
        batch_size=32,
        optimiser=OptimiserSettings(lr=1e-2),
        compile=False,
        precision="float32",
    )
    after = pyro_vae.log_weights(*made, rows[-100:], 1).log_w.mean().item()
    assert after > before + 5
    return made


def test_draws_of_a_trained_pair_agree_with_their_representation(pair):
    """Not a pixel of a thousand images."""
    assert pair[0].bound_of == "x"
    share = consistency(pair[0], 1_000)["y1"]
    assert (share.mean, share.standard_error) == (1.0, 0.0)


def test_the_weighted_bound_of_simulated_images_reaches_both_ends(pair):
    """Within 5 standard errors of the lower end; of the upper one, over the data, within 4.

    A nat too much, a quarter of what the ELBO lacks, is seen by 8.
    """
    torch.manual_seed(0)
    bracket = bidirectional(*pair, num_data=20, **CHAINS)
    x, y = bracket.x
    assert torch.equal(y, pair[0].represent(x)[0])
    found = evaluate(*pair, x, num_particles=2_000, bound_particles=1)
    spread = np.hypot(bracket.lower_error, found.monte_carlo_error)
    assert (np.abs(found.log_likelihood - bracket.lower) < 5 * spread + 0.05).all()
    assert z_score(found.log_likelihood - bracket.upper, 0.0) < 4
    assert z_score(found.log_likelihood + 1 - bracket.upper, 0.0) > 8


def test_the_weighted_bound_of_real_images_reaches_annealing(pair, rows):
    """On test images, of which the upper end is not known."""
    torch.manual_seed(1)
    x = rows[-8:]
    below = ais(*pair, x, **CHAINS)
    found = evaluate(*pair, x, num_particles=2_000, bound_particles=1)
    spread = np.hypot(below.lower_error, found.monte_carlo_error)
    assert (np.abs(found.log_likelihood - below.lower) < 5 * spread + 0.05).all()
    assert (found.log_likelihood - found.elbo).mean() > 0.1  # the ELBO does not
