# %% [markdown]
# # A likelihood one cannot trust
#
# Every log-likelihood of a VAE that is estimated by importance sampling is a lower estimate. Here is one that is right,
# one that is wrong by many nats while its standard error says otherwise, and how Pareto k-hat tells them apart.
# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from torch import nn

import pyro_vae
from pyro_vae import evaluation

torch.set_num_threads(1)


# %% [markdown]
# ## A model whose likelihood is known
#
# z ~ N(0, 1) in 20 dimensions, x = z + noise. So x ~ N(0, 2) and z given x ~ N(x / 2, 1 / 2). One guide is that
# posterior with a scale that is right to a tenth, the other has half of the right scale.
# %%
class Model(nn.Module):
    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(20), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.scale = factor * math.sqrt(0.5)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, self.scale).to_event(1))


torch.manual_seed(0)
x = math.sqrt(2) * torch.randn(100, 20)
truth = dist.Normal(0.0, math.sqrt(2)).log_prob(x).sum(-1).numpy()

rows = {}
for name, factor in {"scale right to a tenth": 1.1, "half the scale": 0.5}.items():
    torch.manual_seed(1)
    found = evaluation.evaluate(Model(), Guide(factor), x, num_particles=2_000)
    error = found.log_likelihood - truth
    rows[name] = {
        "L_2000 less log p(x)": error.mean(),
        "stated Monte Carlo error": np.sqrt((found.monte_carlo_error**2).mean()),
        "true error, root mean square": np.sqrt((error**2).mean()),
        "k-hat, mean": found.khat.mean(),
        "share of k-hat above 0.7": (found.khat > 0.7).mean(),
    }
    print(f"{name}: {found.warning}")
pd.DataFrame(rows).T.round(3)
# %% [markdown]
# The second guide never visits the tails of the posterior, where the largest weights lie. Its own standard error cannot
# know of weights that it has not seen. k-hat is the shape of the tail of those it has: above 0.7 the mean of the weights
# converges too slowly to be used (Vehtari et al. 2024).
#
# ## More particles
#
# Where k-hat is low the curve of L_k is flat at its end. Where it is high it still rises: a factor of ten in particles
# buys a few tenths of a nat, again and again.
# %%
figure, ax = plt.subplots(figsize=(6, 3.5))
for name, factor in {"scale right to a tenth": 1.1, "half the scale": 0.5}.items():
    curve = evaluation.bound_curve(Model(), Guide(factor), x, num_particles=10_000)
    ax.plot(curve.particles, curve.mean - truth.mean(), label=name)
ax.axhline(0, color="k", linestyle=":")
ax.set(xscale="log", xlabel="k", ylabel="L_k less log p(x), nats")
ax.legend()
# %% [markdown]
# ## A trained VAE
#
# There is no truth for a VAE of photographs. `bidirectional` brackets it, on data that the model itself draws: annealed
# importance sampling from below, its reverse from above (Grosse et al. 2015).
# %%
data = pyro_vae.load_dataset("natural", num_train=4_000, patch_size=8, components=32)
config = pyro_vae.PairConfig(latent=(48, 8), hidden=("encoders=100/50", "feedback=30", "priors=30"))
model, guide = config.build(data.train.shape[1], rows=data.train)
pyro_vae.fit(
    model,
    guide,
    data.train,
    objective=pyro_vae.IWAE(10),
    epochs=5,
    optimiser=pyro_vae.OptimiserSettings(lr=1e-3),
    compile=False,
    progress=False,
)
bracket = evaluation.bidirectional(model, guide, num_data=20, num_temperatures=300)
sampled = evaluation.evaluate(model, guide, bracket.x, num_particles=2_000)
print(f"importance sampling, 2000 particles: {sampled.log_likelihood.mean():.2f}")
print(f"bracket: {bracket.lower.mean():.2f} to {bracket.upper.mean():.2f} nats")
print(f"k-hat above 0.7 for {(sampled.khat > 0.7).mean():.0%} of the data")
pd.DataFrame(bracket.summary()).T.round(2)
# %% [markdown]
# What helps: longer training, another guide (`--guide topdown`, `--posterior flow`), fewer units, more particles while
# the curve still rises. What does not: quoting the standard error. `pyro-vae bracket RUN` does this for a run.
