"""Doubly reparameterised gradients against finite differences, without autograd.

On fixed noise, with w~ the normalised weights at the parameters that stand, phi of the guide and
theta of the model, the gradient of Tucker et al. 2019 (https://arxiv.org/abs/1810.04152, eq. 8) is

    d/dtheta sum_k w~_k log p_theta(x, z_k)
    + d/dphi sum_k w~_k^2 ( log p(x, z_k(phi)) - log q_phi0(z_k(phi) | x) )

at phi0 = phi, where the density of q stays that of phi0: only the draws move. Sticking the landing
(Roeder et al. 2017, https://arxiv.org/abs/1703.09194) has w~ in the place of w~^2. A prior that
uses the guide has phi in theta's place too. All derivatives are taken as central differences along
a random direction of each parameter.
"""

import copy
from dataclasses import dataclass

import pyro
import pyro.poutine as poutine
import pytest
import torch

from pyro_vae import PairConfig, log_weights
from pyro_vae.objectives import estimators
from pyro_vae.weights import handlers
from tests.truths.test_flow_priors import perturbed
from tests.truths.test_flows import OBJECTIVES

K, ROWS, PIXELS, STEP = 6, 3, 4, 1e-5  # particles as those of OBJECTIVES
TINY = "transforms=1,hidden=5,context=2"


@dataclass(frozen=True)
class Case:
    """A pair: the prior, the posterior of each level, and the guide."""

    prior: str
    posterior: str
    levels: int = 1
    guide: str = "topdown"

    def pair(self):
        config = PairConfig(
            "sparse" if self.levels == 1 else "td",
            self.guide,
            latent=(3, 2)[: self.levels],
            family=("normal",),
            hidden=("4",),
            prior=self.prior,
            posterior=self.posterior,
            init="random",
        )
        model, guide = (program.double() for program in config.build(PIXELS))
        return perturbed(model, spread=0.2), perturbed(guide, spread=0.2)

    @property
    def bends(self):
        return self.posterior != "locscale"

    @property
    def shares(self):
        return self.prior.startswith("vamp")


VAMP = "vamp:components=3,weights=learned"
CASES = [
    Case("standard", f"flow:{TINY}"),
    Case("standard", f"iaf:{TINY}"),
    Case("realnvp:transforms=2,hidden=5", f"flow:{TINY}"),
    Case(VAMP, "locscale"),
    Case(VAMP, f"flow:{TINY}"),
    Case(VAMP, f"locscale/iaf:{TINY}", levels=2),
    Case("mixture:components=3", f"flow:{TINY}/locscale", levels=2, guide="bottomup"),
]
NAMES = [f"{case.prior}, {case.posterior}, {case.levels}" for case in CASES]

pytestmark = pytest.mark.usefixtures("float64")


def drawn(model, guide, x):
    """The table of log-weights, always on the same noise."""
    torch.manual_seed(1)
    with torch.no_grad():
        return log_weights(model, guide, x, K)


def log_q(guide, x, latents):
    """log q(z | x) (K, B) of given latents, by Pyro alone."""
    with torch.no_grad(), pyro.plate("particles", K, dim=-2):
        trace = poutine.trace(poutine.condition(guide, latents)).get_trace(x)
        trace.compute_log_prob()
    return sum(trace.nodes[name]["log_prob"] for name in latents)


def log_joint(table):
    return table.log_likelihood + sum(table.log_prior.values())


class Differences:
    """Derivatives of one pair along a direction of each parameter, by its parts.

    Attributes:
        of_model: through the model's density at still draws, a prior's use of the guide included.
        of_draws: exponent of w~ -> through the draws, under the density of the guide that stood.
        of_density: exponent of w~ -> through log q at still draws, which these gradients leave out.
    """

    def __init__(self, model, guide, x):
        self.model, self.guide, self.x = model, guide, x
        self.weights = drawn(model, guide, x).log_w.softmax(0)
        copied = copy.deepcopy((model, guide))  # together: a prior keeps its guide
        parameters = [p for program in copied for p in program.parameters()]
        self.directions = [torch.randn_like(p) for p in parameters]
        ends = []
        for parameter, direction in zip(parameters, self.directions, strict=True):
            both = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter += sign * STEP * direction
                    both.append(self.sums(*copied))
                    parameter -= sign * STEP * direction
            ends.append((both[0] - both[1]) / (2 * STEP))
        self.of_model, *rest = torch.stack(ends).unbind(-1)
        self.of_draws = {1: rest[0], 2: rest[1]}
        self.of_density = {1: rest[2], 2: rest[3]}

    def sums(self, moved_model, moved_guide):
        w = self.weights
        joint = log_joint(drawn(moved_model, self.guide, self.x))
        moved = drawn(self.model, moved_guide, self.x)
        along = log_joint(moved) - log_q(self.guide, self.x, moved.latents)
        still = drawn(self.model, self.guide, self.x).latents
        density = log_q(moved_guide, self.x, still)
        terms = [w * joint, w * along, w**2 * along, w * density, w**2 * density]
        return torch.stack([term.sum() for term in terms])

    def along(self, gradients):
        pairs = zip(gradients, self.directions, strict=True)
        return torch.stack([(g * direction).sum() for g, direction in pairs])


def gradient(name, model, guide, x):
    """Of the bound: that of the loss, with the other sign."""
    parameters = [p for program in (model, guide) for p in program.parameters()]
    torch.manual_seed(1)
    loss = OBJECTIVES[name](model, guide)(x)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else -g for g, p in zip(found, parameters, strict=True)
    ]


def far(found, expected):
    return (found - expected).norm() > 0.01 * expected.norm()


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_gradient_is_that_of_finite_differences(case, monkeypatch):
    model, guide = case.pair()
    x = torch.randn(ROWS, PIXELS)
    parts = Differences(model, guide, x)
    for name, power in (("dreg", 2), ("stl", 1)):
        expected = parts.of_model + parts.of_draws[power]
        found = parts.along(gradient(name, model, guide, x))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
        # What it would be with the other weights, or with log q moving as well.
        assert far(parts.of_model + parts.of_draws[3 - power], expected)
        assert far(expected - parts.of_density[power], expected)
        if case.shares:  # without the prior's own use of the guide
            of_guide = len(list(model.parameters()))
            alone = expected.clone()
            alone[of_guide:] -= parts.of_model[of_guide:]
            assert far(alone, expected)
    if not case.bends:
        return
    # A density that reads parameters outside the cut is refused, and would be wrong.
    monkeypatch.setattr(handlers, "reads_late", lambda fn: False)
    monkeypatch.setattr(estimators, "check_cut", lambda *cut: None)
    for name, power in (("dreg", 2), ("stl", 1)):
        expected = parts.of_model + parts.of_draws[power]
        assert far(parts.along(gradient(name, model, guide, x)), expected)


@pytest.mark.parametrize("case", CASES[::3], ids=NAMES[::3])
def test_importance_weighting_moves_the_density_too(case):
    """IWAE's own gradient, w~ everywhere and log q alive, from the same parts."""
    model, guide = case.pair()
    x = torch.randn(ROWS, PIXELS)
    parts = Differences(model, guide, x)
    expected = parts.of_model + parts.of_draws[1] - parts.of_density[1]
    found = parts.along(gradient("iwae", model, guide, x))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert far(parts.of_model + parts.of_draws[1], expected)
