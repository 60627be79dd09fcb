"""Images made in steps: what a self-supervised VAE generates, its routes, and their rates."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from analysis.pictures.steps import rates_figure, routes_page
from analysis.probes import steps
from analysis.probes.image_rows import check_images, first_rows
from analysis.reporting.item import BEYOND, Entry, Item, each_of
from analysis.reporting.over_runs import by_model, tables, without
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

TITLE = "Images made in steps"
COLUMNS = 10  # images in a row


def entries(study: Study) -> list[Entry]:
    """Rates of all runs that make images in steps; of one seed of every such model the pictures."""
    stepwise = [one for one in study.examples() if one.run.model.representation_names]
    pictures = (("steps", _steps), ("routes", _routes))
    rates = Entry("route-rates", BEYOND, partial(_rates, study))
    return [rates, *each_of(stepwise, pictures)]


def _rates(study: Study) -> Item:
    if not any(subject.run.model.representation_names for subject in study.subjects):
        raise InputError("the models make an image in one step: there are no routes to choose from")
    table, left_out = tables(
        by_model(study), lambda subject: pd.DataFrame(dict(subject.measured("route_rates")))
    )
    by_run = {
        f"{model}, seed {seed}": rows for (model, seed), rows in table.groupby(["model", "seed"])
    }
    return Item(
        "What every route costs, and how near it comes: means over "
        f"{study.settings.test_size} test images. A route keeps draws of q(z | x) and "
        "representations y of x, and all else is drawn: RS1 keeps the top latent, RS2 the two "
        "highest, CR y1 and z1; a model that makes an image in one step has RS alone. Share: of "
        "the numbers of an image, as Gatopoulos 2020 counts them. Bits: by bits-back coding, "
        "errors over images. Nats: that still tell x exactly; lossless bits are both together."
        + without(left_out),
        rates_figure(by_run),
        table,
    )


def _steps(subject: Subject) -> Item:
    check_images(subject.natural)
    model, guide, seed = subject.run.model, subject.run.guide, subject.settings.seed
    x = first_rows(subject.natural, "test", 2)
    top = model.latent_names[-1]
    parts = [
        ("generated, step by step", steps.generated_steps(model, COLUMNS, seed)),
        (f"between {top} of two images", steps.interpolated(model, guide, x, COLUMNS, seed)),
    ]
    return Item(
        f"{subject.name}: draws of every representation and of x given it, E[x | y1, z1] at the "
        "same draws, and the same on a line between draws of the top latent of two test images.",
        routes_page(parts),
    )


def _routes(subject: Subject) -> Item:
    check_images(subject.natural)
    model, guide, seed = subject.run.model, subject.run.guide, subject.settings.seed
    x, other = first_rows(subject.natural, "test", 2 * COLUMNS).chunk(2)
    parts = [
        ("test images by every route", steps.by_every_route(model, guide, x, seed)),
        ("x drawn given y1 of test images", steps.super_resolved(model, guide, x, seed=seed)),
        ("texture of one image on another", steps.textured(model, guide, x, other, seed)),
    ]
    return Item(
        f"{subject.name}: test images by every route, y1 and draws of x given it, and z1 of one "
        "image with the y1 of another.",
        routes_page(parts),
    )
