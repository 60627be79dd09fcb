"""Tables of priors and of image likelihoods: their cells, what is printed, and cells that go on."""

import copy
import csv
import dataclasses

import numpy as np
import pytest
import torch

from experiments.campaign import runner
from experiments.campaign.cell import Cell
from experiments.campaign.plan import Plan
from experiments.campaign.taking_over import take_over
from experiments.replication import measures, tables
from experiments.replication.image_tables import IMAGE_TABLES
from experiments.replication.prior_tables import PRIOR_TABLES, prior_cell
from experiments.replication.published_priors import PRIORS_OF_IMAGES, SURGERY
from experiments.replication.published_table import cells_of
from experiments.replication.steps_tables import STEPS_TABLES
from experiments.replication.table_campaign import Rows, TableCampaign
from pyro_vae.runs import load_run

TABLES = {**PRIOR_TABLES, **IMAGE_TABLES, **STEPS_TABLES}


def planned(name: str, recipe: str, epochs: int = 6) -> Plan:
    shared = {"recipe": recipe, "eval_particles": 60, "test_size": 20}
    return Plan(Rows(name), shared, 1, epochs, None, "cpu", None, 1)


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_has_a_run_under_every_recipe(name):
    table = TABLES[name]
    cells = cells_of(table.rows)
    names = [cell.name for cell in cells]
    assert len(set(names)) == len(names)
    compared = {cell.name for one in table.columns for row in table.rows for cell in one.reads(row)}
    assert compared <= set(names)
    for recipe, regime in table.regimes.items():
        made = planned(name, recipe)
        for cell in cells:
            config = TableCampaign().config(made, cell, 0)
            assert config.training.recipe == recipe
            assert config.pair.prior == cell.settings.get("prior", "standard")
            # Cells are compared with each other: the clock must not choose their precision.
            assert config.speed.precision == "float32"
            for setting, value in regime.settings.items():
                assert config.settings[setting] == value


def test_levels_with_a_warm_up_are_those_above_one():
    made = planned("vampprior", "minutes-warm-up")
    ramps = {
        levels: TableCampaign().config(made, prior_cell(levels, "mixture"), 0).training.annealing
        for levels in (1, 2)
    }
    assert ramps == {1: {}, 2: {"z1": (0.01, 1.0, 0.5), "z2": (0.01, 1.0, 0.5)}}


def test_published_bits_are_the_elbo_and_published_rates_are_sums():
    """What the notes say of Gatopoulos 2020 and of Hoffman and Johnson 2016, as arithmetic."""
    for row in PRIORS_OF_IMAGES.values():
        elbo = (row.distortion + row.rate) / (3 * 32 * 32 * np.log(2))
        assert elbo == pytest.approx(row.bits_per_dim, abs=0.016)
    for row in SURGERY.values():
        assert row.mutual_information + row.marginal_kl == pytest.approx(row.average_kl, abs=0.01)
        assert row.mutual_information < np.log(60_000)


def rebuilt_of(monkeypatch, name: str, cells: list[Cell], **changes) -> None:
    """That table with these cells in its first rows, and no others."""
    table = TABLES[name]
    rows = [
        dataclasses.replace(row, cell=cell) for row, cell in zip(table.rows, cells, strict=False)
    ]
    changed = dataclasses.replace(table, rows=tuple(rows), **changes)
    monkeypatch.setitem(tables.TABLES, name, changed)


def small(cell: Cell, **settings) -> Cell:
    """A cell with three units."""
    return dataclasses.replace(cell, settings={**cell.settings, "latent": (3,), **settings})


