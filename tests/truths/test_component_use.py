"""The use of a mixture prior's components: exp of the entropy of their mean responsibilities."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import InputError
from pyro_vae.evaluation import component_use, elbo_surgery
from pyro_vae.programs import HierarchicalVAE
from pyro_vae.programs.likelihoods import FixedNoiseGaussian
from pyro_vae.programs.priors import LearnedPrior, MixturePrior, StandardPrior

COMPONENTS = 4

pytestmark = pytest.mark.usefixtures("float64")


class Copies(nn.Module):
    """q(z1 | x) = N(x, 0.01^2), which puts a code where its datum is."""

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z1", dist.Normal(x, 0.01).to_event(1))


@pytest.fixture
def pair():
    """Four components far apart, of weights that are not the data's."""
    prior = MixturePrior(2, components=COMPONENTS)
    with torch.no_grad():
        prior.loc.copy_(10 * torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]))
        prior.log_scale.zero_()
        prior.logits.copy_(torch.tensor([0.5, 0.0, -0.5, 1.0]))
    return HierarchicalVAE(prior, [], FixedNoiseGaussian(2, (), 2)), Copies()


def codes(model, counts):
    """So many data near each component."""
    places = model.prior.loc.detach().repeat_interleave(torch.tensor(counts), 0)
    return places + torch.randn_like(places)


@pytest.mark.parametrize(
    ("counts", "truth"),
    [
        ((50, 50, 50, 50), 4.0),
        ((90, 0, 0, 0), 1.0),
        ((60, 60, 0, 0), 2.0),
        ((80, 40, 20, 20), math.exp(1.75 * math.log(2))),
    ],
)
def test_the_effective_number_is_exp_of_the_entropy_of_the_shares(pair, counts, truth):
    model, guide = pair
    found = component_use(model, guide, codes(model, counts), 2, chunk_size=70)
    assert found.effective.mean == pytest.approx(truth, rel=1e-3)
    assert found.shares.sum() == pytest.approx(1)
    assert found.shares == pytest.approx([count / sum(counts) for count in counts], abs=1e-3)
    assert (found.num_data, found.num_samples) == (sum(counts), 2)
    assert f"effective components of {COMPONENTS}" in str(found)


def test_responsibilities_are_bayes_rule_on_the_components(pair):
    """Codes between components count for both; the weights of the mixture count."""
    model, guide = pair
    x = torch.randn(30, 2) * 3
    prior = model.prior
    log_p = (
        torch.distributions.Normal(prior.loc, prior.log_scale.exp()).log_prob(x[:, None]).sum(-1)
    )
    joint = log_p + prior.logits.log_softmax(0)
    torch.testing.assert_close(prior.responsibilities(x), joint.softmax(-1))
    torch.testing.assert_close(
        prior.responsibilities(x.reshape(5, 6, 2)), joint.softmax(-1).reshape(5, 6, -1)
    )
    found = component_use(model, guide, x, 50)
    mean = joint.softmax(-1).mean(0)
    assert found.shares == pytest.approx(mean.detach().numpy(), abs=0.01)
    alone = -(joint.softmax(-1) * joint.log_softmax(-1)).sum(-1).mean()  # of single codes
    assert found.entropy.mean > alone.item() + 0.1


def test_the_error_over_data_is_the_spread_of_repeats(pair):
    model, guide = pair
    shares = torch.tensor([0.5, 0.3, 0.1, 0.1])
    found = []
    for _ in range(200):
        counts = torch.bincount(torch.multinomial(shares, 150, True), minlength=COMPONENTS)
        found.append(component_use(model, guide, codes(model, counts.tolist())))
    numbers = torch.tensor([one.effective.mean for one in found])
    told = torch.tensor([one.effective.standard_error for one in found]).mean()
    assert 0.8 < numbers.std() / told < 1.2  # 200 repeats: 5 % of an error


def test_the_surgery_takes_a_mixture_and_prints_log_n(pair):
    """Narrow codes tell every datum: the information is log N, and says nothing of the prior."""
    model, guide = pair
    found = elbo_surgery(model, guide, codes(model, (100, 100, 100, 100)))
    assert found.log_num_data == math.log(400)
    assert 0.99 * found.log_num_data < found.mutual_information < found.log_num_data
    assert f"mutual information {found.mutual_information:.2f}" in str(found)
    assert "at most log N = 5.99" in str(found)
    assert f"marginal KL {found.marginal_kl:.2f}" in str(found)


@pytest.mark.parametrize("prior", [StandardPrior(2), LearnedPrior(2)])
def test_priors_without_components_are_refused(prior):
    model = HierarchicalVAE(prior, [], FixedNoiseGaussian(2, (), 2))
    with pytest.raises(InputError, match=f"{type(prior).__name__} is no mixture"):
        component_use(model, Copies(), torch.zeros(3, 2))
