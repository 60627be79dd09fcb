"""Occluded patches and illusory contours: what the visible part says about the hidden one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from analysis.measures.by_name import Named
from analysis.measures.illusion import CONDITIONS, contour_shares, contrasts
from analysis.measures.seeds import spread
from analysis.pictures import stimuli as pictures
from analysis.pictures.panels import panel, panels
from analysis.probes.image_rows import as_images
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.over_runs import Rows, drawn, refuse_none, run_or_reason, tables
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

TITLE = "Occluded patches and illusory contours (beyond Vas 2024)"
METHODS = {
    "grey": "filled with grey",
    "feedforward": "read off the occluded row",
    "sweeps": "imputed by sweeps, q",
    "sweeps_ew": "imputed by sweeps, q_EW",
    "weighted": "visible pixels' weights",
    "linear_noise": "linear, decoder's noise",
    "linear": "linear, exact covariance",
    "seen": "decoded from the whole row",
}
PAIRS = (
    ("sweeps", "grey"),
    ("sweeps", "feedforward"),
    ("sweeps", "linear_noise"),
    ("sweeps_ew", "sweeps"),
)


def entries(study: Study) -> list[Entry]:
    """Inpainting: examples, errors, course, paired differences; contours: stimuli and responses."""
    return [
        Entry("inpainting-examples", BEYOND, partial(_examples, study)),
        Entry("inpainting-errors", BEYOND, partial(_errors, study)),
        Entry("inpainting-course", BEYOND, partial(_course, study)),
        Entry("inpainting-differences", BEYOND, partial(_differences, study)),
        Entry("contour-stimuli", BEYOND, partial(_stimuli, study)),
        Entry("contour-responses", BEYOND, partial(_responses, study)),
        Entry("contour-contrasts", BEYOND, partial(_contrasts, study)),
    ]


def error_table(found: Named) -> pd.DataFrame:
    """Mean error of every method over patches, a row each.

    Returns:
        ``method``, ``error`` and its ``standard_error`` over patches (squared units of the rows),
        ``median`` error, ``patches``.
    """
    rows = []
    for method in METHODS:
        values = found.get(f"error_{method}")
        if values is not None:
            mean, _, error = spread(values)
            rows.append((method, mean, error, float(np.median(values)), len(values)))
    return pd.DataFrame(rows, columns=["method", "error", "standard_error", "median", "patches"])


def difference_table(found: Named) -> pd.DataFrame:
    """Paired differences of two methods' errors over the same patches, with the paired t-test.

    Returns:
        ``method``, ``against``, ``difference`` (negative: the first is better) and its
        ``standard_error``, ``t``, two-sided ``p``, ``patches``.
    """
    rows = []
    for ours, theirs in PAIRS:
        if f"error_{ours}" in found and f"error_{theirs}" in found:
            first, second = found[f"error_{ours}"], found[f"error_{theirs}"]
            number = min(len(first), len(second))  # q_EW is asked about the first patches only
            difference = first[:number] - second[:number]
            t, p = stats.ttest_1samp(difference, 0.0)
            mean, _, error = spread(difference)
            rows.append((ours, theirs, mean, error, t, p, number))
    return pd.DataFrame(
        rows,
        columns=["method", "against", "difference", "standard_error", "t", "p", "patches"],
    )


def _collected(study: Study, tabulate: Callable[[Subject], pd.DataFrame]) -> pd.DataFrame:
    return tables(study.subjects, tabulate)[0]


def _examples(study: Study) -> Item:
    names = {
        "true": "patch",
        "grey": "occluded",
        "feedforward": "read off",
        "sweeps": "by sweeps",
        "linear_noise": "linear, noise",
    }

    def draw(axes: Sequence[Axes], subject: Subject) -> Rows:
        found = subject.measured("inpainting")
        images = {
            shown: as_images(found[f"rows_{name}"], subject.natural)
            for name, shown in names.items()
            if f"rows_{name}" in found
        }
        pictures.plot_fillings(axes[0], images, subject.name)
        return []

    figure, *_ = drawn(study.examples(), draw, (8.5, 3.8), per_row=1)
    return Item(
        "Whitened test patches with their middle hidden, and filled in by reading the occluded row "
        "as if it were whole, by sweeps of sampling z and decoding, and by linear interpolation "
        "under the decoder's noise, the baseline.",
        figure,
    )


def _errors(study: Study) -> Item:
    table = _collected(study, lambda subject: error_table(subject.measured("inpainting")))
    figure, ax = panel(8.5, 4.5)
    # Errors of 1e-15 on the same axis would leave no room for the others.
    shown = {name: words for name, words in METHODS.items() if name != "linear"}
    pictures.plot_errors(ax, table, shown)
    return Item(
        "Mean squared error of the hidden pixels, a mark per run: grey is the null, decoding the "
        "whole row the floor, and linear interpolation under the decoder's noise the baseline; the "
        "exact covariance of low-pass rows (in the table only) gives hidden pixels away by linear "
        "algebra.",
        figure,
        table,
    )


def _course(study: Study) -> Item:
    courses: dict[str, list[np.ndarray]] = {}
    lines: list[tuple[float, float]] = []

    def tabulate(subject: Subject) -> pd.DataFrame:
        found = subject.measured("inpainting")
        course = found.course
        courses.setdefault(subject.label, []).append(course)
        noisy = found.get("error_linear_noise")
        lines.append((found.error_grey.mean(), np.nan if noisy is None else noisy.mean()))
        stop = int(found.stop)
        return pd.DataFrame(
            {
                "first_sweep": [course[0]],
                "stop": [stop],
                "error_at_stop": [course[stop - 1]],
                "last_sweep": [course[-1]],
                "effective_particles": [found.ess.mean()],
            }
        )

    table = _collected(study, tabulate)
    grey, noisy = np.mean(lines, axis=0)
    figure, ax = panel(7, 4)
    pictures.plot_course(ax, courses, float(grey), None if np.isnan(noisy) else float(noisy))
    return Item(
        "Error of what sweeps filled in, after each sweep: where the guide is not the posterior "
        "they drift off, so errors elsewhere are those after the number of sweeps that is best on "
        "validation patches; effective particles of the visible pixels' weights near 1 mean that "
        "their estimate rests on one particle.",
        figure,
        table,
    )


def _differences(study: Study) -> Item:
    table = _collected(study, lambda subject: difference_table(subject.measured("inpainting")))
    return Item(
        "Paired differences of errors over the same patches (negative: the first method is better; "
        "null: 0), with the paired t-test over patches of one run.",
        table=table,
    )


def _stimuli(study: Study) -> Item:
    shown, left_out = run_or_reason(study.examples(), lambda subject: subject.measured("contours"))
    refuse_none(shown, left_out)
    subject, found = shown[0]
    rows = found.examples
    images = as_images(rows.reshape(-1, rows.shape[-1]), subject.natural)
    images = images.reshape(*rows.shape[:2], *images.shape[1:])
    figure, ax = panel(6.5, 1.25 * len(images) + 0.6)
    names = [f"unit {unit}" for unit in found.unit[: len(images)]]
    pictures.plot_stimuli(ax, images, names, list(CONDITIONS))
    return Item(
        f"Stimuli of {len(images)} units of {subject.name}, as the guide sees them: a grating "
        "through the unit's field, the same without its middle, and two kinds of control "
        f"without a contour; the gap keeps {found.leak.mean():.0%} of the full grating's "
        "energy, which the low-pass cut of the rows smears into it.",
        figure,
    )


def _shares(subject: Subject) -> pd.DataFrame:
    """Shares under q, with z2 of the blank and of the rotated control, linear, and under q_EW."""
    found = subject.measured("contours")
    intact = found.response
    tables = []
    for name, shown, reference in (
        ("response", "q", None),
        ("response_blank", "q, z2 of the blank", intact),
        ("response_rotated", "q, z2 of the rotated control", intact),
        ("linear", "receptive field", None),
        ("response_ew", "q_EW", None),
    ):
        try:
            table = contour_shares(found[name], reference, shown) if name in found else None
        except InputError:
            # Fields or weights too noisy to answer leave a gap; the guide itself must answer.
            if name == "response":
                raise
            table = None
        if table is not None:
            table.insert(0, "response", shown)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _responses(study: Study) -> Item:
    table = _collected(study, _shares)
    figure, axes = panels(2, (5.5, 4), sharey=True)
    for ax, shown, title in (
        (axes[0], "q", "z2 as it is"),
        (axes[1], "q, z2 of the blank", "z2 drawn from the blank"),
    ):
        pictures.plot_shares(ax, table[table.response == shown], "condition")
        ax.set_title(title)
    return Item(
        "Mean response of localised units of z1, relative to a blank, as a share of that to the "
        "full grating: an illusory contour shows where 'illusory' exceeds 'rotated' and the sum of "
        "the two single ends; chance is 0, and the share of a linear reader is in the table.",
        figure,
        table,
    )


def _contrasts(study: Study) -> Item:
    table = _collected(study, lambda subject: contrasts(subject.measured("contours")))
    figure, ax = panel(8.5, 3.8)
    pictures.plot_shares(ax, table, "contrast")
    ax.set_title("differences per unit, null: 0")
    return Item(
        "Paired differences over units behind the illusory response, each with a null of zero: "
        "'top-down' rows are what the response loses when z2 is drawn from the blank, or from the "
        "rotated control of equal contrast; p-values are over the units of one run.",
        figure,
        table,
    )
