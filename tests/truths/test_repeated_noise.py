"""Noise beside the sites comes again in a second run, wherever in a program it is drawn."""

import copy
import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import objectives
from pyro_vae.errors import InputError
from tests.conftest import keep_every_particle

K, ROWS = 5, 4

pytestmark = pytest.mark.usefixtures("float64")


class Guide(nn.Module):
    """x -> z2 -> z1, with noise at the places that ``noise`` names."""

    def __init__(self, noise):
        super().__init__()
        self.noise, self.drop = noise, nn.Dropout(0.5)
        self.first, self.hidden, self.second = nn.Linear(3, 2), nn.Linear(2, 8), nn.Linear(8, 2)
        self.norm = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3))
        self.own = torch.Generator().manual_seed(1)

    def top(self, x):
        if "denoise" in self.noise:
            x = x + 0.3 * torch.randn_like(x)
        if "input" in self.noise:
            x = self.drop(x)
        if "depth" in self.noise and torch.rand(()) < 0.5:
            x = 2 * x
        if "spectral" in self.noise:
            x = self.norm(x)
        if "numpy" in self.noise:
            x = x + np.random.randn()  # noqa: NPY002
        if "python" in self.noise:
            x = x + random.random()
        if "own" in self.noise:
            x = x + torch.randn(x.shape, generator=self.own)
        return dist.Normal(self.first(x), 0.7).to_event(1)

    def bottom(self, x, z2):
        h = self.hidden(z2).tanh()
        if "hidden" in self.noise:
            h = self.drop(h)
        return dist.Normal(self.second(h) + x[..., :2], 0.5).to_event(1)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", self.top(x))
            pyro.sample("z1", self.bottom(x, z2))


class Model(nn.Module):
    def __init__(self, noise):
        super().__init__()
        self.noise, self.drop = noise, nn.Dropout(0.5)
        self.prior, self.decoder = nn.Linear(2, 2), nn.Linear(2, 3)
        self.shift = nn.Parameter(torch.randn(2))

    def parts(self, z2):
        loc = self.prior(z2).tanh()
        if "prior" in self.noise:
            loc = self.drop(loc)
        if "constant" in self.noise:  # one mask for all particles, after the latents were drawn
            loc = loc + self.drop(self.shift)
        return loc

    def log_joint(self, z2, z1, x):
        log_p = dist.Normal(self.parts(z2), 1.0).log_prob(z1).sum(-1)
        log_p = log_p + dist.Normal(0.0, 1.0).log_prob(z2).sum(-1)
        return log_p + dist.Normal(self.decoder(z1), 0.6).log_prob(x).sum(-1)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(self.parts(z2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z1), 0.6).to_event(1), obs=x)


def by_hand(name, model, guide, x):
    """A scalar with the gradient of the estimator; every run starts on seed 1."""
    still_model, still_guide = (copy.deepcopy(p).requires_grad_(False) for p in (model, guide))

    def draw(program, z2=None):
        torch.manual_seed(1)
        q2 = program.top(x).expand((K, ROWS))
        drawn = q2()
        z2 = drawn if z2 is None else z2
        q1 = program.bottom(x, z2)
        return q2, q1, z2, q1()

    def joint(program, z2, z1):
        torch.set_rng_state(after)
        return program.log_joint(z2, z1, x)

    q2, q1, z2, z1 = draw(guide)
    after = torch.get_rng_state()
    log_q = q2.log_prob(z2) + q1.log_prob(z1)
    still = z2.detach(), z1.detach()
    if name == "iwae":
        return -(joint(model, z2, z1) - log_q).logsumexp(0).sum()
    if name == "piwae":
        of_model = joint(model, *still) - log_q.detach()
        of_guide = joint(still_model, z2, z1) - log_q
        return -of_model.logsumexp(0).sum() - of_guide.mean(0).sum()
    leaves = [z.clone().requires_grad_() for z in still]
    again2, again1, _, _ = draw(still_guide, leaves[0])
    log_w = joint(still_model, *leaves) - again2.log_prob(leaves[0]) - again1.log_prob(leaves[1])
    along = torch.autograd.grad(log_w.sum(), leaves)
    weight = log_w.detach().softmax(0)
    gate = weight.square() if name == "dreg" else weight
    total = (weight * joint(model, *still)).sum()
    for z, slope in zip((z2, z1), along, strict=True):
        total = total + (gate[..., None] * slope * z).sum()
    return -total


def gradient(loss, *programs):
    parameters = [p for program in programs for p in program.parameters()]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


def pair(noise):
    torch.manual_seed(0)
    return Model(noise), Guide(noise), torch.randn(ROWS, 3)


OBJECTIVES = {
    "iwae": objectives.IWAE,
    "dreg": objectives.DReG,
    "stl": objectives.STL,
    "piwae": lambda k: objectives.PIWAE(1, k),
}


@pytest.mark.parametrize(
    "noise",
    [
        "",
        "denoise",
        "input",
        "depth",
        "spectral",
        "hidden",
        "prior",
        "constant",
        "input hidden prior",
    ],
)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_run_of_a_step_has_the_noise_of_the_first(name, noise):
    model, guide, x = pair(noise)
    copies = copy.deepcopy((model, guide))
    torch.manual_seed(1)
    found = gradient(OBJECTIVES[name](K)(model, guide)(x), model, guide)
    expected = gradient(by_hand(name, *copies, x), *copies)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("noise", ["", "denoise", "input", "depth", "spectral", "constant"])
@pytest.mark.parametrize("loss", [objectives.IWAE, objectives.DReG, objectives.STL])
def test_kept_particles_meet_the_noise_that_all_of_them_met(loss, noise, monkeypatch):
    """With every particle kept, thinning has the gradient of no thinning."""
    keep_every_particle(monkeypatch)
    found = []
    for thin in (None, K):
        model, guide, x = pair(noise)
        torch.manual_seed(1)
        found.append(gradient(loss(K, thin=thin)(model, guide)(x), model, guide))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("noise", ["hidden", "prior"])
def test_masks_of_single_particles_are_not_thinned(noise):
    model, guide, x = pair(noise)
    with pytest.raises(
        InputError, match=r"Dropout 'drop'.*, anew for every particle, and thinning"
    ):
        objectives.IWAE(K, thin=2)(model, guide)(x)
    assert torch.isfinite(objectives.IWAE(K, thin=2)(model.eval(), guide.eval())(x))


@pytest.mark.parametrize("noise", ["numpy", "python"])
@pytest.mark.parametrize("loss", [objectives.DReG(K), objectives.IWAE(K, thin=2)])
def test_generators_that_do_not_come_again_are_refused(loss, noise):
    model, guide, x = pair(noise)
    with pytest.raises(InputError, match=r"Python's or NumPy's generator.*draw from torch's"):
        loss(model, guide)(x)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (objectives.DReG(K), r"guide scores site 'z2' otherwise .*'dreg' runs the guide again"),
        (objectives.STL(K), r"guide scores site 'z2' otherwise .*'stl' runs the guide again"),
        (objectives.IWAE(K, thin=2), r"other weights .* a generator of their own.*thinning"),
    ],
)
def test_a_generator_of_the_programs_own_is_noticed(loss, said):
    model, guide, x = pair("own")
    with pytest.raises(InputError, match=said):
        loss(model, guide)(x)
    assert torch.isfinite(objectives.IWAE(K)(model, guide)(x))
