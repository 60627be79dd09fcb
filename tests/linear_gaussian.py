"""The oracle: a linear-Gaussian hierarchy whose evidence, posterior and bounds are closed forms.

    z2 ~ N(0, I),   z1 | z2 ~ N(A z2 + a, diag(s1^2)),   x | z1 ~ N(B z1 + b, diag(s0^2))

Model and guide are plain Pyro programs with one data plate, and share no code with the library.
"""

import copy

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

SIZES = (4, 3, 2)  # of x, z1 and z2


def lower(raw):
    """Cholesky factor from unconstrained numbers: the exponential keeps its diagonal positive."""
    return raw.tril(-1) + raw.diagonal().exp().diag_embed()


def raw_factor(covariance):
    """Inverse of :func:`lower` at the Cholesky factor of ``covariance``."""
    factor = torch.linalg.cholesky(covariance)
    return factor.tril(-1) + factor.diagonal().log().diag_embed()


class LinearModel(nn.Module):
    """p(x, z1, z2). Called with x (B, 4)."""

    def __init__(self):
        super().__init__()
        dx, d1, d2 = SIZES
        self.A = nn.Parameter(0.6 * torch.randn(d1, d2))
        self.a = nn.Parameter(torch.randn(d1))
        self.log_s1 = nn.Parameter(0.2 * torch.randn(d1))
        self.B = nn.Parameter(0.6 * torch.randn(dx, d1))
        self.b = nn.Parameter(torch.randn(dx))
        self.log_s0 = nn.Parameter(0.2 * torch.randn(dx) - 0.2)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            return self.inside_plate(x)

    def inside_plate(self, x):
        """The sample statements, for use inside a data plate."""
        z2 = pyro.sample("z2", dist.Normal(self.A.new_zeros(SIZES[2]), 1.0).to_event(1))
        z1 = pyro.sample("z1", dist.Normal(z2 @ self.A.T + self.a, self.log_s1.exp()).to_event(1))
        loc = z1 @ self.B.T + self.b
        return pyro.sample("x", dist.Normal(loc, self.log_s0.exp()).to_event(1), obs=x)

    def joint(self):
        """p(z1, z2): mean (5,), covariance (5, 5)."""
        d2, d1 = SIZES[2], SIZES[1]
        v1 = self.A @ self.A.T + (2 * self.log_s1).exp().diag()
        top = torch.cat([v1, self.A], 1)
        bottom = torch.cat([self.A.T, torch.eye(d2)], 1)
        return torch.cat([self.a, torch.zeros(d2)]), torch.cat([top, bottom]).reshape(d1 + d2, -1)

    def evidence(self):
        """p(x), a distribution."""
        mean, covariance = self.joint()
        d1 = SIZES[1]
        noise = (2 * self.log_s0).exp().diag()
        return MultivariateNormal(
            self.B @ mean[:d1] + self.b, self.B @ covariance[:d1, :d1] @ self.B.T + noise
        )

    def log_evidence(self, x):
        """log p(x), (B,) nats."""
        return self.evidence().log_prob(x)

    def posterior(self, x):
        """p(z1, z2 | x), a distribution over (B, 5)."""
        mean, covariance = self.joint()
        reading = torch.cat([self.B, torch.zeros(SIZES[0], SIZES[2])], 1)  # x = reading (z1, z2)
        precision = covariance.inverse() + reading.T @ ((-2 * self.log_s0).exp()[:, None] * reading)
        pull = ((x - self.b) * (-2 * self.log_s0).exp()) @ reading + covariance.inverse() @ mean
        return MultivariateNormal(pull @ precision.inverse(), precision_matrix=precision)

    @torch.no_grad()
    def sample_x(self, num_data):
        return self.evidence().sample((num_data,))


