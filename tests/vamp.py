"""Pairs with a VampPrior, for the tests of it."""

import torch

from pyro_vae.programs import Architecture, build_guide, build_model
from pyro_vae.programs.priors import bind_

PIXELS, COMPONENTS = 6, 4


def arch(levels=2, families=("normal",) * 3, **changed):
    given = {
        "units": (4, 3, 2)[:levels],
        "families": families[:levels],
        "encoders": ((8,), (7,), (6,))[:levels],
        "feedback": ((5,), (5,))[: levels - 1],
        "priors": ((5,), (6,))[: levels - 1],
        "decoder": (6,),
        "pixels": "standardised",
    }
    return Architecture(**(given | changed))


def rows(number=5, seed=1):
    return torch.randn(number, PIXELS, generator=torch.Generator().manual_seed(seed))


def pair(guide="topdown", levels=2, data=None, seed=0, spread=0.5, **changed):
    """A pair with a VampPrior away from its start."""
    settings = changed.pop("settings", f"components={COMPONENTS},weights=learned")
    made = arch(levels, prior=f"vamp:{settings}", **changed)
    torch.manual_seed(seed)
    model, recognition = build_model(made, PIXELS), build_guide(guide, made, PIXELS)
    known = torch.zeros(0, PIXELS) if data is None else data
    bind_(model.prior, recognition, known, model.likelihood)
    with torch.no_grad():
        for parameter in (*model.parameters(), *recognition.parameters()):
            if parameter is not getattr(model.prior, "inputs", None):
                parameter += spread * torch.randn_like(parameter)
    return model, recognition
