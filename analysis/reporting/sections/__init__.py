"""The sections of the report, one file each, in reading order."""

from analysis.reporting.sections import (
    arviz_plots,
    correlation,
    decoding,
    filters,
    information,
    prior,
    samples,
    start,
    steps,
    stimuli,
    terms,
    training,
    units,
)

SECTIONS = tuple(
    (section.TITLE, section.entries)
    for section in (
        start,
        training,
        terms,
        units,
        decoding,
        information,
        filters,
        samples,
        prior,
        steps,
        correlation,
        stimuli,
        arviz_plots,
    )
)
