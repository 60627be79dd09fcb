"""Surgery, unit KL and pruning under every prior: what it changes, and where units have no KL."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import InputError
from pyro_vae.evaluation import elbo_surgery, kl_per_unit, pruned_log_likelihood
from pyro_vae.programs import Guide, LocScale, build_guide, build_model
from pyro_vae.programs.priors import PRIORS
from pyro_vae.training.prior_refit import refit_prior
from tests.conftest import tiny_architecture

pytestmark = pytest.mark.usefixtures("float64")


def a_pair():
    arch = tiny_architecture(1, "binary", families=("normal",))
    return build_model(arch, 6), build_guide("topdown", arch, 6), (torch.rand(80, 6) < 0.4).double()


@pytest.fixture
def pair():
    return a_pair()


SETTINGS = {"mixture": ":components=7", "vamp": ":components=7", "spatial": ":shape=1x2x2"}


def refitted(name, model, guide, x):
    if name == "standard":
        return model
    return refit_prior(model, guide, x, name + SETTINGS.get(name, ""), steps=20).model


def surgery(model, guide, x, num_samples=3):
    torch.manual_seed(1)
    return elbo_surgery(model, guide, x, num_samples, chunk_size=500)


@pytest.mark.parametrize("name", [name for name in PRIORS if name != "standard"])
def test_a_prior_changes_the_marginal_kl_alone(pair, name):
    """On the same draws: the information stays, the rate falls by E_q[log p_new - log p_old]."""
    model, guide, x = pair
    other = refitted(name, model, guide, x)
    before, after = surgery(model, guide, x), surgery(other, guide, x)
    assert after.mutual_information == pytest.approx(before.mutual_information, abs=1e-12)
    assert after.distortion == pytest.approx(before.distortion, abs=1e-12)
    assert after.rate == pytest.approx(after.mutual_information + after.marginal_kl, abs=1e-10)
    assert after.rate - before.rate == pytest.approx(after.marginal_kl - before.marginal_kl)
    with torch.no_grad():
        z = guide.top(x).sample((400,))
        gain = other.prior().log_prob(z) - model.prior().log_prob(z)
    error = gain.std().item() / (3 * len(x)) ** 0.5  # of the surgery's three draws per datum
    fall = before.rate - after.rate
    assert abs(fall - gain.mean().item()) < 5 * error
    assert abs(fall + gain.mean().item()) > 8 * error  # a wrong sign


@pytest.mark.parametrize("name", PRIORS)
def test_single_units_have_a_kl_where_the_prior_has_units(pair, name):
    """Mixtures and flows have units that depend on each other: the reason names them."""
    model, guide, x = pair
    other = refitted(name, copy.deepcopy(model), guide, x)
    active = {"z1": torch.tensor([True, False, True, True])}
    if isinstance(other.prior(), dist.Independent):
        assert kl_per_unit(other, guide, x, 2)["z1"].shape == (4,)
        assert pruned_log_likelihood(other, guide, x, active, 5).isfinite().all()
        return
    for asked in (
        lambda: kl_per_unit(other, guide, x, 2),
        lambda: pruned_log_likelihood(other, guide, x, active, 5),
    ):
        with pytest.raises(InputError, match=r"site 'z1' in the .* not independent of each"):
            asked()


class Untold(Guide):
    """A guide of one's own: it draws z1, and says nothing of a density at other values."""

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z1", self.conditionals[0](x))


def test_a_guide_that_does_not_tell_its_density_is_named():
    model, _, x = a_pair()
    with pytest.raises(InputError, match=r"Untold does not tell q\(z1 \| x\)"):
        elbo_surgery(model, Untold([LocScale(6, (), 4)]), x, level="z1")
