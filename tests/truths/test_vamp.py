"""The VampPrior: its density, its marginal KL, the guide that it holds, and what is refused."""

import copy

import pytest
import torch

import pyro_vae
from pyro_vae import InputError
from pyro_vae.evaluation.surgery import elbo_surgery
from pyro_vae.programs.priors import VampPrior
from pyro_vae.torch_state import modules_of
from pyro_vae.training.optimisation import GradientStep, OptimiserSettings
from pyro_vae.weights.log_weights import guide_sites
from tests.vamp import COMPONENTS, pair, rows

pytestmark = pytest.mark.usefixtures("float64")


# The density


@pytest.mark.parametrize("family", ["normal", "laplace"])
@pytest.mark.parametrize(
    ("guide", "levels"), [("topdown", 3), ("topdown", 1), ("meanfield", 2), ("bottomup", 1)]
)
def test_the_density_is_the_mixture_of_the_guides_posteriors(guide, levels, family):
    """Against the guide itself, run on the pseudo-inputs as if they were data."""
    model, recognition = pair(guide, levels, families=("normal", "normal", family)[-levels:])
    prior, name = model.prior, f"z{levels}"
    z = torch.randn(7, 5, prior.features)
    inputs = prior.pseudo_inputs.detach()
    with torch.no_grad():
        at = [guide_sites(recognition, u[None], 1)[name].fn.base_dist for u in inputs]
        log_q = torch.stack([q.log_prob(z).sum(-1) for q in at], -1)
    log_pi = prior.logits.log_softmax(-1)
    torch.testing.assert_close(prior().log_prob(z), (log_q + log_pi).logsumexp(-1))
    shares = prior.responsibilities(z)
    torch.testing.assert_close(shares, (log_q + log_pi).softmax(-1))
    assert shares.shape == (7, 5, COMPONENTS)
    # Without the weights it would be another one.
    assert (prior().log_prob(z) - log_q.logsumexp(-1)).abs().max() > 0.1


def test_truth_11_pseudo_inputs_that_are_the_data_have_no_marginal_kl():
    data = rows(30)
    model, guide = pair(levels=1, data=data, settings="components=30,start=data,inputs=fixed")
    found = elbo_surgery(model, guide, data, num_samples=3)
    assert found.marginal_kl == pytest.approx(0.0, abs=1e-9)
    assert found.rate == pytest.approx(found.mutual_information) != pytest.approx(0.0)
    fewer, guide = pair(levels=1, data=data, settings="components=29,start=data,inputs=fixed")
    assert abs(elbo_surgery(fewer, guide, data, num_samples=3).marginal_kl) > 1e-3


def test_pseudo_inputs_from_data_are_different_rows_of_them():
    data = rows(20)
    model, _ = pair(data=data, settings="components=20,start=data")
    distances = torch.cdist(model.prior.pseudo_inputs, data)
    assert (distances == 0).sum(0).tolist() == [1] * 20
    assert distances.argmin(1).tolist() != list(range(20))


# The guide that is held


def test_the_guide_is_held_once_and_not_registered():
    model, guide = pair()
    assert [name for name in model.state_dict() if name.startswith("prior.")] == [
        "prior.logits",
        "prior.inputs",
    ]
    both = [*model.parameters(), *guide.parameters()]
    assert len({id(p) for p in both}) == len(both)
    step = GradientStep([model, guide], OptimiserSettings())
    assert len(step.parameters) == len(both)
    assert guide in list(modules_of(model))  # its mode and buffers are looked after
    model.train(), guide.train()
    with pyro_vae.torch_state.evaluating(model):
        assert not guide.training
    assert guide.training