class LinearGuide(nn.Module):
    """q(z2 | x) q(z1 | x, z2), both linear with full covariances: it contains the posterior."""

    def __init__(self):
        super().__init__()
        dx, d1, d2 = SIZES
        self.W2 = nn.Parameter(torch.zeros(d2, dx))
        self.c2 = nn.Parameter(torch.zeros(d2))
        self.L2 = nn.Parameter(torch.zeros(d2, d2))
        self.W1 = nn.Parameter(torch.zeros(d1, dx))
        self.V1 = nn.Parameter(torch.zeros(d1, d2))
        self.c1 = nn.Parameter(torch.zeros(d1))
        self.L1 = nn.Parameter(torch.zeros(d1, d1))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            self.inside_plate(x)

    def inside_plate(self, x):
        """The sample statements, for use inside a data plate."""
        q2 = dist.MultivariateNormal(x @ self.W2.T + self.c2, scale_tril=lower(self.L2))
        z2 = pyro.sample("z2", q2)
        loc = x @ self.W1.T + self.c1 + z2 @ self.V1.T
        pyro.sample("z1", dist.MultivariateNormal(loc, scale_tril=lower(self.L1)))

    def joint(self, x):
        """q(z1, z2 | x), a distribution over (B, 5)."""
        m2 = x @ self.W2.T + self.c2
        m1 = x @ self.W1.T + self.c1 + m2 @ self.V1.T
        S2, S1 = (lower(raw) @ lower(raw).T for raw in (self.L2, self.L1))
        top = torch.cat([self.V1 @ S2 @ self.V1.T + S1, self.V1 @ S2], 1)
        bottom = torch.cat([S2 @ self.V1.T, S2], 1)
        return MultivariateNormal(torch.cat([m1, m2], -1), torch.cat([top, bottom]))


@torch.no_grad()
def optimal_guide(model):
    """The guide that is the posterior."""
    guide = LinearGuide()
    d1 = SIZES[1]
    posterior = model.posterior(torch.cat([torch.zeros(1, SIZES[0]), torch.eye(SIZES[0])]))
    offset, columns = posterior.loc[0], (posterior.loc[1:] - posterior.loc[0]).T
    S = posterior.covariance_matrix[0]
    V1 = S[:d1, d1:] @ S[d1:, d1:].inverse()
    values = {
        "W2": columns[d1:],
        "c2": offset[d1:],
        "L2": raw_factor(S[d1:, d1:]),
        "V1": V1,
        "W1": columns[:d1] - V1 @ columns[d1:],
        "c1": offset[:d1] - V1 @ offset[d1:],
        "L1": raw_factor(S[:d1, :d1] - V1 @ S[d1:, :d1]),
    }
    guide.load_state_dict(values)
    return guide


@torch.no_grad()
def perturbed(module, size=0.1, widen=0.0):
    """A copy with noise on every parameter; ``widen`` adds to the log-scales of a guide."""
    other = copy.deepcopy(module)
    for name, parameter in other.named_parameters():
        parameter += size * torch.randn_like(parameter)
        if name in ("L1", "L2"):
            parameter += widen * torch.eye(len(parameter))
    return other


def elbo(model, guide, x):
    """The exact ELBO, (B,) nats: log p(x) - KL(q || posterior)."""
    return model.log_evidence(x) - kl_divergence(guide.joint(x), model.posterior(x))


def chi2(model, guide, x):
    """chi^2(posterior || q) = E_q[(w / p(x))^2] - 1, (B,); inf where the weights have no variance.

    The integral of p^2 / q, a Gaussian with precision M = 2 P - Q where that is positive definite.
    """
    p, q = model.posterior(x), guide.joint(x)
    P, Q = p.precision_matrix, q.precision_matrix
    M = 2 * P - Q
    if torch.linalg.eigvalsh(M).min() <= 0:
        return torch.full((len(x),), torch.inf)
    h = 2 * quadratic(P, p.loc) - quadratic(Q, q.loc)
    log_integral = (
        P.logdet()
        - 0.5 * (Q.logdet() + M.logdet())
        + 0.5 * (h * quadratic(M.inverse(), h)).sum(-1)
        - (p.loc * quadratic(P, p.loc)).sum(-1)
        + 0.5 * (q.loc * quadratic(Q, q.loc)).sum(-1)
    )
    return log_integral.expm1()


def quadratic(matrix, vector):
    return (matrix @ vector[..., None])[..., 0]


def oracle(num_data=3, size=0.03, widen=0.1):
    """Model, its optimal guide, a perturbed one, and data from the model."""
    model = LinearModel()
    best = optimal_guide(model)
    return model, best, perturbed(best, size, widen), model.sample_x(num_data)