def test_the_table_of_priors_is_judged_and_compared(run, tmp_path, monkeypatch):
    cells = [
        small(prior_cell(1, "standard")),
        small(prior_cell(1, "mixture"), prior="mixture:components=4"),
    ]
    rebuilt_of(monkeypatch, "vampprior", cells)
    monkeypatch.setattr(measures, "TEMPERATURES", 5)
    code, out, _ = run("--table", "vampprior", "--epochs", 2, "--seeds", 2)
    assert code == 0
    folder = tmp_path / "results"
    with (folder / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["cell"] for row in rows] == ["1L-standard"] * 2 + ["1L-mixture"] * 2
    for row in rows:
        assert float(row["rate"]) == pytest.approx(float(row["kl_z1"]))
        assert float(row["elbo"]) == pytest.approx(-float(row["rate"]) - float(row["distortion"]))
        assert float(row["annealed_over"]) > -5
    effective = [float(row["components"]) for row in rows if row["components"]]
    assert len(effective) == 2  # a standard normal prior has none
    assert all(1 <= one <= 4 for one in effective)
    # 4 components of 3 units: locations, scales and weights.
    learnt = [int(row["parameters"]) for row in rows]
    assert learnt[2] - learnt[0] == 4 * (3 + 3 + 1)
    gains = np.mean(
        [
            np.load(folder / "cells" / f"1L-mixture-seed{seed}" / "per_datum.npz")["log_likelihood"]
            - np.load(folder / "cells" / f"1L-standard-seed{seed}" / "per_datum.npz")[
                "log_likelihood"
            ]
            for seed in (0, 1)
        ],
        axis=0,
    )
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    assert f"{gains.mean():+.2f} +- {error:.2f} (sd " in out
    assert "p(z given lambda)" in out


@pytest.mark.slow
def test_the_surgery_adds_up(run, tmp_path, monkeypatch):
    cell = TABLES["elbo-surgery"].rows[0].cell
    gain = measures.refit_gain("gain_mixture", "mixture:components=4")
    rebuilt_of(monkeypatch, "elbo-surgery", [cell], measures=(measures.surgery, gain))
    code, out, _ = run("--table", "elbo-surgery", "--epochs", 2)
    assert code == 0
    with (tmp_path / "results" / "table.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    parts = float(row["mutual_information"]) + float(row["marginal_kl"])
    assert float(row["average_kl"]) == pytest.approx(parts, abs=1e-6)
    assert float(row["average_kl_difference"]) == pytest.approx(parts - 7.41, abs=1e-6)
    assert "| 7.41 |" in out


@pytest.mark.slow
def test_a_late_prior_is_the_refit_and_the_rest_goes_on(run, tmp_path, monkeypatch):
    """The second cell begins with the first one's likelihood and guide, and a fitted prior."""
    first = small(prior_cell(1, "standard"))
    late = dataclasses.replace(
        small(first, prior="mixture:components=4"), name="late", start=first, share=0.5
    )
    rebuilt_of(monkeypatch, "vampprior", [first, late], measures=())
    started = []

    def watched(start, model, guide, config, data):
        made = copy.deepcopy(model.prior)
        take_over(start, model, guide, config, data)
        state = {**model.likelihood.state_dict(), **guide.state_dict()}
        state = {name: value.clone() for name, value in state.items()}
        with torch.no_grad():
            codes = guide.top(data.valid).sample((100,))
            gain = model.prior().log_prob(codes) - made().log_prob(codes)
        started.append((start.name, config.training.epochs, state, gain))

    monkeypatch.setattr(runner, "take_over", watched)
    code, out, _ = run("--table", "vampprior", "--epochs", 2)
    assert code == 0
    assert "late-seed0: finished" in out
    ((name, epochs, state, gain),) = started
    assert (name, epochs) == ("1L-standard-seed0", 1)
    assert gain.mean() > 0  # than as it was made, on the first pair's codes
    folder = tmp_path / "results" / "cells"
    before = load_run(folder / "1L-standard-seed0")
    kept = {**before.model.likelihood.state_dict(), **before.guide.state_dict()}
    assert all(torch.equal(state[name], value) for name, value in kept.items())
    assert load_run(folder / "late-seed0").config.facts.other == {
        "started_from": "1L-standard-seed0"
    }