def test_copied_together_they_share_and_alone_they_do_not():
    model, guide = pair()
    z = torch.randn(3, 3)
    other_model, other_guide = copy.deepcopy((model, guide))
    alone = copy.deepcopy(model)
    before = model.prior().log_prob(z)
    with torch.no_grad():
        other_guide.conditionals[-1].loc.parts[0].bias += 1.0
    assert torch.equal(model.prior().log_prob(z), before)
    assert torch.equal(alone.prior().log_prob(z), before)
    moved = other_model.prior().log_prob(z)
    assert (moved - before).abs().max() > 0.01
    # Cast, the guide goes along.
    assert alone.float().prior().log_prob(z.float()).dtype == torch.float32


def test_clamped_pseudo_inputs_come_back():
    """Beyond the interval the gradient is that of the border, not 0."""
    model, guide = pair(pixels="binary", activation="tanh")
    prior = model.prior
    assert ((prior.pseudo_inputs > 0) & (prior.pseudo_inputs < 0.2)).all()
    with torch.no_grad():
        prior.inputs[0] = -0.5
        prior.inputs[1] = 1.5
    seen = prior.pseudo_inputs
    assert (seen[0] == 0).all()
    assert (seen[1] == 1).all()
    seen.sum().backward()
    assert (prior.inputs.grad == 1).all()
    torch.testing.assert_close(prior.posteriors().mean[0], guide.top(seen[:1]).mean[0])


# What is refused


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ("components=0", "components of the prior 'vamp' must be a whole number of at least 1"),
        ("components=many", "components of the prior 'vamp': cannot read 'many'"),
        ("start=noise", "unknown start of the prior 'vamp' 'noise'; allowed: random, data"),
        ("inputs=maybe", "unknown inputs of the prior 'vamp' 'maybe'; allowed: learned, fixed"),
        ("weights=big", "unknown weights of the prior 'vamp' 'big'; allowed: learned, equal"),
        ("width=3", "unknown setting 'width' of the prior 'vamp'; allowed: components"),
        ("components=6,start=data", r"6 components .* there are 5; allowed: components=1 to 5"),
    ],
)
def test_settings_that_cannot_be(settings, match):
    with pytest.raises(InputError, match=match):
        pair(settings=settings, data=rows(5))


@pytest.mark.parametrize("levels", [2, 3])
def test_bottom_up_guides_of_several_levels_are_refused_by_name(levels):
    with pytest.raises(InputError, match=f"bottomup guide of {levels} levels.* topdown, meanfield"):
        pair("bottomup", levels)


def test_a_prior_without_guide_or_data_says_so():
    prior = VampPrior(3)
    with pytest.raises(InputError, match="not bound to a guide"):
        prior()
    with pytest.raises(InputError, match=r"function has no method top\(x\)"):
        prior.bind_(lambda x: None, rows())
    model, guide = pair(settings="components=4,start=data")
    with pytest.raises(InputError, match="start at training rows, and there are none"):
        model.prior()
    loaded, _ = pair(settings="components=4,start=data", data=rows(5))
    model.load_state_dict(loaded.state_dict())  # a run that is loaded needs no data
    assert torch.equal(model.prior.pseudo_inputs, loaded.prior.pseudo_inputs)
    with pytest.raises(InputError, match=r"has 4 units and the guide's top level \(3,\)"):
        VampPrior(4).bind_(guide, rows())


@pytest.mark.parametrize("name", ["free-bits", "elbo-analytic"])
def test_units_of_a_mixture_depend_on_each_other(name):
    """Free bits of single units are refused with the reason; closed forms take what there is."""
    model, guide = pair()
    x = rows()
    if name == "elbo-analytic":
        loss = pyro_vae.make_objective(name, 2).loss(model, guide, x)
        assert torch.isfinite(torch.as_tensor(loss))
        return
    objective = pyro_vae.make_objective(name, 2, free_bits=0.1, groups="unit")
    with pytest.raises(InputError, match="MixtureOfNormals, whose 3 units are not independent"):
        objective.loss(model, guide, x)
    pyro_vae.make_objective(name, 2, free_bits=0.1, groups="level").loss(model, guide, x)
