"""Filters of z1: fields, Gabor fits, classes (Vas 2024, Figures 5.19 and 5.24, Table 5.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.measures import filters as measure
from analysis.measures.examples import evenly
from analysis.measures.seeds import in_words, summary
from analysis.pictures import filters as pictures
from analysis.pictures.image_grids import plot_image_grid
from analysis.pictures.panels import panel, panels
from analysis.probes.image_rows import as_effects
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.over_runs import Rows, drawn, tables
from analysis.reporting.study import Study, Subject
from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.classes import CLASS, CLASSES, MAX_COVERAGE, MIN_R2, classify
from pyro_vae.evaluation.filters.decoder_filters import noise_filters
from pyro_vae.evaluation.filters.gabor import fit_gabors, gabor_images

TITLE = "z1: filters and their Gabor fits"
COLUMNS = 25  # of the grid of all active filters
PAIRS = 16
SELECTED = 20  # of the units that Figure 5.24's rule selects, per model
NULL_FILTERS = 100


def entries(study: Study) -> list[Entry]:
    """Grids, fits, counts by class, parameters, receptive fields, and F5.24's selection."""
    figure, counts = "Vas 2024, Figure 5.19", "Vas 2024, Table 5.5"
    null = cache(lambda: _null(study))  # two entries want it
    return [
        Entry("z1-filters", figure, lambda: _grids(study)),
        Entry("z1-gabor-fits", figure, lambda: _fits(study, null)),
        Entry("z1-filter-classes", counts, lambda: _counts(study, null)),
        Entry("z1-filter-classes-over-seeds", counts, lambda: _counts_over_seeds(study)),
        Entry("z1-gabor-parameters", BEYOND, lambda: _parameters(study)),
        Entry("z1-receptive-fields", BEYOND, lambda: _receptive(study)),
        Entry("z1-gabor-selection", "Vas 2024, Figure 5.24", lambda: _selection(study)),
    ]


def _images(subject: Subject, field: str = "projective") -> np.ndarray:
    """Fields of all units (U, H, W), or in colour (U, H, W, 3)."""
    return as_effects(subject.measured("filters")[field], subject.natural)


def _active(subject: Subject) -> np.ndarray:
    return np.asarray(subject.measured("activity").z1_active, dtype=bool)


def classified(subject: Subject) -> pd.DataFrame:
    """Fits and classes of the active units, with columns ``model`` and ``seed`` in front."""
    table = classify(pd.DataFrame(dict(subject.measured("gabor"))))
    return _in_front(subject, measure.only_active(table, _active(subject)))


