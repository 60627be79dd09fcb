# %% [markdown]
# # Images in steps: the self-supervised VAE
#
# A self-supervised VAE explains an image x by a simpler one of it, y1 = d(x), and that by latents ([Gatopoulos
# 2020](../docs/ssvae.md)). Here y1 is the image at half the side, so the model learns to draw small images, and to make
# small ones large. The images are the digits of 8 × 8 pixels of scikit-learn; under two minutes of one core.
# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib_inline.backend_inline import set_matplotlib_formats
from sklearn.datasets import load_digits

import pyro_vae
from analysis.pictures.panels import panels
from analysis.pictures.steps import rates_figure, routes_page
from analysis.probes import steps
from pyro_vae import evaluation
from pyro_vae.training.schedules import Cosine

torch.set_num_threads(1)
set_matplotlib_formats("png")
plt.rcParams["figure.dpi"] = 80
# %% [markdown]
# ## Images of whole levels
#
# 1500 digits to train on, a tenth of them held out for validation, and 297 to test on. The data have 17 grey levels; they are
# spread over 0 to 255, which is what the likelihoods are of.
# %%
levels = (load_digits().images * 15.9375).astype(np.uint8)
np.savez("digits.npz", x_train=levels[:1500], x_test=levels[1500:])
data = pyro_vae.load_dataset("digits.npz", pixels="levels")
print(data.description)
# %% [markdown]
# ## The model
#
# | site | what it is | density |
# |---|---|---|
# | z2 | what y1 is made from, 32 numbers | p(z2) = N(0, I), q(z2 given y1) |
# | y1 | the digit at 4 × 4 pixels | p(y1 given z2) |
# | z1 | what x has and y1 has not, 32 numbers | p(z1 given y1, z2), q(z1 given x) |
# | x | the digit at 8 × 8 pixels | p(x given y1, z1) |
#
# y1 is no latent: it is known wherever x is. So training is by one ELBO of two likelihoods and two divergences,
# `RE_x + RE_y1 - KL_z1 - KL_z2`. z2 is warmed up: without that it stays all but empty in a training as short as this.
# %%
config = pyro_vae.PairConfig(
    "ssvae",
    "meanfield",
    transforms=("downscale:2",),
    latent=(32, 32),
    likelihood="logistic-mixture:components=3",
)
model, guide = config.build(data.train.shape[1], data.channels_first, rows=data.train)
fitted = pyro_vae.fit(
    model,
    guide,
    data.train,
    valid=data.valid,
    objective=("elbo", {"num_particles": 1}),
    epochs=30,
    batch_size=32,
    optimiser=pyro_vae.OptimiserSettings(name="adamax", lr=4e-3),
    lr_schedule=Cosine(4e-3, 0.1),
    annealing={"z2": pyro_vae.LinearWarmUp(0.01, 1.0, 0.6)},
    compile=False,
    progress=False,
)
history = pd.DataFrame(fitted.history)
figure, axes = panels(3, (4.4, 3.2))
axes[0].plot(history.epoch, history.elbo, ".-", label="ELBO")
axes[1].plot(history.epoch, history.reconstruction_x, ".-", label="RE of x, given y1")
axes[1].plot(history.epoch, history.reconstruction_y1, ".-", label="RE of y1")
axes[2].plot(history.epoch, history.kl_z1, ".-", label="KL of z1")
axes[2].plot(history.epoch, history.kl_z2, ".-", label="KL of z2")
for ax in axes:
    ax.set(xlabel="epoch", ylabel="nats per image, validation")
    ax.grid(alpha=0.3)
    ax.legend()
display(figure)
# %% [markdown]
# z2 takes up nearly fifty nats while they cost next to nothing, and gives back all but four as the warm-up ends at epoch
# 18; RE of y1 goes with it. z1 stays at six throughout.
#
# ## Terms of every site
#
# Means over the 297 test images with standard errors, from 100 particles each. `bits_per_dim` is of the ELBO,
# `iw_bits_per_dim` of L_100.
# %%
torch.manual_seed(0)
found = evaluation.evaluate(model, guide, data.test, num_particles=100, bound_particles=10)
terms = [
    "reconstruction_x",
    "reconstruction_y1",
    "kl_z1",
    "kl_z2",
    "elbo",
    "bits_per_dim",
    "iw_bits_per_dim",
    "khat",
]
pd.DataFrame(found.summary()).T.loc[terms, ["mean", "standard_error"]].round(2)
# %% [markdown]
# The four terms add up to the ELBO. By construction RE_x is of an image whose small version is known: the price of that
# is RE_y1 and KL_z2, 68 nats for 16 pixels. z1 adds 7 nats to what y1 says.
#
# Compare no bits here with anything. The data have 17 levels, and a code that knows this wants at most log2(17) = 4.09
# bits for a pixel, with no model at all; this likelihood is of 256 levels and was not told. k-hat is above 1 on average, so
# L_100 is a lower estimate.
#
# ## Generation in steps
#
# z2 is drawn from the prior, y1 given z2, z1 given both, and x given y1 and z1. The last row is E[x | y1, z1] of the
# same draws, without the noise of the pixels.
# %%
x, other = data.test[:12], data.test[12:24]
display(routes_page([("generated, step by step", steps.generated_steps(model, 12))]))
# %% [markdown]
# x has strokes that fit its y1, and few of the twelve are digits. The weak step is the first: 4.3 nats of z2 have to say
# where there is ink, and which of ten digits it is takes 2.3 of them; the pixels of y1 are independent given z2. That is
# 1290 steps on 1350 images. Small settings, and not the method: [larger ones](../docs/ssvae-figures.md) have pictures.
#
# ## Super-resolution of images never seen
#
# y1 is that of a test image; z1 and x are drawn, three times. The last row is the test image.
# %%
display(routes_page([("x drawn given y1 of test images", steps.super_resolved(model, guide, x))]))
# %% [markdown]
# How near they come, in decibel over all test images (larger is nearer): the small image with its pixels repeated, one draw
# of x, and E[x | y1, z1] averaged over 32 draws of z1.
# %%


