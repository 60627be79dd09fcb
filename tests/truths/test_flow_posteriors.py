"""Flow posteriors: their Jacobian by autograd, their start, their gradients, and a theorem.

The theorem: an inverse autoregressive posterior under a standard prior is an autoregressive prior
under the unbent posterior, with a decoder that goes through the flow first (Chen et al. 2017,
section 3.2, https://arxiv.org/abs/1611.02731).
"""

import copy

import pytest
import torch
from torch import nn

from pyro_vae import PairConfig
from pyro_vae.errors import InputError
from pyro_vae.evaluation import kl_per_unit
from pyro_vae.objectives import estimators
from pyro_vae.options import read_part
from pyro_vae.programs import HierarchicalVAE, LocScale, MeanFieldGuide
from pyro_vae.programs.posteriors import POSTERIORS
from pyro_vae.programs.priors import MAFPrior
from pyro_vae.runs import new_config
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.graph import CompiledGradient
from pyro_vae.weights import bounds, handlers
from pyro_vae.weights.log_weights import log_weights
from tests.statistics import flat, z_score
from tests.truths.test_flow_priors import Guide, Model, perturbed
from tests.truths.test_flows import OBJECTIVES, by_hand, gradient

FLOWS = [("flow", 2), ("flow", 5), ("iaf", 1), ("iaf", 2), ("iaf", 5)]
SMALL = "transforms=2,hidden=6,context=2"
TINY = "transforms=1,hidden=5,context=2"
CONTEXTS = pytest.mark.parametrize("context", [0, 2])


def head(name, size, *, settings=SMALL, family="normal", start=False):
    made, given = read_part("posterior", f"{name}:{settings}", POSTERIORS)
    torch.manual_seed(0)
    module = made(3, (), size, family=family, **given).to(torch.get_default_dtype())
    return module if start else perturbed(module)


def map_of(module, h):
    """g of one datum."""
    return module.transform(None if module.context is None else module.context(h))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("family", ["normal", "laplace"])
@CONTEXTS
@pytest.mark.parametrize(("name", "size"), FLOWS)
def test_the_density_has_autograds_jacobian(name, size, context, family):
    settings = f"transforms=3,hidden=8x8,context={context}"
    module = head(name, size, settings=settings, family=family)
    for h in torch.randn(3, 3):
        base, g = module.units(*module.read(h)), map_of(module, h)
        torch.manual_seed(1)
        start = base.sample()
        torch.manual_seed(1)
        q = module(h)
        z = q.rsample()
        torch.testing.assert_close(z, g(start), rtol=1e-12, atol=1e-12)
        volume = torch.autograd.functional.jacobian(g, start).slogdet().logabsdet
        expected = base.log_prob(start) - volume
        torch.testing.assert_close(q.log_prob(z), expected, rtol=1e-12, atol=1e-10)
        # Through the inverse, as another program scores it.
        torch.testing.assert_close(module(h).log_prob(z), expected, rtol=1e-9, atol=1e-9)
        assert volume.abs() > 0.01


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "size"), FLOWS)
def test_it_starts_as_location_and_scale(name, size):
    module, h = head(name, size, start=True), torch.randn(50, 3)
    plain = LocScale.forward(module, h)
    torch.manual_seed(1)
    expected = plain.rsample((4,))
    torch.manual_seed(1)
    z = module(h).rsample((4,))
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(module(h).log_prob(z), plain.log_prob(z))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["flow", "iaf"])
def test_each_datum_is_bent_by_its_own_encoding_unless_there_is_no_context(name):
    start = torch.randn(5)
    for settings, bent in (("hidden=6,context=2", True), ("hidden=6,context=0", False)):
        module = head(name, 5, settings=settings)
        moved = [map_of(module, h)(start) for h in torch.randn(2, 3)]
        assert torch.equal(*moved) is not bent


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["flow", "iaf"])
def test_the_density_of_a_draw_is_kept_no_longer_than_it_is_right(name):
    module, h = head(name, 3), torch.randn(4, 3)
    q = module(h)
    z = q.rsample()
    kept = q.log_prob(z)
    assert q.log_prob(z) is kept
    torch.testing.assert_close(q.log_prob(z.clone()), kept)
    with torch.no_grad():
        assert not q.log_prob(z).requires_grad
        torch.testing.assert_close(q.log_prob(z), kept.detach())
        drawn = q.sample()
    assert q.log_prob(drawn).requires_grad
    with torch.no_grad():
        z = q.rsample()
    before = q.log_prob(z)
    perturbed(module.transform, seed=1)
    assert (q.log_prob(z) - before).abs().min() > 1e-3
    copy.deepcopy(module)  # holds no draw


