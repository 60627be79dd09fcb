"""The sections of the report, one file each, in reading order."""

from analysis.reporting.sections import (
    arviz_plots,
    correlations,
    decoding,
    filters,
    information,
    stimuli,
    terms,
    training,
    units,
)

SECTIONS = tuple(
    (section.TITLE, section.entries)
    for section in (
        training,
        terms,
        units,
        decoding,
        information,
        filters,
        correlations,
        stimuli,
        arviz_plots,
    )
)
