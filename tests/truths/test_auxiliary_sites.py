"""Pyro's automatic guides: latents made of auxiliary sites are weighed right, or refused."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import autoguide
from torch.distributions import biject_to, constraints

import pyro_vae
from pyro_vae import evaluation, objectives
from pyro_vae.errors import InputError
from pyro_vae.evaluation import activity

K = 5
SUPPORTS = {"z": constraints.real, "s": constraints.positive, "w": constraints.unit_interval}

pytestmark = pytest.mark.usefixtures("float64")


def model(x):
    """Latents on the line, above zero and in (0, 1), and a site that is a function of them."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        s = pyro.sample("s", dist.Gamma(2.0, torch.tensor(2.0)))
        loc = pyro.deterministic("loc", z * s[..., None], event_dim=1)
        w = pyro.sample("w", dist.Beta(torch.tensor(2.0), torch.tensor(3.0)))
        pyro.sample("x", dist.Normal(loc + w[..., None], 0.7).to_event(1), obs=x)


def log_prior(v):
    return {
        "z": dist.Normal(0.0, 1.0).log_prob(v["z"]).sum(-1),
        "s": dist.Gamma(2.0, 2.0).log_prob(v["s"]),
        "w": dist.Beta(2.0, 3.0).log_prob(v["w"]),
    }


def auto_normal(x):
    guide = autoguide.AutoNormal(model)
    guide(x)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return guide


def terms(guide, noise, x, betas, *, frozen):
    """log w (K, B), log q of every level, by the formula of change of variables."""
    values, log_q = {}, {}
    for name, u in noise.items():
        loc, scale = getattr(guide.locs, name), getattr(guide.scales, name)
        if frozen:
            loc, scale = loc.detach(), scale.detach()
        transform = biject_to(SUPPORTS[name])
        values[name] = transform(u)
        density = dist.Normal(loc, scale).log_prob(u)
        density = density - transform.log_abs_det_jacobian(u, values[name])
        log_q[name] = density.sum(-1) if name == "z" else density
    loc = values["z"] * values["s"][..., None] + values["w"][..., None]
    log_w = dist.Normal(loc, 0.7).log_prob(x).sum(-1)
    prior = log_prior(values)
    return log_w + sum(betas.get(n, 1.0) * (prior[n] - log_q[n]) for n in prior), log_q


def by_hand(name, guide, x, betas):
    """The loss, and a scalar with its gradient, on seed 1."""
    torch.manual_seed(1)
    noise = {}
    for level in SUPPORTS:
        loc, scale = getattr(guide.locs, level), getattr(guide.scales, level)
        noise[level] = loc + scale * torch.randn(K, *loc.shape)
    log_w, _ = terms(guide, noise, x, betas, frozen=False)
    elbo = name.startswith("elbo")
    value = -(log_w.mean(0) if elbo else log_w.logsumexp(0) - np.log(K)).sum()
    if name in ("iwae", "elbo"):
        return value, value
    if name == "piwae":  # inner bounds of one particle: the ELBO
        return value, -log_w.mean(0).sum()
    leaves = {level: u.detach().requires_grad_() for level, u in noise.items()}
    still, _ = terms(guide, leaves, x, betas, frozen=True)
    along = torch.autograd.grad(still.sum(), list(leaves.values()))
    weight = torch.full_like(still, 1 / K) if elbo else still.detach().softmax(0)
    gate = weight.square() if name == "dreg" else weight
    total = 0.0
    for u, slope in zip(noise.values(), along, strict=True):
        total = total - ((gate[..., None] if slope.ndim > 2 else gate) * slope * u).sum()
    if name != "stl":  # what annealing leaves of the score
        fixed = {level: u.detach() for level, u in noise.items()}
        _, log_q = terms(guide, fixed, x, betas, frozen=False)
        for level, density in log_q.items():
            total = total - (1 - betas.get(level, 1.0)) * (weight * density).sum()
    return value, total


OBJECTIVES = {
    "iwae": objectives.IWAE(K),
    "elbo": objectives.ELBO(K),
    "dreg": objectives.DReG(K),
    "stl": objectives.STL(K),
    "elbo, dreg": objectives.ELBO(K, estimator="dreg"),
    "piwae": objectives.PIWAE(1, K),
}


