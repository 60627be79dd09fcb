"""Models with a handful of latent values: expectations over k particles are finite sums."""

import itertools

import pyro
import pyro.distributions as dist
import torch


class DiscretePair:
    """p(z2) p(z1 | z2) p(x | z1) and q(z2 | x) q(z1 | x, z2) from random tables; x in {0, 1, 2, 3}.

    With ``levels=1`` there is no z2. ``states`` counts the joint values of the latents.
    """

    def __init__(self, levels, num_z1=3, num_z2=2, num_x=4):
        self.levels, self.num_z1, self.num_z2 = levels, num_z1, num_z2 if levels == 2 else 1
        self.states = self.num_z1 * self.num_z2
        self.top = torch.randn(self.num_z2).log_softmax(-1)
        self.prior = torch.randn(self.num_z2, num_z1).log_softmax(-1)
        self.likelihood = (1.5 * torch.randn(num_z1, num_x)).log_softmax(-1)
        self.guide_top = torch.randn(num_x, self.num_z2).log_softmax(-1)
        self.guide_z1 = torch.randn(num_x, self.num_z2, num_z1).log_softmax(-1)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = self._top(self.top)
            z1 = pyro.sample("z1", dist.Categorical(logits=self.prior[z2]))
            pyro.sample("x", dist.Categorical(logits=self.likelihood[z1]), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = self._top(self.guide_top[x])
            pyro.sample("z1", dist.Categorical(logits=self.guide_z1[x, z2]))

    def _top(self, logits):
        return pyro.sample("z2", dist.Categorical(logits=logits)) if self.levels == 2 else 0

    def state(self, latents):
        """Joint value in 0 .. states - 1 of drawn latents."""
        return latents["z1"] + self.num_z1 * latents.get("z2", 0)

    def log_joint(self, x):
        """log p(x, z) for one x, (states,)."""
        return (self.top[:, None] + self.prior + self.likelihood[:, x]).reshape(-1)

    def log_guide(self, x):
        """log q(z | x) for one x, (states,)."""
        return (self.guide_top[x][:, None] + self.guide_z1[x]).reshape(-1)


def tuples(states, k):
    """All k-tuples of states, (k, states^k)."""
    return (
        torch.tensor([*itertools.product(range(states), repeat=k)]).reshape(states**k, k).T.long()
    )


def expected_weights(log_p, log_q, k):
    """q_EW(z), (states,), and the exact E over the others of L_VAE[q_IW(. | others)].

    q_IW(z | z_2..k) = p(x, z) / ((w(z) + sum_i w(z_i)) / k), Vas 2024, eq. 4.4; the sum
    need not be one.
    """
    log_w = log_p - log_q
    others = tuples(len(log_p), k - 1)  # (k - 1, T), one empty tuple where k = 1
    probability = log_q[others].sum(0).exp()
    total = log_w.exp() + log_w[others].exp().sum(0)[:, None]  # (T, states)
    log_q_iw = log_p - (total / k).log()
    vae_bound = (log_q_iw.exp() * (log_p - log_q_iw)).sum(-1)
    return (probability[:, None] * log_q_iw.exp()).sum(0), (probability * vae_bound).sum()
