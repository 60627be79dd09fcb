"""A self-supervised pair that can be enumerated: x of four values; y, u and z of two each."""

import itertools
import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae import bounds
from pyro_vae.programs.likelihoods import Logistic, Quantised
from pyro_vae.programs.representations import chain
from pyro_vae.programs.self_supervised import SelfSupervisedGuide, SelfSupervisedVAE
from tests.discrete import tuples

pytestmark = pytest.mark.usefixtures("float64")


class Rows(dist.TorchDistribution):
    """A categorical law of one number, as a row of width one, which is what pairs pass around."""

    support = torch.distributions.constraints.real_vector
    arg_constraints = {}  # noqa: RUF012 - torch's own convention

    def __init__(self, logits):
        self.law = torch.distributions.Categorical(logits=logits)
        super().__init__(logits.shape[:-1], torch.Size([1]), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return Rows(self.law.logits.expand(*batch_shape, -1))

    def sample(self, sample_shape=torch.Size()):  # noqa: B008
        return self.law.sample(sample_shape)[..., None].double()

    def log_prob(self, value):
        return self.law.log_prob(value[..., 0].long())


class Table(nn.Module):
    """p(. | parents) from a random table, whose first axes are the parents' values."""

    def __init__(self, *sizes):
        super().__init__()
        self.logits = nn.Parameter(1.5 * torch.randn(sizes))
        self.features = 1

    def forward(self, *parents):
        return Rows(self.logits.log_softmax(-1)[tuple(p[..., 0].long() for p in parents)])


class Half(nn.Module):
    """y = x // 2."""

    features = 1

    def forward(self, x):
        return (x // 2).floor()


class Pair:
    """Every density by hand: latents z1 (z of the paper) and z2 (u), joint states 2 z2 + z1."""

    def __init__(self):
        torch.manual_seed(3)
        self.model = SelfSupervisedVAE(
            Table(2), Table(2, 2), [Table(2, 2, 2)], [Table(2, 2, 4)], [Half()]
        )
        self.guide = SelfSupervisedGuide(
            [nn.Identity(), nn.Identity()], [Table(4, 2), Table(2, 2)], [Half()]
        )

    def log_joint(self, x, y):
        """log p(x, y, z) for one x and any y, (states,)."""
        m = self.model
        prior, top = m.prior.logits.log_softmax(-1), m.top.logits.log_softmax(-1)
        z = m.conditionals[0].logits.log_softmax(-1)[y]  # (u, z)
        x_given = m.likelihoods[0].logits.log_softmax(-1)[y, :, x]  # (z,)
        return ((prior + top[:, y])[:, None] + z + x_given).reshape(-1)

    def log_guide(self, x):
        """log q(z | x), (states,)."""
        z, u = (part.logits.log_softmax(-1) for part in self.guide.conditionals)
        return (u[x // 2][:, None] + z[x]).reshape(-1)


def bound_by_hand(log_p, log_q, k):
    """L_k by the sum over all k-tuples of particles."""
    particles = tuples(len(log_p), k)
    return (log_q[particles].sum(0).exp() * bounds.iwae((log_p - log_q)[particles])).sum()


@torch.no_grad()
def test_weights_are_the_table_and_the_kl_of_z_is_among_them():
    pair, x = Pair(), torch.arange(4.0)[:, None]
    terms = pyro_vae.log_weights(pair.model, pair.guide, x, 200)
    state = (2 * terms.latents["z2"] + terms.latents["z1"])[..., 0].long()
    table = torch.stack([pair.log_joint(v, v // 2) - pair.log_guide(v) for v in range(4)])
    expected = table[torch.arange(4), state]
    torch.testing.assert_close(terms.log_w, expected, rtol=0, atol=1e-12)
    assert set(terms.log_likelihoods) == {"x", "y1"}
    # The printed sum of equation 5.4 begins at k = 2, and so loses the divergence of z.
    without = terms.log_w + terms.log_ratios["z1"]
    assert (without - expected).abs().max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 2, 3])
def test_bounds_are_of_the_pair(k):
    """L_k below log p(x, d(x)), which is strictly below log p(x)."""
    pair = Pair()
    for x in range(4):
        log_p, log_q = pair.log_joint(x, x // 2), pair.log_guide(x)
        found = bound_by_hand(log_p, log_q, k)
        of_pair = log_p.logsumexp(0)
        of_x = torch.cat([pair.log_joint(x, y) for y in (0, 1)]).logsumexp(0)
        assert found < of_pair - 1e-6 < of_x - 1e-3


def every_state(pair, x, states=4):
    """The library's weight and log q of each joint state, (states,), of one row x (1, 1)."""
    terms = pyro_vae.log_weights(pair.model, pair.guide, x, 400)
    state = (2 * terms.latents["z2"] + terms.latents["z1"])[:, 0, 0].long()
    first = torch.stack([(state == one).nonzero()[0, 0] for one in range(states)])
    return terms.log_w[first, 0], sum(terms.log_guide.values())[first, 0]


def enumerated(pair, x, y, k):
    """E log((1/k) sum w), state by state, from the tables."""
    p, q = pair.log_joint(x, y).exp().tolist(), pair.log_guide(x).exp().tolist()
    total = 0.0
    for drawn in itertools.product(range(4), repeat=k):
        probability = math.prod(q[state] for state in drawn)
        total += probability * math.log(sum(p[state] / q[state] for state in drawn) / k)
    return total


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 2, 3])
def test_bounds_of_the_library_are_those_of_the_enumeration(k):
    """The ELBO, L_2, L_3 and their limit, from the library's densities and its bounds."""
    pair = Pair()
    for x in range(4):
        row = torch.tensor([[float(x)]])
        log_w, log_q = every_state(pair, row)
        particles = tuples(4, k)
        bound = bounds.elbo if k == 1 else bounds.iwae
        found = (log_q[particles].sum(0).exp() * bound(log_w[particles])).sum().item()
        assert found == pytest.approx(enumerated(pair, x, x // 2, k), abs=1e-9)
        limit = (log_q + log_w).logsumexp(0).item()
        assert limit == pytest.approx(pair.log_joint(x, x // 2).logsumexp(0).item(), abs=1e-9)


@torch.no_grad()
def test_the_quantised_likelihood_has_the_evidence_of_the_image():
    """One pixel of 256 levels, y its high bit, u and z of two values: every sum is exact."""
    torch.manual_seed(5)
    (high,) = chain(["quantise:1"], (1, 1, 1))
    made = {"image_shape": (1, 1, 1), "activation": "tanh"}
    top, below = Logistic(1, (3,), 1, **made), Logistic((1, 1), (3,), 1, **made)
    whole, law_of_y = Quantised(below, 1), Quantised(top, None, 1)
    q, r = Table(2).logits.log_softmax(-1), Table(2, 2, 2).logits.log_softmax(-1)
    x = torch.arange(256.0)[:, None] / 255
    values = high(x).unique(dim=0)  # of y

    def log_p(rows, y, bit):
        """log p(rows, y) by the sum over u and z."""
        terms = []
        for u, z in itertools.product((0, 1), repeat=2):
            given_u, given_z = torch.tensor([[float(u)]]), torch.tensor([[float(z)]])
            law_of_x = whole(y.expand(len(rows), 1), given_z.expand(len(rows), 1))
            known = q[u] + law_of_y(given_u).log_prob(y) + r[bit, u, z]
            terms.append(known + law_of_x.log_prob(rows))
        return torch.stack(terms).logsumexp(0)

    both = torch.stack([log_p(x, y[None], bit) for bit, y in enumerate(values)])
    own = (high(x) == values[1]).long()[:, 0]
    of_pair, of_x = both.gather(0, own[None])[0], both.logsumexp(0)
    torch.testing.assert_close(of_pair, of_x, rtol=0, atol=1e-9)
    assert of_x.exp().sum().item() == pytest.approx(1, abs=1e-9)


@torch.no_grad()
def test_many_particles_tend_to_the_pair_and_not_to_the_image():
    """The library's L_N: within 4 standard errors of one evidence, beyond 8 of the other."""
    pair, x = Pair(), torch.arange(4.0)[:, None]
    torch.manual_seed(0)
    log_w = pyro_vae.log_weights(pair.model, pair.guide, x, 500_000).log_w
    found, w = bounds.iwae(log_w), log_w.exp()
    error = w.std(0) / w.mean(0) / len(w) ** 0.5  # of the logarithm of a mean
    of_pair = torch.stack([pair.log_joint(v, v // 2).logsumexp(0) for v in range(4)])
    of_x = torch.stack(
        [torch.cat([pair.log_joint(v, y) for y in (0, 1)]).logsumexp(0) for v in range(4)]
    )
    assert ((found - of_pair) / error).abs().max() < 4
    assert ((of_x - found) / error).min() > 8


@torch.no_grad()
def test_three_levels_weigh_as_their_sites_do():
    """x -> y1 -> y2 with hand-summed densities."""
    torch.manual_seed(1)
    transforms = [Half(), Half()]
    model = SelfSupervisedVAE(
        Table(2),
        Table(2, 2),
        [Table(4, 2, 2), Table(2, 2, 2)],
        [Table(4, 2, 8), Table(2, 2, 4)],
        transforms,
    )
    guide = SelfSupervisedGuide(
        [nn.Identity()] * 3, [Table(8, 2), Table(4, 2), Table(2, 2)], transforms
    )
    x = torch.arange(8.0)[:, None]
    terms = pyro_vae.log_weights(model, guide, x, 50)
    z1, z2, z3 = (terms.latents[f"z{level}"] for level in (1, 2, 3))
    y1, y2 = x // 2, x // 4
    expected = (
        model.prior().log_prob(z3)
        + model.top(z3).log_prob(y2)
        + model.conditionals[1](y2, z3).log_prob(z2)
        + model.likelihoods[1](y2, z2).log_prob(y1)
        + model.conditionals[0](y1, z2).log_prob(z1)
        + model.likelihoods[0](y1, z1).log_prob(x)
        - guide.conditionals[0](x).log_prob(z1)
        - guide.conditionals[1](y1).log_prob(z2)
        - guide.conditionals[2](y2).log_prob(z3)
    )
    torch.testing.assert_close(terms.log_w, expected, rtol=0, atol=1e-12)
    assert set(terms.log_likelihoods) == {"x", "y1", "y2"}
