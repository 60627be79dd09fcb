"""One sentence under the table of a run: what it shows, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator

from pyro_vae.evaluation.filters.counts import FilterCounts
from pyro_vae.runs.summary import Summary

MOST = 0.8  # share of localised filters from which a start that had them is said to give them
NOISE = 0.1  # share of localised filters below which the decoder is called noise


def reading(summary: Summary) -> str:
    """What the run shows and what it does not, in one sentence, for who reads no table."""
    told = "; ".join(
        [*_of_filters(summary), *_of_training(summary), *_of_gap(summary), *_of_z2(summary)]
    )
    return f"{told[:1].upper()}{told[1:]}." if told else ""


def _of_filters(summary: Summary) -> Iterator[str]:
    counts, start = summary.filters, summary.start
    if counts is None:
        if summary.filters_missing:
            yield f"filters are not counted: {summary.filters_missing}"
        return
    if start is not None and start.filters is not None:
        before = start.filters.localised
        told = f"{before} localised at the start, {counts.localised} after training"
        if before < MOST * counts.localised:
            yield f"filters were started by ICA of the training rows and trained: {told}"
        else:
            yield (
                "the filters come from the start (ICA of the training rows), not from training: "
                f"{told}"
            )
    elif counts.localised_shown < NOISE * counts.shown:
        yield (
            f"the filters are still noise ({_localised(counts)}): train longer, or start from the "
            "data (--init data)"
        )
    else:
        yield f"{_localised(counts)}, learned from a random start"


def _localised(counts: FilterCounts) -> str:
    return f"{counts.localised} of {counts.units} filters are localised"


def _of_training(summary: Summary) -> Iterator[str]:
    start = summary.start
    if start is not None and start.filters is not None and start.test:
        gain = summary.elbo_gain
        if gain is None:  # of a version that did not pair the data
            change = f"{summary.estimate('elbo').mean - start.estimate('elbo').mean:+.1f}"
        else:
            change = f"{gain.mean:+.1f} ± {gain.standard_error:.1f}"
        worse = gain is not None and gain.mean < -2 * gain.standard_error
        advice = ": the start was better, so train longer" if worse else ""
        yield f"training changed the ELBO by {change} nats{advice}"


def _of_gap(summary: Summary) -> Iterator[str]:
    """Active units of z1 that nothing sets apart from the inactive ones."""
    z1, counts = summary.active_units.get("z1"), summary.filters
    if z1 is None or z1.above_gap is not None or z1.active < 2:
        return
    mostly_filters = counts is not None and counts.localised_shown > counts.shown / 2
    if z1.active < z1.units or not mostly_filters:
        yield (
            f'z1\'s {z1.active} "active" units of {z1.units} have no clear gap below them, so that '
            "their number is the threshold's"
        )


def _of_z2(summary: Summary) -> Iterator[str]:
    z2 = summary.active_units.get("z2")
    if z2 is None:
        return
    if z2.active == 0:
        yield "z2 is not used"
    elif z2.active == 1:
        yield f"z2 uses one of its {z2.units} units, which is as a rule the contrast of the patch"
    elif z2.pca_active <= 1:
        yield (
            f"z2's {z2.active} active units move along one direction, which is as a rule the "
            "contrast of the patch"
        )
    else:
        yield f"z2 uses {z2.active} of its {z2.units} units"
