# %% [markdown]
# # A first fit, with pictures
#
# A two-level VAE of whitened photographs, trained in Python: its curves, its generative fields, reconstructions and draws,
# its bounds with their errors and with k-hat, its posterior in ArviZ, and a run that is saved and loaded. Photographs come
# with scikit-image and scikit-learn, so nothing is downloaded. All of it takes about a minute of one core; the settings are
# small, and the text says where that shows.
# %%
import warnings

warnings.filterwarnings("ignore", message="IProgress not found")
warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing a major refactor")

import arviz
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from IPython.display import display
from matplotlib_inline.backend_inline import set_matplotlib_formats
from skimage.data import camera

import pyro_vae
from analysis.pictures import epochs
from analysis.pictures.image_grids import plot_rows
from analysis.pictures.panels import panels
from analysis.probes.image_rows import as_images
from analysis.reporting import generated
from analysis.reporting.decoder_pictures import by_class
from pyro_vae import evaluation
from pyro_vae.evaluation.filters.decoder_filters import decoder_filters
from pyro_vae.training.schedules import Cosine

torch.set_num_threads(1)
set_matplotlib_formats("png")
plt.rcParams["figure.dpi"] = 80
# %% [markdown]
# ## Data
#
# Patches of 16 × 16 pixels, whitened, of which the 100 leading components are kept. Photographs that test patches come from
# are never seen in training. A row is a patch.
# %%
data = pyro_vae.load_dataset(
    "natural", num_train=6_000, num_test=500, patch_size=16, components=100
)
print(data.description)
# %% [markdown]
# ## Train
#
# z1 has 128 sparse units next to the pixels, z2 ten units that say how large those of z1 are. The guide is top-down:
# q(z2 | x) q(z1 | x, z2). The pair starts from the data: independent components for the decoder, factors of their
# magnitudes for z2. Training is by L_10, the bound of ten importance weights.
# %%
settings = {
    "model": "td",
    "guide": "topdown",
    "latent": (128, 10),
    "hidden": ("encoders=250/60", "feedback=30", "priors=30"),
    "init": "data",
}
model, guide = pyro_vae.PairConfig(**settings).build(data.train.shape[1], rows=data.train)


def activity_of_z1(guide):
    """Var_x( E_q[z1 | x] ) of every unit, over test patches."""
    return evaluation.activity.posterior_means(guide, data.test)["z1"].activity.numpy()


