"""A report over models with one level and with two: each term is of the models that have it."""

import numpy as np
import pandas as pd
import pytest

from analysis.reporting.measurements import MEASUREMENTS
from analysis.reporting.sections import terms, training
from pyro_vae.cli import pictures
from pyro_vae.runs import RunDirectory
from tests.analysis.test_report import PATCHES, study_of
from tests.conftest import run_fit

NAN = float("nan")
VALUES = ["bound", "kl_z1", "kl_z2"]


def table(*rows):
    return pd.DataFrame(rows, columns=["model", "seed", *VALUES])


BOTH = table(
    ("one", 0, -9.0, 3.0, NAN),
    ("one", 1, -8.0, 4.0, NAN),
    ("two", 0, -7.0, 3.5, 1.0),
    ("two", 1, -5.0, 4.0, 2.0),
    ("three", 0, -6.0, 5.0, 3.0),
    ("three", 1, -4.0, 5.0, 5.0),
)


def test_models_are_compared_in_the_terms_that_both_have():
    found = terms.differences(BOTH, VALUES, "one").set_index(["quantity", "model"])
    assert ("kl_z2", "one") not in found.index
    assert found.loc[("bound", "two"), "difference"] == pytest.approx(2.5)
    assert found.loc[("kl_z1", "three"), "difference"] == pytest.approx(1.5)
    assert found.loc[("bound", "one"), "note"] == "baseline"
    # Of a level that the baseline lacks, the first model that has it is the baseline.
    assert found.loc[("kl_z2", "two"), "note"] == "baseline"
    assert found.loc[("kl_z2", "three"), "difference"] == pytest.approx(2.5)


def test_a_level_of_one_model_alone_has_its_mean_and_no_difference():
    found = terms.differences(BOTH[BOTH.model != "three"], VALUES, "one")
    (row,) = found[found.quantity == "kl_z2"].itertuples()
    assert (row.model, row.mean, row.n) == ("two", 1.5, 2)
    assert np.isnan(row.difference)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A run of one level, and one of two, on tiny patches."""
    folder = tmp_path_factory.mktemp("levels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *args: None)
        patch.setattr(RunDirectory, "write_posterior", lambda *args: None)
        for name, latent in (("sparse", ["8"]), ("td", ["8", "3"])):
            flags = ["--model", name, "--latent", *latent, "--hidden", "9", "--init", "random"]
            assert run_fit(*PATCHES, *flags, "--run-dir", folder / name) == 0
    paths = [folder / "sparse", folder / "td"]
    return study_of(paths, folder, MEASUREMENTS, test_size=8, eval_particles=20)


def test_terms_are_drawn_and_listed(study):
    item = next(entry for entry in terms.entries(study) if entry.name == "terms-natural").build()
    found = item.table
    assert set(found[found.quantity == "bound"].model) == set(study.labels)
    (label,) = set(found[found.quantity == "kl_z2"].model)
    assert "td" in label
    assert "kl_z2: of the models that have the level" in item.sentence


def test_the_course_of_z2_is_of_the_run_that_has_it(study):
    entries = {entry.name: entry for entry in training.entries(study)}
    item = entries["kl-z2-annealed"].build()
    assert {label for label in study.labels if "td" in label} == set(item.table.model)