# Gradients


def pair(posterior, *, size=3, levels=1, guide="meanfield"):
    config = PairConfig(
        "sparse" if levels == 1 else "td",
        guide,
        latent=(size, 2)[:levels],
        family=("normal",),
        hidden=("4",),
        posterior=posterior,
    )
    pair = [perturbed(p.to(torch.get_default_dtype()), spread=0.2) for p in config.build(4)]
    if levels > 1:
        return pair
    model, q = pair
    return Model(model.prior, [], model.likelihood), Guide(q.encoders, q.conditionals)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", OBJECTIVES)
@CONTEXTS
@pytest.mark.parametrize("posterior", ["flow", "iaf"])
def test_gradients_are_those_of_the_loss_by_hand(posterior, context, name, monkeypatch):
    model, guide = pair(f"{posterior}:transforms=2,hidden=5,context={context}")
    x = torch.randn(4, 4)
    expected = gradient(by_hand(name, model, guide, x), model, guide)

    def found():
        torch.manual_seed(1)
        return gradient(OBJECTIVES[name](model, guide)(x), model, guide)

    torch.testing.assert_close(found(), expected, rtol=1e-7, atol=1e-9)
    if name not in ("dreg", "stl", "elbo, dreg"):
        return
    # Scored after the cut, with live parameters, it is refused, and would be wrong.
    monkeypatch.setattr(handlers, "reads_late", lambda fn: False)
    with pytest.raises(InputError, match=r"reads the parameter .* where it cannot be cut out"):
        found()
    monkeypatch.setattr(estimators, "check_cut", lambda *cut: None)
    assert (found() - expected).norm() > 0.01 * expected.norm()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("posterior", "guide"), [(f"flow:{TINY}", "topdown"), (f"iaf:{TINY}/flow:{TINY}", "bottomup")]
)
def test_dreg_of_a_hierarchy_has_the_mean_of_iwae(posterior, guide, monkeypatch):
    """Over many copies of one datum; unlike sticking the landing, and unlike a cut that misses."""
    model, guide = pair(posterior, levels=2, guide=guide)
    x, repeats = torch.randn(1, 4).expand(60, 4), 30

    def means(name):
        torch.manual_seed(2)
        rows = [gradient(OBJECTIVES[name](model, guide)(x), model, guide) for _ in range(repeats)]
        return torch.stack(rows) / len(x)

    iwae = means("iwae")  # on the same noise
    assert z_score(means("dreg") - iwae, 0.0) < 5
    assert z_score(means("stl") - iwae, 0.0) > 8
    monkeypatch.setattr(handlers, "reads_late", lambda fn: False)
    monkeypatch.setattr(estimators, "check_cut", lambda *cut: None)
    assert z_score(means("dreg") - iwae, 0.0) > 8


@pytest.mark.parametrize(
    ("posterior", "objective"), [(f"flow:{TINY}", "dreg"), (f"iaf:{TINY}", "iwae")]
)
def test_a_recorded_step_is_the_plain_one(posterior, objective):
    model, guide = pair(posterior, levels=2, guide="topdown")
    x, parameters = torch.randn(4, 4), [*model.parameters(), *guide.parameters()]
    loss = OBJECTIVES[objective]
    found = []
    for gradients in (
        Gradients(loss, model, guide),
        CompiledGradient(loss, model, guide, x, {}, compiler=False),
    ):
        for parameter in parameters:
            parameter.grad = None
        torch.manual_seed(3)
        value = gradients(x, {}).value
        found.append((value, flat([p.grad for p in parameters])))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


# The autoregressive prior and the inverse autoregressive posterior


class Behind(nn.Module):
    """p(x | f(z)): the likelihood behind a flow."""

    def __init__(self, likelihood, transform):
        super().__init__()
        self.likelihood, self.transform = likelihood, transform
        self.features = likelihood.features

    def forward(self, z):
        return self.likelihood(self.transform()(z))


