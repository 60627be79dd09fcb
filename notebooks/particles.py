# %% [markdown]
# # What particles do
#
# An importance-weighted bound averages K weights inside the logarithm (Burda et al. 2016). More particles give a tighter
# bound. They also change what the guide is trained for, and how well its gradient can be told from noise (Rainforth et
# al. 2018). All three are seen here, on the digits of 8 × 8 pixels that come with scikit-learn.
# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch
from sklearn.datasets import load_digits

import pyro_vae
from pyro_vae import evaluation

torch.set_num_threads(1)
images = torch.tensor(load_digits().data / 16, dtype=torch.float32)
torch.manual_seed(0)
digits = torch.bernoulli(images)[torch.randperm(len(images))]
train, test = digits[:1500], digits[1500:]
# %% [markdown]
# ## Three models that differ in K
#
# The same pair, the same seed, as many steps; 1, 5 and 50 particles. One seed: differences of a nat may be chance.
# %%
pairs = {}
for k in (1, 5, 50):
    config = pyro_vae.PairConfig(
        "burda1", "bottomup", latent=(16,), hidden=("100",), activation=("tanh",)
    )
    pairs[k] = config.build(64, rows=train)
    pyro_vae.fit(
        *pairs[k],
        train,
        valid=test[:100],
        objective=pyro_vae.IWAE(k),
        epochs=40,
        optimiser=pyro_vae.OptimiserSettings(lr=2e-3),
        compile=False,
        progress=False,
    )
# %% [markdown]
# ## A tighter bound of the same model
#
# `bound_curve` has L_k for every k, from disjoint groups of the same particles: it rises from the ELBO (k = 1) towards
# log p(x). Models are compared where all curves have the same k, here at their right end.
# %%
figure, ax = plt.subplots(figsize=(6, 3.5))
rows = {}
for k, pair in pairs.items():
    torch.manual_seed(1)
    curve = evaluation.bound_curve(*pair, test, num_particles=2_000)
    ax.errorbar(curve.particles, curve.mean, curve.standard_error, label=f"trained with K = {k}")
    found = evaluation.evaluate(*pair, test, num_particles=2_000, bound_particles=50)
    summary = found.summary()
    rows[f"K = {k}"] = {
        name: summary[name]["mean"]
        for name in ("elbo", "bound", "log_likelihood", "kl_to_posterior", "ess", "khat")
    }
ax.set(xscale="log", xlabel="k", ylabel="L_k, nats per digit")
ax.legend()
pd.DataFrame(rows).T.round(2)
# %% [markdown]
# `bound` is L_50 and `ess` the effective number of those 50 particles. Training with more particles need not raise the
# ELBO, which is not what it trains for: its guide may be further from the posterior (`kl_to_posterior`, a lower
# estimate) while the likelihood is as good or better.
#
# ## A guide whose gradient drowns
#
# The signal-to-noise ratio of the gradient, for model and guide apart, as K grows. For the model it rises like sqrt(K). For
# the guide it falls like 1 / sqrt(K) with the plain gradient; with the doubly reparameterised one (Tucker et al. 2019) it
# rises far from the optimum, and here, after training by the ELBO, stays several times that of the plain one.
# %%
model, guide = pairs[1]
ratios = {}
for name, made in {"iwae": pyro_vae.IWAE, "dreg": pyro_vae.DReG}.items():
    for k in (1, 4, 16, 64):
        torch.manual_seed(2)
        noise = evaluation.gradient_signal_to_noise(
            made(k), model, guide, test[:50], num_repeats=100
        )
        ratios[name, k] = {"model": noise.model.norm, "guide": noise.guide.norm}
pd.DataFrame(ratios).T.round(2)
# %% [markdown]
# ## What to take from it
#
# - Report L_K at one K for all models, or log-likelihoods with k-hat beside them.
# - With many particles take `dreg`, or `--objective piwae`, `miwae` or `ciwae`, which lie between ELBO and IWAE.
# - `fit --thin` differentiates few of many particles, without bias.
