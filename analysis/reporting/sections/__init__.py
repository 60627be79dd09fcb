"""The sections of the report, one file each, in reading order."""

from analysis.reporting.sections import (
    arviz_plots,
    correlation,
    decoding,
    filters,
    information,
    prior,
    routes,
    samples,
    start,
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
        routes,
        correlation,
        stimuli,
        arviz_plots,
    )
)