torch.manual_seed(0)
elbo_at_start = evaluation.evaluate(
    model, guide, data.test[:100], num_particles=100, khat=False
).elbo
at_start = decoder_filters(model, data, activity_of_z1(guide), num_noise=0).counts()
fitted = pyro_vae.fit(
    model,
    guide,
    data.train,
    valid=data.valid[:200],
    objective=pyro_vae.IWAE(num_particles=10),
    epochs=25,
    batch_size=50,
    optimiser=pyro_vae.OptimiserSettings(lr=1e-3),
    lr_schedule=Cosine(1e-3),
    annealing={"z2": pyro_vae.LinearWarmUp(0.5, 1.0, 0.5)},
    compile=False,
    progress=False,
)
history = pd.DataFrame(fitted.history).set_index("epoch")
history[["step", "beta_z2", "elbo", "bound", "reconstruction", "kl_z2", "kl_z1", "ess"]].round(2)
# %% [markdown]
# Row 0 is the start. `elbo`, `bound` (L_10), `reconstruction` and the KL terms are nats per held-out patch; `beta_z2` is the
# weight of z2's KL in training, which never touches the reported bounds.
# %%
metrics = pd.DataFrame(fitted.history).to_dict("list")
figure, axes = panels(3, (4.6, 3.4))
epochs.plot_bounds(axes[0], metrics)
epochs.mark_start(axes[0], metrics, ["elbo"], "data")
epochs.plot_kl(axes[1], metrics)
epochs.plot_reconstruction(axes[2], metrics)
axes[2].legend(loc="lower right")
display(figure)
# %% [markdown]
# The bounds fall in the first epoch, below what the pair had at its start, and are above it from the fifth on: the first
# steps are large (the learning rate falls along a cosine), and z2's KL is not yet weighed in full. The gain is in
# the reconstruction. ELBO and L_10 lie nine nats apart at first and seven at the end: the guide is far from the posterior.
#
# ## Generative fields
#
# What each unit of z1 adds to a patch, which of this linear decoder is a column. A frame tells whether a Gabor function
# fits it in a small part of the patch (localised); beside them filters of noise in the same space.
# %%
found = decoder_filters(model, data, activity_of_z1(guide), num_noise=40)
print(f"localised at the start: {at_start.localised} of {at_start.units}")
by_class(found)
# %% [markdown]
# That the fields are localised and oriented is the start's, 75 of 128 before the first step; training moves them little.
# The 28 units below the gap are left over: there are 128 units for 100 components. A longer training of a pair from
# random weights is another matter, see [the study](../docs/study-random.md).
#
# A unit of z2 changes the scales of many units of z1. Each row is a unit of z2: the fields whose scale it raises and
# lowers most.
# %%
z2 = evaluation.activity.posterior_means(guide, data.test)["z2"].activity.numpy()
generated.families(model, data, z2, found.above_gap)
# %% [markdown]
# The first unit is contrast: it raises nearly all scales by about ninety times. The others tell directions and sizes
# apart, such as upright bars against level ones.
#
# ## Reconstructions, and draws
#
# Test patches, their reconstructions E[x | z] averaged over 32 draws of q(z | x), and what is left. Then draws of the model
# beside data, in whitened units and as grey levels.
# %%
x = data.test[:12]
torch.manual_seed(0)
again = sum(evaluation.reconstruct(model, guide, x)["x:mean"] for _ in range(32)) / 32
rows = [as_images(part.numpy(), data) for part in (x, again, x - again)]
figure, (ax,) = panels(1, (10, 2.7))
plot_rows(ax, np.array(rows), ["test patch", "reconstruction", "difference"], limit=3.0)
display(figure)
# %%
generated.samples(model, data)
# %% [markdown]
# Reconstructions are near, since z1 has as many active units as the patches have components. The draws show what the
# model lacks: a patch has the right contrast and textures, and few of the long clean edges of the photographs, because
# units of z1 are independent given z2.
#
# ## Bounds, and how far to trust them
#
# From 1000 particles of each of 100 test patches: the ELBO, L_10, and L_1000 as the estimate of log p(x), with standard
# errors over patches. `monte_carlo_error` is the part of the error that more particles would take away, as far as the
# weights tell.
# %%
torch.manual_seed(0)
figures = evaluation.evaluate(
    model, guide, data.test[:100], num_particles=1_000, bound_particles=10
)
gained = figures.elbo - elbo_at_start
print(
    f"ELBO gained over the start: {gained.mean():.1f} ± {gained.std(ddof=1) / len(gained) ** 0.5:.1f} nats"
)
print(figures.warning)
wanted = [
    "elbo",
    "bound",
    "log_likelihood",
    "reconstruction",
    "kl_z2",
    "kl_z1",
    "ess",
    "khat",
    "khat_above_0.7",
]
pd.DataFrame(figures.summary()).T.loc[wanted].round(2)
# %% [markdown]
# The gain over the start is a difference patch by patch, so its error is small beside those of the bounds, which are the
# spread of patches: busy ones cost more nats than flat ones. k-hat is above 0.7 for every patch. L_1000 is then a lower
# estimate, by more than its stated error: the guide misses the tails of 128 sparse units, and after three thousand steps
# that is no wonder ([how to read k-hat](../docs/khat.md)).
#
# ## ArviZ
#
# Draws are resampled, patch by patch, from their own ten proposals: draws of q_EW, the distribution that importance
# weighting trains. `importance_diagnostics` has k-hat and the weights of every patch beside them.
# %%
idata = pyro_vae.to_inference_data(model, guide, data.test[:8], num_particles=10, num_draws=300)
print(dict(idata.posterior.sizes))
print("k-hat:", pyro_vae.export.per_datum(idata).khat.values.round(2))
arviz.plot_forest(idata, var_names=["z2"], coords={"datum": [0]}, combined=True)
# %% [markdown]
# The intervals are of the posterior of one patch. A unit that the patch says nothing about has the prior's interval, about
# -1.9 to 1.9.
#
# ## A run
#
# `save_run` judges the pair and writes weights, settings, numbers, a model card, and what turns new images into rows;
# `load_run` gives the pair back, here to encode and reconstruct patches of a photograph of your own.
# %%
pyro_vae.save_run(
    "first",
    model,
    guide,
    data,
    settings=settings
    | {
        "objective": "iwae",
        "num_particles": 10,
        "epochs": 25,
        "eval_particles": 500,
        "test_size": 100,
    },
    fitted=fitted,
)
run = pyro_vae.load_run("first")
tops, lefts = np.random.default_rng(0).integers(0, 490, (2, 40))
patches = np.stack([camera()[i : i + 16, j : j + 16] for i, j in zip(tops, lefts, strict=True)])
print(run.encode(patches).means["z2"].shape)
mended = run.reconstruct(patches)  # in the units of the photograph
print(f"{np.corrcoef(mended.ravel(), patches.ravel())[0, 1]:.2f} correlation with the patches")
print(*sorted(path.name for path in run.path.iterdir()))
# %% [markdown]
# From a shell the same is `pyro-vae fit --guide topdown`, and `pyro-vae encode first patches.npy`.
#
# ## Another guide, bound or data: a line each
# %%
other_guide = pyro_vae.PairConfig(**settings | {"guide": "bottomup"})
other_bound = pyro_vae.DReG(num_particles=10)
other_data = pyro_vae.load_dataset(
    "natural", num_train=1_000, patch_size=16, components=100, intensity="grey"
)
other = other_guide.build(256, rows=other_data.train)
result = pyro_vae.fit(
    *other,
    other_data.train,
    valid=other_data.valid[:100],
    objective=other_bound,
    epochs=1,
    compile=False,
    progress=False,
)
print(
    {
        name: round(result.history[-1][name], 1)
        for name in ("elbo", "bound", "reconstruction", "kl_z2", "kl_z1")
    }
)


# %% [markdown]
# ## Your own Pyro model
#
# The losses take any model and guide with one data plate. Here a model whose evidence is known, and a guide that can equal
# the posterior: every bound equals the evidence then.
# %%
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(self.mean, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)


class Guide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(0.1))
        self.shift = torch.nn.Parameter(torch.tensor(0.0))
        self.log_scale = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.slope * x + self.shift, self.log_scale.exp()))


torch.manual_seed(0)
x = 1.0 + 2.0**0.5 * torch.randn(500)
my_model, my_guide = Model(), Guide()
loss = pyro_vae.IWAE(num_particles=20)(my_model, my_guide)
adam = torch.optim.Adam(loss.parameters(), lr=0.05)
for _ in range(300):
    adam.zero_grad()
    loss(x).backward()
    adam.step()

evidence = torch.distributions.Normal(my_model.mean, 2.0**0.5).log_prob(x).sum().item()
print(f"mean {my_model.mean.item():.3f} (of the data: {x.mean().item():.3f})")
print(f"L_20 {-loss(x).item():.2f}, log evidence {evidence:.2f}")
