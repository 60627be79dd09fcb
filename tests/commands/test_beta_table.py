"""The table of known factors: its cells, what is judged, and codes that no cell trains."""

import csv
import dataclasses

import pytest

from experiments.campaign.plan import Plan
from experiments.replication import beta_tables, tables
from experiments.replication.beta_tables import BETA_TABLES, REFERENCES
from experiments.replication.table_campaign import Rows, TableCampaign

pytestmark = pytest.mark.slow

TABLE = BETA_TABLES["beta-vae"]


def test_cells_differ_in_their_objective_alone():
    shared = {"recipe": TABLE.recipe, "eval_particles": 60, "test_size": 20}
    made = Plan(Rows("beta-vae"), shared, 1, 6, None, "cpu", None, 1)
    configs = [TableCampaign().config(made, row.cell, 0) for row in TABLE.rows]
    assert [config.objective.name for config in configs] == ["elbo", *["beta-vae"] * 3, "capacity"]
    assert [config.objective.settings.get("beta") for config in configs[1:4]] == [2.0, 4.0, 8.0]
    assert [config.objective.make().analytic for config in configs] == [True] * 5
    assert configs[4].objective.make().scheduled
    first = dataclasses.replace(configs[0], objective=None)
    assert all(dataclasses.replace(config, objective=None) == first for config in configs)
    assert first.speed.precision == "float32"  # the clock must not choose it


def test_cells_are_judged_beside_other_codes(run, tmp_path, monkeypatch):
    cells = [
        dataclasses.replace(row.cell, settings={**row.cell.settings, "latent": (3,)})
        for row in (TABLE.rows[0], TABLE.rows[2])
    ]
    rows = tuple(
        dataclasses.replace(row, cell=cell)
        for row, cell in zip((TABLE.rows[0], TABLE.rows[2]), cells, strict=True)
    )
    monkeypatch.setitem(tables.TABLES, "beta-vae", dataclasses.replace(TABLE, rows=rows))

    def few(train, rows, factors, *, num_units):
        assert train.shape[1] == rows.shape[1] == 1024
        assert num_units == 10
        return dict.fromkeys(("pixels", "pca", "ica"), rows[:, 500:503]) | {"factors": factors}

    monkeypatch.setattr(beta_tables, "reference_codes", few)
    code, out, _ = run("--table", "beta-vae", "--epochs", 1, "--test-size", 300)
    assert code == 0
    with (tmp_path / "results" / "table.csv").open() as stream:
        vae, beta = csv.DictReader(stream)
    assert float(vae["pair_score_of_factors"]) > 0.97
    assert float(vae["mig_of_factors"]) > 0.9
    assert float(vae["mig_of_pixels"]) < 0.1
    assert not beta["pair_score_of_factors"]  # once is enough
    for row in (vae, beta):
        assert 0.1 < float(row["pair_score"]) <= 1
        assert abs(float(row["mig_null"])) < 0.05
        assert float(row["read_x"]) <= 1
    for text in (
        "| VAE | 0.616 |",
        "| beta-VAE, beta = 4 | 0.992 |",
        "the factors themselves",
        "(0.441), MIG",
        "cannot see a missing factor",
    ):
        assert text in out
    assert all(float(vae[f"pair_score_of_{name}"]) > 0.1 for name in REFERENCES)
