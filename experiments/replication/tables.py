"""The tables that ``replicate.py`` rebuilds, by name."""

from __future__ import annotations

from experiments.replication.beta_tables import BETA_TABLES
from experiments.replication.burda_tables import BURDA_TABLES
from experiments.replication.image_tables import IMAGE_TABLES
from experiments.replication.prior_tables import PRIOR_TABLES
from experiments.replication.published_table import Table
from experiments.replication.steps_tables import STEPS_TABLES
from pyro_vae.errors import check_choice

TABLES: dict[str, Table] = {
    **BURDA_TABLES,
    **PRIOR_TABLES,
    **IMAGE_TABLES,
    **STEPS_TABLES,
    **BETA_TABLES,
}


def table_named(name: str) -> Table:
    """The table of that name; InputError lists the names there are."""
    return TABLES[check_choice("table", name, TABLES)]