def unbent(bent):
    """The location and scale under a flow, without the flow."""
    plain = copy.deepcopy(bent)
    plain.__class__ = LocScale
    del plain.transform, plain.context
    return plain


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("num_particles", [1, 6])
def test_an_inverse_autoregressive_posterior_is_an_autoregressive_prior(num_particles):
    model, guide = pair("iaf:transforms=3,hidden=6x6,context=0", size=5)
    (bent,) = guide.conditionals
    f = bent.transform  # z_0 -> u of the posterior, z -> u of the prior
    other_prior = MAFPrior(5, transforms=3, hidden=(6, 6))
    other_prior.transform = f
    other_model = HierarchicalVAE(other_prior, [], Behind(model.likelihood, f))
    other_guide = MeanFieldGuide(guide.encoders, [unbent(bent)])
    x, found = torch.randn(7, 4), []
    for one in ((model, guide), (other_model, other_guide)):
        torch.manual_seed(1)
        log_w = log_weights(*one, x, num_particles).log_w
        loss = bounds.iwae(log_w).sum()
        shared = [*model.likelihood.parameters(), *guide.encoders.parameters(), *f.parameters()]
        found.append((log_w, *torch.autograd.grad(loss, shared)))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)
    # The flow matters: without it the weights are others.
    torch.manual_seed(1)
    plain = log_weights(model, other_guide, x, num_particles).log_w
    assert (plain - found[0][0]).abs().max() > 0.1


# What else meets them


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("posterior", ["flow", "iaf"])
def test_a_vampprior_is_a_mixture_of_bent_posteriors(posterior):
    config = PairConfig(
        "burda1",
        latent=(3,),
        hidden=("4",),
        prior="vamp:components=5",
        posterior=f"{posterior}:{TINY}",
    )
    model, guide = (program.double() for program in config.build(4))
    perturbed(guide, spread=0.2)
    z, inputs = torch.randn(6, 3), model.prior.pseudo_inputs
    each = [guide.top(row[None]).log_prob(z) for row in inputs]
    torch.testing.assert_close(
        model.prior().log_prob(z), torch.stack(each).logsumexp(0) - torch.tensor(5.0).log()
    )
    OBJECTIVES["dreg"](model, guide)(torch.rand(4, 4).round()).backward()
    assert all(p.grad.norm() > 0 for p in guide.conditionals[0].context.parameters())


@pytest.mark.parametrize(("posterior", "guide"), [("flow", "topdown"), ("iaf", "bottomup")])
def test_a_start_from_data_stands_under_them(posterior, guide):
    rows, found = torch.randn(200, 6) @ torch.randn(6, 6), {}
    for init in ("data", "random"):
        config = PairConfig(
            "td", guide, latent=(6, 2), hidden=("24",), posterior=f"{posterior}:{TINY}", init=init
        )
        model, bent = config.build(6, rows=rows)
        plain = copy.copy(bent)
        plain._modules = dict(bent._modules)
        plain.conditionals = nn.ModuleList(map(unbent, bent.conditionals))
        for recognition in (bent, plain):
            torch.manual_seed(0)
            found[init, recognition] = log_weights(model, recognition, rows, 5).log_w
        torch.testing.assert_close(found[init, bent], found[init, plain], rtol=1e-4, atol=1e-3)
    data, _, random, _ = (log_w.mean() for log_w in found.values())
    assert data > random + 1


def test_what_is_asked_of_single_units_is_refused():
    model, guide = pair(f"locscale/flow:{SMALL}", levels=2, guide="topdown")
    with pytest.raises(InputError, match=r"'z2' in the guide .* 2 units are not independent"):
        kl_per_unit(model, guide, torch.randn(5, 4))


@pytest.mark.parametrize(
    ("posterior", "match"),
    [
        ("nonsense", r"unknown posterior 'nonsense'; allowed: locscale, flow, iaf"),
        ("flow/flow/flow", "wants 1 or 2 names for 2 levels, got 3"),
        ("flow:width=3", "unknown setting 'width' of the posterior 'flow'; allowed: transforms"),
        ("locscale:context=3", "setting 'context' of the posterior 'locscale'; allowed: none"),
        ("flow", "'flow' moves units given other units, and a level has one; take iaf or locscale"),
        ("iaf:context=-1", "context of a flow must be a whole number of at least 0, got -1"),
        ("iaf:transforms=0", "transforms of a flow must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_posteriors_are_named(posterior, match):
    with pytest.raises(InputError, match=match):
        PairConfig("td", latent=(4, 1), posterior=posterior).build(4)


def test_thinning_is_off_and_refused():
    settings = {"model": "burda1", "dataset": "mnist", "num_particles": 50}
    assert new_config(settings).objective.thin is not None
    assert new_config({**settings, "posterior": "iaf"}).objective.thin is None
    with pytest.raises(InputError, match=r"--thin .* wants the posterior locscale .*, not iaf"):
        new_config({**settings, "posterior": "iaf", "thin": 5})