def _grids(study: Study) -> Item:
    def draw(ax: Axes, subject: Subject) -> pd.DataFrame:
        table = classified(subject)
        images = _images(subject)[table.unit.to_numpy(int)]
        words = ", ".join(f"{(table[CLASS] == c).sum()} {c}" for c in CLASSES)
        pictures.plot_filter_grid(
            ax,
            images,
            table[CLASS].to_numpy(),
            table.r2.to_numpy(),
            columns=COLUMNS,
            title=f"{subject.name}: {len(table)} active units: {words}",
        )
        return table

    rows = max(-(-_count_active(subject) // COLUMNS) for subject in study.examples())
    figure, table = _panels(study, draw, height=10 * max(rows, 2) / COLUMNS + 1)
    return Item(
        "Projective fields of the active units of z1 (what a unit adds to the image, by latent "
        "traversal), each on its own grey scale, framed by class and sorted by the goodness r2 of "
        f"their Gabor fits; one seed per model. Localised: r2 of at least {MIN_R2:g} and "
        f"an envelope over at most {MAX_COVERAGE:.0%} of the patch. Table: all fits.",
        figure,
        table,
    )


def _count_active(subject: Subject) -> int:
    try:
        return int(_active(subject).sum())
    except InputError:
        return 0


def _fits(study: Study, make_null: Callable[[], pd.DataFrame]) -> Item:
    def draw(ax: Axes, subject: Subject) -> pd.DataFrame:
        table = classified(subject).dropna(subset="r2").sort_values("r2", ascending=False)
        if table.empty:
            raise InputError("no active unit has a filter that a Gabor function was fitted to")
        # From the best to the worst in even steps: a choice that flatters nobody.
        shown = table.iloc[evenly(np.arange(len(table)), PAIRS)]
        images = _images(subject)
        fitted = gabor_images(shown, images.shape[1:])
        pictures.plot_fit_pairs(
            ax,
            images[shown.unit.to_numpy(int)],
            fitted,
            shown.r2.to_numpy(),
            title=f"{subject.name}: filter, Gabor fit, r2",
        )
        spread = table.groupby(CLASS, sort=False).r2.describe()
        return spread.rename(columns={"count": "units", "50%": "median"}).reset_index()

    figure, table = _panels(study, draw, height=2.5)
    null = make_null()
    return Item(
        "Filters beside their least-squares Gabor functions, from the best fit to the worst in "
        "even steps over all active units; above each pair r2, the share of the filter's energy "
        f"that is explained. Fits to {len(null)} filters of noise in the same space have a median "
        f"r2 of {null.r2.median():.2f} and reach {null.r2.max():.2f}.",
        figure,
        table,
    )


def _null(study: Study) -> pd.DataFrame:
    """Classes of filters that are noise in the space that the data fill."""
    data, seed = study.subjects[0].natural, study.settings.seed
    return classify(fit_gabors(noise_filters(data, NULL_FILTERS, seed=seed)))


def _count_table(study: Study) -> pd.DataFrame:
    def count(subject: Subject) -> dict:
        return measure.class_counts(classified(subject))

    return _tables(study.subjects, count)


def _counts(study: Study, make_null: Callable[[], pd.DataFrame]) -> Item:
    table = _count_table(study)
    figure, ax = panel(max(6, 1.8 * table.model.nunique()), 4)
    pictures.plot_class_counts(ax, table)
    null = measure.class_counts(make_null())
    return Item(
        "Active units of z1 by the class of their projective fields, for every model and seed. Of "
        f"{null.active} filters of noise in the same space {null.localised} are called "
        f"localised and {null.non_localised} non-localised.",
        figure,
        table,
    )


def _counts_over_seeds(study: Study) -> Item:
    table = summary(_count_table(study), ["active", "localised", "non_localised", "unresolved"])
    told = in_words(table[table.quantity == "localised"], 1, "; ")
    return Item(f"Localised units of z1 per model, mean ± sd over seeds: {told}.", table=table)


def _parameters(study: Study) -> Item:
    def localised(subject: Subject) -> pd.DataFrame:
        table = classified(subject)
        table = table[table[CLASS] == "localised"]
        if table.empty:
            raise InputError("none of its active units is localised")
        return table

    fits = _tables(study.examples(), localised)
    figure, (left, right) = panels(2, (5, 4))
    pictures.plot_gabor_parameters(left, fits)
    pictures.plot_orientations(right, fits)
    table = _tables(
        study.subjects,
        lambda subject: _in_front(subject, measure.gabor_summary(localised(subject))),
    )
    return Item(
        "Size, wavelength and orientation of the localised filters, one seed per model in the "
        "picture; medians and quartiles of every run in the table. Orientation bias is 0 for "
        "evenly spread orientations, and above the number under high only where they are not (5 % "
        "level).",
        figure,
        table,
    )


def _receptive(study: Study) -> Item:
    def compare(subject: Subject) -> pd.DataFrame:
        fields = subject.measured("filters")
        table = measure.field_correlation(
            fields.projective, fields.receptive, fields.get("receptive_se")
        )
        return measure.only_active(table, _active(subject))

    def row(subject: Subject) -> dict:
        return compare(subject).median()[["correlation", "other", "ceiling"]].to_dict()

    def draw(ax: Axes, subject: Subject) -> pd.DataFrame:
        table = compare(subject).sort_values("correlation", ascending=False)
        units = evenly(table.unit.to_numpy(int), COLUMNS)
        both = np.concatenate([_images(subject, f)[units] for f in ("projective", "receptive")])
        pixels = tuple(range(1, both.ndim))
        both = both / np.abs(both).max(axis=pixels, keepdims=True).clip(1e-300)
        plot_image_grid(ax, both, len(units), limit=1.0)
        ax.set_title(
            f"{subject.name}: projective (top) and receptive fields (bottom), "
            f"median correlation {table.correlation.median():.2f}"
        )
        return table

    figure, _ = _panels(study, draw, height=1.6)
    table = _tables(study.subjects, row)
    return Item(
        "Receptive fields of z1 by reverse correlation of E_q[z1 | x] with white noise, below the "
        "projective fields of the same units, from the most to the least alike, each on its own "
        "grey scale. Table: medians over active units of their correlation, of its absolute value "
        "with the receptive fields of other units (chance), and of the ceiling that the noise of "
        "the receptive field leaves to equal fields.",
        figure,
        table,
    )


def _selection(study: Study) -> Item:
    def selected(subject: Subject) -> pd.DataFrame:
        table = classified(subject)
        return table[measure.select_gabors(table, min(_images(subject).shape[1:3]))]

    def draw(ax: Axes, subject: Subject) -> pd.DataFrame:
        table = selected(subject)
        if table.empty:
            raise InputError("no active unit meets the rule")
        best = table.sort_values("r2", ascending=False)[:SELECTED]
        images = _images(subject)[best.unit.to_numpy(int)]
        pictures.plot_filter_grid(
            ax,
            images,
            best[CLASS].to_numpy(),
            best.r2.to_numpy(),
            columns=10,
            title=f"{subject.name}: the best fitted of {len(table)} selected units",
        )
        return table

    def row(subject: Subject) -> dict:
        table = selected(subject)
        localised = int((table[CLASS] == "localised").sum())
        return {"selected": len(table), "localised": localised}

    figure, _ = _panels(study, draw, height=3)
    return Item(
        "Active units of z1 whose Gabor fits meet the rule of Vas 2024: centre between the 6th and "
        "14th pixel both ways, scale 3 to 6 (both in proportion to a patch of 20 pixels), "
        "wavelength above 2 pixels, frequency above 0.18 cycles per pixel; the counts of every "
        "run, and how many of the selected are localised by their fit.",
        figure,
        _tables(study.subjects, row),
    )


def _panels(
    study: Study, draw: Callable[[Axes, Subject], pd.DataFrame], height: float
) -> tuple[Figure, pd.DataFrame]:
    """A panel per model, or the reason why it has none, and all their tables."""
    figure, table, _ = drawn(
        study.examples(), lambda own, subject: draw(own[0], subject), (10, height), per_row=1
    )
    return figure, table


def _tables(subjects: Sequence[Subject], build: Callable[[Subject], Rows]) -> pd.DataFrame:
    return tables(subjects, build)[0]


def _in_front(subject: Subject, table: pd.DataFrame) -> pd.DataFrame:
    """The table with model and seed as its first columns."""
    table = table.assign(model=subject.label, seed=subject.seed)
    return table[["model", "seed", *table.columns.drop(["model", "seed"])]]