@pytest.mark.parametrize("betas", [{}, {"s": 0.4, "z": 0.2}], ids=["whole", "annealed"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_auto_normal_is_weighed_as_by_hand(name, betas):
    x = torch.randn(7, 2)
    guide = auto_normal(x)
    value, carrier = by_hand(name, guide, x, betas)
    expected = torch.autograd.grad(carrier, list(guide.parameters()))
    torch.manual_seed(1)
    with pyro_vae.anneal(betas):
        loss = OBJECTIVES[name](model, guide)(x)
    torch.testing.assert_close(loss, value)
    torch.testing.assert_close(torch.autograd.grad(loss, list(guide.parameters())), expected)


def test_a_list_of_automatic_guides_trains_and_is_judged():
    x = torch.randn(7, 2)
    guide = autoguide.AutoGuideList(model)
    guide.append(autoguide.AutoNormal(poutine.block(model, expose=["z"])))
    guide.append(autoguide.AutoNormal(poutine.block(model, hide=["z"])))
    settings = {"epochs": 60, "batch_size": 7, "progress": False}
    adam = pyro_vae.OptimiserSettings(lr=0.05)
    fitted = pyro_vae.fit(model, guide, x, objective="iwae", optimiser=adam, **settings)
    bounds = [row["train_objective"] for row in fitted.history]
    judged = evaluation.evaluate(model, guide, x, num_particles=200, bound_particles=50)
    assert bounds[-1] > bounds[1] + 0.5
    assert abs(judged.bound.mean() - bounds[-1]) < 0.3
    means = activity.posterior_means(guide, x, num_samples=2000, chunk_size=50_000)
    exact = guide[0].locs.z.detach()
    error = (means["z"].noise_covariance.diagonal()).sqrt()
    assert ((means["z"].mean - exact).abs() < 8 * error).all()


@pytest.mark.parametrize("kind", ["AutoDiagonalNormal", "AutoStructured", "AutoGaussian"])
def test_guides_that_draw_once_for_the_batch_are_refused(kind):
    make = getattr(autoguide, kind)
    settings = {}
    if kind == "AutoStructured":
        settings = {"conditionals": dict.fromkeys("zsw", "normal"), "dependencies": {}}
    with pytest.raises(
        InputError, match=r"auxiliary site '.*' of the guide stands in no data plate"
    ):
        objectives.IWAE(K)(model, make(model, **settings))(torch.randn(7, 2))


def one_latent(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 0.7).to_event(1), obs=x)


def test_one_draw_for_the_batch_is_refused_for_one_latent_too():
    guide = autoguide.AutoDiagonalNormal(one_latent)
    with pytest.raises(
        ValueError, match=r"_latent' .* one data plate .* none.*joint over the batch"
    ):
        objectives.IWAE(K)(one_latent, guide)(torch.randn(7, 2))


def test_a_point_is_refused():
    with pytest.raises(InputError, match="site 'z' in the guide is Delta, which has no density"):
        objectives.IWAE(K)(model, autoguide.AutoDelta(model))(torch.randn(7, 2))


def test_an_auxiliary_draw_that_no_latent_is_made_of_is_refused():
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(x, 1.0).to_event(1), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(u, 1.0).to_event(1))

    with pytest.raises(InputError, match=r"which latent .* auxiliary site 'u'.* a Delta: none"):
        pyro_vae.log_weights(one_latent, guide, torch.randn(7, 2), K)


def test_a_scale_on_an_auxiliary_site_alone_is_refused():
    """The level's beta belongs on the latent, where the model has it too."""

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            with poutine.scale(scale=0.5):
                u = pyro.sample("u", dist.Normal(x, 1.0).to_event(1), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(2 * u, torch.tensor(0.0), event_dim=1))

    with pytest.raises(InputError, match=r"'u' of the guide is scaled by 0\.5, the data by 1\.0"):
        pyro_vae.log_weights(one_latent, guide, torch.randn(7, 2), K)


def test_what_auxiliary_sites_cannot_tell_is_refused():
    x = torch.randn(7, 2)
    guide = auto_normal(x)
    with pytest.raises(InputError, match=r"surgery .* auxiliary site 'z_unconstrained'"):
        evaluation.elbo_surgery(model, guide, x)
    for use in (
        lambda: evaluation.kl_per_unit(model, guide, x),
        lambda: objectives.FreeBitsELBO(0.1, "unit", K)(model, guide)(x),
        lambda: evaluation.pruned_log_likelihood(model, guide, x, {"s": np.array([True])}, 50),
    ):
        with pytest.raises(InputError, match=r"site '[zs]' in the .* is Delta, whose single units"):
            use()
    with pytest.raises(ValueError, match="site 'z' in the guide is Delta; thinning"):
        objectives.IWAE(K, thin=2)(model, guide)(x)


def test_a_guide_with_parameters_for_every_row_wants_all_rows():
    x = torch.randn(7, 2)
    guide = auto_normal(x)
    match = "plate 'data' has 7 rows in the guide and 1 in the model.*all rows at once"
    with pytest.raises(InputError, match=match):
        evaluation.log_likelihood(model, guide, x, 100, chunk_size=10)
    whole = evaluation.log_likelihood(model, guide, x, 100)
    assert whole.shape == (7,)
