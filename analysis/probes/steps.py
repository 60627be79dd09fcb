"""Images that a self-supervised VAE makes, step by step and by every route, as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyro_vae.evaluation.route_rates import usual_routes
from pyro_vae.evaluation.routes import MEAN, Sites, generate, reconstruct
from pyro_vae.programs.guides import Guide
from pyro_vae.programs.models import Generative
from pyro_vae.torch_state import own_generators


def shown_rows(model: Generative, name: str, rows: Tensor) -> np.ndarray:
    """Rows of x or of a representation as pictures of x's side, (N, H, W) or (N, H, W, 3).

    Smaller images are enlarged by repeating pixels.
    """
    whole = model.transforms[0].shape_in
    shape = whole if name in ("x", MEAN) else model.transforms[int(name[1:]) - 1].shape_out
    images = rows.detach().cpu().reshape(-1, *shape).numpy()
    for axis in (1, 2):
        images = images.repeat(whole[axis] // shape[axis], axis=axis + 1)
    if shape[0] == 1 and whole[0] == 3:
        images = images.repeat(3, axis=1)
    return images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, -1)


def generated_steps(model: Generative, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws of y_K, ..., y1, x and E[x | y1, z1] of the same draws."""
    with own_generators():
        torch.manual_seed(seed)
        drawn = generate(model, count)
    names = [*reversed(model.representation_names), "x", *([MEAN] if MEAN in drawn else [])]
    return {name: shown_rows(model, name, drawn[name]) for name in names}


def by_every_route(
    model: Generative, guide: Guide, x: Tensor, seed: int = 0, *, means: bool = False
) -> dict[str, np.ndarray]:
    """x, and a draw of it by every usual route; with ``means`` E[x | y1, z1] where it is known."""
    found = {"x": shown_rows(model, "x", x)}
    for name, keep, given in usual_routes(model):
        above = _above(model, given)
        with own_generators():
            torch.manual_seed(seed)
            made = reconstruct(model, guide, x, {*keep, *above}, given)
        found[name] = shown_rows(model, "x", _image(made, means))
    return found


def represented_again(
    model: Generative, guide: Guide, x: Tensor, seed: int = 0
) -> dict[str, np.ndarray]:
    """y1 of x, and a draw of it given all latents above it."""
    with own_generators():
        torch.manual_seed(seed)
        made = reconstruct(model, guide, x, model.latent_names[1:])
    return {
        "y1 of x": shown_rows(model, "y1", model.represent(x)[0]),
        "y1 drawn": shown_rows(model, "y1", made["y1"]),
    }


def super_resolved(
    model: Generative,
    guide: Guide,
    x: Tensor,
    draws: int = 3,
    seed: int = 0,
    *,
    means: bool = False,
) -> dict[str, np.ndarray]:
    """y1 of x, draws of x given it (with ``means`` E[x | y1, z1] at draws of z1), and x."""
    found = {"y1 of x": shown_rows(model, "y1", model.represent(x)[0])}
    for number in range(draws):
        with own_generators():
            torch.manual_seed(seed + number)
            made = reconstruct(model, guide, x, _above(model, ("y1",)), ("y1",))
        found[f"draw {number + 1}"] = shown_rows(model, "x", _image(made, means))
    return found | {"x": shown_rows(model, "x", x)}


def varied(
    model: Generative, guide: Guide, x: Tensor, keep: Sequence[str], draws: int = 3, seed: int = 0
) -> dict[str, np.ndarray]:
    """E[x | y1, z1] of several draws that share one draw of the kept latents, and nothing else."""
    with own_generators():
        torch.manual_seed(seed)
        made = reconstruct(model, guide, x, keep)
        shared = {name: made[name] for name in keep}
        found = {}
        for number in range(1, draws + 1):
            torch.manual_seed(seed + number)
            again = generate(model, len(x), shared)
            found[f"draw {number}"] = shown_rows(model, "x", _image(again, means=True))
    return found


def textured(
    model: Generative, guide: Guide, x: Tensor, other: Tensor, seed: int = 0
) -> dict[str, np.ndarray]:
    """z1 of one image kept under the y1 of another."""
    given = dict(zip(model.representation_names, model.represent(other), strict=True))
    with own_generators():
        torch.manual_seed(seed)
        made = reconstruct(model, guide, x, ("z1",), {"y1": given["y1"]})
    return {
        "z1 of": shown_rows(model, "x", x),
        "y1 of": shown_rows(model, "x", other),
        "x given both": shown_rows(model, "x", made["x"]),
    }


@torch.no_grad()
def interpolated(
    model: Generative,
    guide: Guide,
    pair: Tensor,
    count: int,
    seed: int = 0,
    *,
    means: bool = False,
) -> dict[str, np.ndarray]:
    """y1 and x along a line between the posterior draws of the top latent of two images.

    Everything below follows p(. | zL), with the same noise at every point; ``means`` as in
    :func:`by_every_route`.
    """
    top = model.latent_names[-1]
    with own_generators():
        torch.manual_seed(seed)
        begin, end = guide.top(pair).sample()
        made = []
        for share in torch.linspace(0, 1, count):
            torch.manual_seed(seed)
            made.append(generate(model, 1, {top: (1 - share) * begin + share * end}))
    rows = {
        name: torch.cat([one[name] for one in made])
        for name in reversed(model.representation_names)
    }
    rows["x"] = torch.cat([_image(one, means) for one in made])
    return {name: shown_rows(model, name, one) for name, one in rows.items()}


def _image(made: Sites, means: bool) -> Tensor:
    """The drawn x, or E[x | .] at the same parents where it is wanted and has a closed form."""
    return made[MEAN] if means and MEAN in made else made["x"]


def _above(model: Generative, given: tuple[str, ...]) -> tuple[str, ...]:
    """Latents above a given representation, which whoever has that can draw from the guide."""
    lowest = min((int(one[1:]) for one in given), default=model.num_levels)
    return tuple(name for name in model.latent_names if int(name[1:]) > lowest)
