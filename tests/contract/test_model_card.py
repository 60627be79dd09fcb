"""The model card of a run: its settings and estimates as the run's own files have them."""

import json
import shutil

import pytest

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.export import model_card
from tests.conftest import changed_by_hand


@pytest.fixture(scope="module")
def run(finished_run):
    return pyro_vae.load_run(finished_run)


@pytest.fixture(scope="module")
def card(run):
    return model_card(run)


@pytest.fixture
def copied(run, tmp_path):
    """The same run in a folder of its own, to be changed."""
    path = tmp_path / "copied"
    shutil.copytree(run.path, path)
    changed_by_hand(path)
    return path


def test_the_card_has_its_sections_in_order(card):
    titles = [line for line in card.splitlines() if line.startswith("#")]
    assert titles == [
        "# Model card: td with a topdown guide",
        "## Model",
        "## Data",
        "## Training",
        "## Estimates on the test data",
        "## What these numbers do not show",
        "## What not to use it for",
        "## How to load it",
    ]
    assert "None" not in card
    assert "{" not in card


def test_the_card_says_what_the_run_is(run, card):
    config = run.config
    parameters = sum(p.numel() for p in run.model.parameters())
    for said in (
        "z1 laplace (12 units), z2 normal (4 units)",
        f"parameters: model {parameters:,}, guide",
        "train 80, valid 10, test 10",
        "pixels in a row: 16",
        config.facts.data_checksum,
        "IWAE (`iwae`; Burda et al. 2016, https://arxiv.org/abs/1509.00519)",
        "particles per datum: 5",
        "epochs: 2 of 2",
        "(finished)",
        f"pyro_vae {pyro_vae.__version__}",
        f'load_run("{run.path.name}")',
    ):
        assert said in card, said


def test_every_estimate_is_in_the_table_with_its_error(run, card):
    summary = json.loads((run.path / "summary.json").read_text())
    rows = [line.split(" | ") for line in card.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(summary["test"])
    shown = {(mean, error.removesuffix(" |")) for _, mean, error in rows}
    for name, row in summary["test"].items():
        assert (f"{row['mean']:.3f}", f"{row['standard_error']:.3f}") in shown, name
    first = summary["test"]["log_likelihood"]
    assert rows[0][0] == "| log-likelihood, a lower estimate (L_K)"
    assert f"Monte Carlo error is {first['monte_carlo_error']:.3f} nats" in card
    assert summary["warning"] is None or summary["warning"] in card
    for level, counts in summary["active_units"].items():
        assert f"active units of {level}: {counts['active']} of {counts['units']}" in card


def test_a_finished_run_has_its_card_beside_its_files(run, card):
    assert (run.path / "model_card.md").read_text(encoding="utf-8") == card


def test_what_the_run_is_not_for_follows_from_its_numbers(run, copied):
    file = copied / "summary.json"
    content = json.loads(file.read_text())
    content["elbo_gain"] = {"mean": 1.5, "standard_error": 0.25}

    def told(share, test_data):
        content["test"]["khat_above_0.7"]["mean"] = share
        content["settings"]["test_data"] = test_data
        file.write_text(json.dumps(content))
        return model_card(pyro_vae.load_run(copied))

    sure, unsure = told(0.1, 500), told(0.9, 10)
    for text, seen in (
        ("for 90% of the test data k-hat", unsure),
        ("10 test data are few", unsure),
    ):
        assert text in seen
        assert text not in sure
    for card in (sure, unsure):
        assert "https://arxiv.org/abs/1810.09136" in card
        assert "training added to the ELBO of the start: 1.500 ± 0.250 nats" in card
        assert "Grey images" not in card  # of Gaussian pixels


def test_numbers_that_are_not_finite_and_warnings_are_shown(copied):
    file = copied / "summary.json"
    content = json.loads(file.read_text())
    content["test"]["khat"] = {"mean": None, "standard_error": None}  # as JSON keeps infinity
    content["warning"] = "too few particles"
    file.write_text(json.dumps(content))
    card = model_card(pyro_vae.load_run(copied))
    assert "| Pareto k-hat | none | none |" in card
    assert "**Warning:** too few particles" in card


def test_a_run_that_was_not_evaluated_says_so(copied):
    (copied / "summary.json").unlink()
    card = model_card(pyro_vae.load_run(copied))
    assert "The run was not evaluated." in card
    assert "Anything that rests on a number" in card
    assert "epochs: 2 planned" in card


def test_a_run_of_an_earlier_version_has_a_card(copied):
    """Without checksum, platform and command, which version 0.4 did not write down."""
    file = copied / "config.json"
    content = json.loads(file.read_text())
    for name in ("format", "data_checksum", "data_sketch", "platform", "command"):
        del content[name]
    file.write_text(json.dumps(content))
    card = model_card(pyro_vae.load_run(copied))
    assert "checksum: not recorded" in card
    assert "platform" not in card


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"test": {"elbo": {"median": 1}}}', '{"test": 3}']
)
def test_a_damaged_summary_is_named(copied, content):
    (copied / "summary.json").write_text(content)
    with pytest.raises(InputError, match=r"summary\.json is damaged") as caught:
        model_card(pyro_vae.load_run(copied))
    assert "\n" not in str(caught.value)


def test_a_run_that_lies_nowhere_is_refused(run):
    nowhere = pyro_vae.Run(run.model, run.guide, run.config)
    with pytest.raises(InputError, match="lies in no directory"):
        model_card(nowhere)
