"""Small runs, patches and filters that the tests of stimuli share."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch

from analysis.measures import illusion
from analysis.measures.by_name import Named
from analysis.measures.illusion import ILLUSORY
from analysis.probes import inpainting, stimuli
from pyro_vae.datasets import Dataset
from pyro_vae.datasets.whitening import fit_whitening
from pyro_vae.evaluation.filters.gabor import gabor_images

SIDE = 20


GABOR = {
    "x": 9.5,
    "y": 9.5,
    "size": 2.0,
    "length": 2.5,
    "orientation": 0.0,
    "wavelength": 6.0,
    "phase": 0.0,
    "amplitude": 1.0,
    "r2": 0.9,
}


def gabor_table(*changes):
    return pd.DataFrame([{"unit": unit} | GABOR | change for unit, change in enumerate(changes)])


def patches(count=120, side=6, kind="zca", components=12, seed=0):
    """A data set of smooth random patches, whitened with a cut."""
    rng = np.random.default_rng(seed)
    cut = rng.normal(size=(count, side * side)) @ rng.normal(size=(side * side, side * side))
    whitening = fit_whitening(cut, kind, components, (side, side))
    rows = whitening.transform(torch.as_tensor(cut)).float()
    third = count // 3
    return Dataset(
        "patches",
        rows[:third],
        rows[third : 2 * third],
        rows[2 * third :],
        image_shape=whitening.row_shape,
        pixels="standardised",
        whitening=whitening,
    )


def subject(model, guide, data, k=1, seed=0, label="k = 1", **measured):
    measured = {name: lambda values=values: values for name, values in measured.items()}
    found = SimpleNamespace(
        run=SimpleNamespace(model=model, guide=guide),
        natural=data,
        k=k,
        proposals=k,
        weighted=k > 1,
        seed=seed,
        label=label,
        name=f"{label}, seed {seed}",
        settings=SimpleNamespace(seed=0, stimuli=10, weighted_groups=2),
    )
    measured.setdefault("inpainting", lambda: inpainting.inpaint(found, **QUICK))
    measured.setdefault("contours", lambda: stimuli.contours(found))
    found.measured = lambda name: Named(measured[name]())
    return found


QUICK = {"sweeps": 8, "num_samples": 8, "num_particles": 16}


# Contours: responses


class Planted:
    """q(z2 | x) = N(T x, s), q(z1 | x, z2) = N(W x + c z2, 1): contours act through z2."""

    def __init__(self, fields, templates, feedback):
        self.W, self.T, self.c = fields, templates, feedback

    def __call__(self, x):
        with pyro.plate("data", len(x), dim=-1):
            self.sample(x)

    def sample(self, x):
        z2 = pyro.sample("z2", dist.Normal(x @ self.T.T, 0.3).to_event(1))
        pyro.sample("z1", dist.Normal(x @ self.W.T + self.c * z2, 1.0).to_event(1))

    def model(self, x):
        """Its latents are the guide's, so that every weight is the same."""
        with pyro.plate("data", len(x), dim=-1):
            self.sample(x)
            pyro.sample("x", dist.Normal(torch.zeros_like(x), 1.0).to_event(1), obs=x)


def planted(feedback=0.5, k=1, count=7):
    """A subject whose z2 reads the inducers of each unit; the last two units have no room."""
    fits = gabor_table(
        *({"orientation": angle, "phase": angle / 2} for angle in np.linspace(0, 3, count)),
        {"r2": 0.1},
        {"x": 2.0, "orientation": 1.5},
    )
    fields = torch.as_tensor(gabor_images(fits, (SIDE, SIDE)).reshape(-1, SIDE**2)).float()
    inducers = torch.as_tensor(illusion.render(fits, (SIDE, SIDE))[:, ILLUSORY]).flatten(1).float()
    guide = Planted(fields, inducers, feedback)
    rows = torch.randn(20, SIDE**2)
    data = Dataset("rows", rows, rows, rows, image_shape=(SIDE, SIDE), pixels="standardised")
    columns = {name: fits[name].to_numpy() for name in fits}
    filters = {"receptive": fields.numpy(), "projective": fields.numpy()}
    activity = {"z1_active": np.ones(len(fits), bool)}
    return subject(
        guide.model, guide, data, k=k, gabor=columns, filters=filters, activity=activity
    ), guide
