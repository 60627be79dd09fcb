"""Flow priors: their Jacobian by autograd, their inverse, their start, and what trains them."""

import copy
import subprocess
import sys

import pytest
import torch

from pyro_vae import PairConfig
from pyro_vae.errors import InputError
from pyro_vae.evaluation.ais import ais
from pyro_vae.options import read_part
from pyro_vae.programs import HierarchicalVAE, MeanFieldGuide
from pyro_vae.programs.priors import PRIORS
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.graph import CompiledGradient
from pyro_vae.weights.log_weights import log_weights
from tests.statistics import flat, z_score
from tests.truths.test_flows import OBJECTIVES, by_hand, gradient

NAMES = ("realnvp", "maf", "spline")
# Every flow with an even and an odd number of units, and with one where that is possible.
FLOWS = [(name, size) for name in NAMES for size in (1, 2, 5) if (name, size) != ("realnvp", 1)]


def perturbed(module, seed=0, spread=0.3):
    """Away from the identity, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    return module


def flow_prior(name, size, *, family="normal", settings="transforms=3,hidden=8x8"):
    made, given = read_part("prior", f"{name}:{settings}", PRIORS)
    return perturbed(made(size, family, **given).to(torch.get_default_dtype()))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("family", ["normal", "laplace"])
@pytest.mark.parametrize(("name", "size"), FLOWS)
def test_the_density_has_autograds_jacobian(name, size, family):
    prior = flow_prior(name, size, family=family)
    f = prior.transform()
    for z in 2 * torch.randn(4, size):
        jacobian = torch.autograd.functional.jacobian(f, z)
        expected = prior.base().log_prob(f(z)) + jacobian.slogdet().logabsdet
        torch.testing.assert_close(prior().log_prob(z), expected, rtol=1e-12, atol=1e-10)
    assert jacobian.slogdet().logabsdet.abs() > 0.05  # the flow is not the identity


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "size"), FLOWS)
def test_draws_are_the_inverse_of_the_density(name, size):
    prior = flow_prior(name, size)
    torch.manual_seed(1)
    z = prior().sample((200,))
    torch.manual_seed(1)
    u = prior.base().sample((200,))
    torch.testing.assert_close(prior.transform()(z), u, rtol=0, atol=1e-9)
    assert (z - u).abs().max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_in_single_precision_the_default_sizes_are_inverted_well(name):
    made, given = read_part("prior", name, PRIORS)
    prior = perturbed(made(40, **given), spread=0.01)
    with torch.no_grad():
        z, f = prior().sample((100,)), prior.transform()
        assert (f(z) - z).abs().max() > 0.1
        assert (f.inv(f(z)) - z).abs().max() < 1e-3


def test_draws_of_a_steep_spline_are_finite():
    """Rounding makes the discriminant of its quadratic equation negative in places."""
    made, given = read_part("prior", "spline", PRIORS)
    prior = perturbed(made(40, **given))
    with torch.no_grad():
        f = prior.transform()
        z = f.inv(f(5 * torch.randn(2000, 40)))
        assert torch.isfinite(z).all()
        assert torch.isfinite(prior().sample((2000,))).all()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("family", ["normal", "laplace"])
@pytest.mark.parametrize("name", NAMES)
def test_it_starts_as_the_standard_prior(name, family):
    made, given = read_part("prior", name, PRIORS)
    prior = made(5, family, **given).double()
    z = 3 * torch.randn(50, 5)
    torch.testing.assert_close(prior().log_prob(z), prior.base().log_prob(z))


@pytest.mark.usefixtures("float64")
def test_each_unit_of_a_maf_reads_those_before_it():
    prior = flow_prior("maf", 4, settings="transforms=1,hidden=8")
    jacobian = torch.autograd.functional.jacobian(prior.transform(), torch.randn(4))
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian.tril(-1)[1:].abs().sum(1) > 0).all()


@pytest.mark.usefixtures("float64")
def test_a_maf_of_several_maps_is_no_longer_of_one_order():
    prior = flow_prior("maf", 4)
    jacobian = torch.autograd.functional.jacobian(prior.transform(), torch.randn(4))
    assert jacobian.triu(1).norm() > 0.01
    assert jacobian.tril(-1).norm() > 0.01


# Gradients


class Model(HierarchicalVAE):
    def log_joint(self, z, x):
        return self.prior().log_prob(z) + self.likelihood(z).log_prob(x)


class Guide(MeanFieldGuide):
    def q(self, x):
        return self.conditionals[0](self.encode(x)[0])


def pair(name, size=3, pixels=4, settings="transforms=2,hidden=6"):
    config = PairConfig(
        "sparse", "meanfield", latent=(size,), hidden=("encoders=5",), prior=f"{name}:{settings}"
    )
    model, guide = (program.to(torch.get_default_dtype()) for program in config.build(pixels))
    perturbed(model.prior)
    return (
        Model(model.prior, [], model.likelihood),
        Guide(guide.encoders, guide.conditionals),
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_loss_by_hand(name, objective):
    model, guide = pair(name)
    x = torch.randn(4, 4)
    expected = gradient(by_hand(objective, model, guide, x), model, guide)
    torch.manual_seed(1)
    found = gradient(OBJECTIVES[objective](model, guide)(x), model, guide)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    assert found.norm() > 1e-3


@pytest.mark.parametrize(
    ("name", "objective"), [("realnvp", "iwae"), ("maf", "dreg"), ("spline", "iwae")]
)
def test_a_recorded_step_is_the_plain_one(name, objective):
    model, guide = pair(name)
    x, parameters = torch.randn(4, 4), [*model.parameters(), *guide.parameters()]
    found = []
    for gradients in (
        Gradients(OBJECTIVES[objective], model, guide),
        lambda x, betas: CompiledGradient(
            OBJECTIVES[objective], model, guide, x, betas, compiler=False
        )(x, betas),
    ):
        for parameter in parameters:
            parameter.grad = None
        torch.manual_seed(3)
        loss = gradients(x, {})
        found.append((loss.value, flat([p.grad for p in parameters])))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("name", NAMES)
def test_after_a_step_nothing_is_remembered(name):
    """The same distribution object, the same draw: its density is that of the new parameters."""
    model, _ = pair(name)
    distribution = model.prior()
    z = distribution.rsample((5,))
    distribution.log_prob(z).sum().backward()
    copied = copy.deepcopy(model)
    assert torch.equal(copied.prior().log_prob(z), distribution.log_prob(z))
    perturbed(model.prior, seed=2)
    torch.testing.assert_close(distribution.log_prob(z), model.prior().log_prob(z))
    assert not torch.equal(copied.prior().log_prob(z), distribution.log_prob(z))


@pytest.mark.parametrize("name", NAMES)
def test_a_start_from_data_finds_it_at_its_base(name):
    rows = torch.randn(200, 6) @ torch.randn(6, 6)
    pairs = [
        PairConfig("sparse", latent=(6,), hidden=("encoders=24",), prior=prior, init="data").build(
            6, rows=rows
        )
        for prior in ("standard", f"{name}:transforms=2,hidden=6")
    ]
    bounds = []
    for model, guide in pairs:
        torch.manual_seed(0)
        bounds.append(log_weights(model, guide, rows, 5).log_w)
    torch.testing.assert_close(*bounds, rtol=1e-4, atol=1e-4)


# Evaluation


@pytest.mark.usefixtures("float64")
def test_annealing_from_the_prior_finds_the_evidence():
    """Against a sum over a grid of the two units."""
    model, guide = pair("realnvp", size=2, pixels=3)
    x = torch.randn(3, 3)
    line = torch.linspace(-12, 12, 601)
    z = torch.cartesian_prod(line, line)
    with torch.no_grad():
        terms = model.prior().log_prob(z)[:, None] + model.likelihood(z[:, None]).log_prob(x)
        evidence = terms.logsumexp(0) + 2 * (line[1] - line[0]).log()
    torch.manual_seed(0)
    found = ais(model, guide, x.repeat(20, 1), num_particles=16, num_temperatures=20, start="prior")
    lower = torch.as_tensor(found.lower).reshape(20, 3)
    assert z_score(lower, evidence) < 5
    assert z_score(lower, evidence + 0.3) > 8


# Bad input


@pytest.mark.parametrize(
    ("prior", "units", "match"),
    [
        ("realnvp", 1, "'realnvp' .* top level has one; take spline, maf or learned"),
        ("realnvp:transforms=0", 4, "transforms of a flow must be a whole number of at least 1"),
        ("maf:transforms=-1", 4, "transforms of a flow must be a whole number of at least 1"),
        ("spline:bins=1", 4, "bins of a spline must be a whole number of at least 2"),
        ("maf:hidden=0x5", 4, r"hidden of the prior 'maf': a size must be .* at least 1, got 0"),
        ("maf:hidden=", 4, "hidden of the prior 'maf': cannot read ''"),
        ("maf:bins=4", 4, "unknown setting 'bins' of the prior 'maf'; allowed: transforms, hidden"),
    ],
)
def test_what_makes_no_flow_is_refused(prior, units, match):
    with pytest.raises(InputError, match=match):
        PairConfig("sparse", latent=(units,), prior=prior).build(4)


def test_zukos_import_leaves_the_checks_of_torch_as_they_were():
    program = (
        "import torch, pyro_vae.programs;"
        "assert torch.distributions.Distribution._validate_args is __debug__"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