def psnr(made):
    """Peak signal-to-noise ratio of each test image, mean and standard error over images."""
    each = -10 * (made - data.test).square().mean(-1).log10()
    return {"PSNR": each.mean().item(), "standard error": each.std().item() / len(each) ** 0.5}


torch.manual_seed(0)
(small,) = model.represent(data.test)
repeated = small.reshape(-1, 4, 4).repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)
enlarged = [evaluation.reconstruct(model, guide, data.test, ("z2",), ("y1",)) for _ in range(32)]
average = sum(one["x:mean"] for one in enlarged) / 32
rows = {
    "pixels repeated": psnr(repeated),
    "a draw": psnr(enlarged[0]["x"]),
    "mean of 32 draws": psnr(average),
}
pd.DataFrame(rows).T.round(2)
# %% [markdown]
# The second step is the strong one. At 4 × 4 pixels few of the digits can be read, and in the draws most can; where y1
# leaves something open the draws differ. The mean of draws is 2.4 decibel nearer to the image than one of them, as a mean
# should be, and blurred. Repeating pixels is a low mark, but it is what y1 itself has.
#
# ## Every route
#
# What may be kept of an image: z2 alone (RS1), z2 and z1 (RS2), y1 ("from y1", which is super-resolution), or y1 and z1 (CR).
# All else is drawn from the model. Below, z1 of one image is kept under y1 of another; then a line between z2 of two
# test images.
# %%
display(
    routes_page(
        [
            ("test images by every route", steps.by_every_route(model, guide, x)),
            ("z1 of one image, y1 of another", steps.textured(model, guide, x, other)),
            (
                "between z2 of two test images",
                steps.interpolated(model, guide, data.test[[0, 11]], 12),
            ),
        ],
        per_row=1,
    )
)
# %% [markdown]
# RS1 keeps 4 nats and shows another image with some of the ink in its place. RS2 is near, since z1 was read off the image
# itself. "From y1" is nearer, and CR nearest.
#
# Under the y1 of another image x follows now the one and mostly the other: a 3 stays a 3 under a nought's y1. So z1 does not
# hold what y1 lacks, and that alone. It repeats the image, and costs little only because p(z1 | y1, z2) can foretell what
# it repeats. On the line the two ends and what is between them are strokes, and hardly digits, as in generation.
#
# ## Rate against distortion
#
# A route keeps numbers, and real numbers have no size in bits. By bits-back coding a draw of q(z | .) costs log q - log p,
# and a representation -log p. `share` is the paper's count, numbers kept for each pixel; `nats` still tell x exactly.
# %%
rates = pd.DataFrame([rate.row() for rate in evaluation.route_rates(model, guide, data.test)])
figure = rates_figure({"digits": rates})
for name in figure.axes[2].texts:
    name.set_position((8, -3))  # beside its point: two of them lie close above each other
display(figure)
rates.set_index("route")[["share", "bits", "bits_error", "psnr", "nats", "lossless_bits"]].round(2)
# %% [markdown]
# By the paper's count "from y1" is the cheapest route and RS2 the dearest, at four times as many numbers. In bits RS1
# costs next to nothing, and is worth as much. CR costs ten bits more than "from y1" and is 2.9 decibel nearer. RS2 is a bad
# bargain: whoever receives z2 and z1 has to draw y1, that draw is not the image's, and at a wrong y1 the prior of z1 finds
# the z1 that was sent nearly impossible. All in all x costs 300 bits by CR, which is -ELBO; every other route has to tell
# more to get there.
#
# ## What to take from it
#
# - Look at every term: RE_x alone would praise a model for being told a quarter of the image.
# - Compare routes in bits, against what is simplest: an enlarged y1.
# - `pyro-vae fit --model ssvae` trains this on your images, `pyro-vae sample RUN --of FILE --keep z2 --given y1` enlarges
#   them, and `python -m analysis.image_routes RUN --out DIR` draws these pictures
#   ([all transforms and routes](../docs/ssvae.md)).
