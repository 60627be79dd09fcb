"""The study's tables beside the main one: starts, twins from random weights, learning rates."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import analysis
from experiments import td_iwae
from experiments.campaign.plan import Request
from experiments.study.estimates_table import write_study
from experiments.study.study_campaign import StudyCampaign
from experiments.study.study_models import Models, cell_of, written
from experiments.study.sweep_table import best_rate
from experiments.study.trained import ABOVE_GAP, FILTERS
from pyro_vae.errors import InputError
from pyro_vae.runs import RunDirectory
from tests.commands.studies import cheap_studies, command, rows_of

HIDDEN = ["--hidden", "encoders=40/20", "feedback=10"]
CELLS = ["vanilla", "k1", "vanilla-random", "k1-random", "vanilla-lr1e-2", "k1-lr1e-2"]


@pytest.fixture
def small(monkeypatch):
    cheap_studies(monkeypatch, latent=(20, 4))


@pytest.fixture(scope="module")
def swept(tmp_path_factory, images):
    """Two models of two seeds, their twins from random weights, and one further rate."""
    folder = tmp_path_factory.mktemp("swept")
    flags = ["--models", "vanilla", "1", "--seeds", 2, "--epochs", 1, "--batch-size", 10]
    flags += ["--test-size", 5, "--eval-particles", 20, "--dataset", images, "--init", "data"]
    flags += [*HIDDEN, "--also-from-random", "--also-lr", "1e-2", "--no-report", "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        cheap_studies(patch, latent=(20, 4))
        assert command(*flags, "--run-dir", folder) == 0
    return folder


def runs_of(folder):
    """Name of a cell -> summaries of its seeds."""
    seeds = {name: (0,) if name.endswith("random") else (0, 1) for name in CELLS}
    return {
        name: [RunDirectory(folder / "runs" / f"{name}-seed{s}").read_summary() for s in numbers]
        for name, numbers in seeds.items()
    }


def mean_and_spread(values):
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def test_each_cell_differs_from_its_model_in_what_its_name_says(swept):
    configs = {path.name: RunDirectory(path).read_config() for path in (swept / "runs").iterdir()}
    assert sorted(configs) == sorted(
        f"{name}-seed{seed}"
        for name in CELLS
        for seed in ((0,) if name.endswith("random") else (0, 1))
    )
    for name, config in configs.items():
        init = "random" if "random" in name else "data"
        rate = 1e-2 if "lr" in name else 3e-4
        assert (config.pair.init, config.training.optimiser.lr) == (init, rate), name
        assert config.pair.hidden == ("encoders=40/20", "feedback=10")
        assert config.pair.architecture.encoders == ((40,), (20,))
    steps = {name: [one["run"]["steps"] for one in of] for name, of in runs_of(swept).items()}
    assert len({count for counts in steps.values() for count in counts}) == 1  # equal steps
    assert "hidden encoders=40/20 feedback=10, dataset" in (swept / "study.md").read_text()


def test_the_rows_have_filters_and_units_of_the_run_and_of_its_start(swept):
    rows = rows_of(swept)
    summaries = [one for of in runs_of(swept).values() for one in of]
    assert len(rows) == len(summaries) == 10
    for row, summary in zip(rows, summaries, strict=True):
        assert float(row["bound"]) == summary["test"]["bound"]["mean"]  # the same run
        assert float(row["elbo_gain"]) == summary["elbo_gain"]["mean"]
        for prefix, part in (("", summary), ("start_", summary["start"])):
            assert float(row[f"{prefix}elbo"]) == part["test"]["elbo"]["mean"]
            assert int(row[f"{prefix}active_z2"]) == part["active_units"]["z2"]["active"]
            assert int(row[f"{prefix}active_z1"]) == part["active_units"]["z1"]["active"]
    assert [row["lr"] for row in rows] == ["0.0003"] * 6 + ["0.01"] * 4
    assert [row["init"] for row in rows] == ["data"] * 4 + ["random"] * 2 + ["data"] * 4


def test_filters_and_the_gap_are_counted_where_a_run_has_them(swept, tmp_path):
    """Images as small as these have no filters, so one run is given some."""
    folder = tmp_path / "copy"
    shutil.copytree(swept, folder)
    for seed in (0, 1):
        directory = RunDirectory(folder / "runs" / f"k1-seed{seed}")
        summary = directory.read_summary()
        for part, localised in ((summary, 13), (summary["start"], 17)):
            counts = {"units": 20, "localised": localised, "non_localised": 1, "unresolved": 2}
            part["filters"] = counts if seed else None
            part["active_units"]["z1"]["above_gap"] = localised + 1 if seed else None
        directory.write_summary(summary)
    plan = StudyCampaign().read_plan(folder / "plan.json")
    markdown, _ = write_study(folder, plan, plan.places(folder / "runs"), [])
    columns = [f"{prefix}{name}" for prefix in ("", "start_") for name in (FILTERS, ABOVE_GAP)]
    rows = {(row["model"], row["init"], row["seed"]): row for row in rows_of(folder)[:6]}
    found = [rows["k = 1", "data", "1"][name] for name in columns]
    assert list(map(float, found)) == [13, 14, 17, 18]
    pairs = markdown.read_text().partition("## Before and after training")[2]
    assert "| k = 1 | data | 2 | start alone | 17.0 (n = 1) | 18.0 (n = 1) |" in pairs
    assert "| k = 1 | data | 2 | trained | 13.0 (n = 1) | 14.0 (n = 1) |" in pairs


def test_the_models_stand_apart_from_their_twins_and_other_rates(swept):
    markdown = (swept / "study.md").read_text()
    main, _, rest = markdown.partition("## Before and after training")
    starts, _, sweep = rest.partition("## Learning rates")
    pairs, _, twins = starts.partition("Twins from random weights")
    found = runs_of(swept)
    bounds = {
        name: [one["test"]["bound"]["mean"] for one in summaries]
        for name, summaries in found.items()
    }
    assert f"| k = 1 | 2 | {mean_and_spread(bounds['k1'])} |" in main
    before = [one["start"]["test"]["bound"]["mean"] for one in found["k1"]]
    assert f"| {mean_and_spread(before)} |" in pairs
    assert f"| {mean_and_spread(bounds['k1'])} |" in pairs
    assert "random |" not in pairs
    for bound in (bounds["k1"][0], *bounds["k1-random"], *bounds["vanilla-random"]):
        assert f"| {bound:.2f} |" in twins
    assert f"{bounds['k1'][1]:.2f}" not in twins  # of another seed than the twin
    assert f"{mean_and_spread(bounds['k1-lr1e-2'])}" in sweep
    assert f"{mean_and_spread(bounds['k1-lr1e-2'])}" not in main + starts


def test_the_best_rate_of_each_model_is_in_bold_and_the_two_are_compared_there(swept):
    sweep = (swept / "study.md").read_text().partition("## Learning rates")[2]
    found = runs_of(swept)
    best = {}
    for model in ("vanilla", "k1"):
        values = {
            rate: [one["test"]["log_likelihood"]["mean"] for one in found[name]]
            for rate, name in (("3e-4", model), ("1e-2", f"{model}-lr1e-2"))
        }
        best[model] = rate = max(values, key=lambda rate: np.mean(values[rate]))
        for one, numbers in values.items():
            text = mean_and_spread(numbers)
            line = next(line for line in sweep.splitlines() if line.startswith(f"| {one} |"))
            assert f"| **{text}** |" in line if one == rate else f"| {text} |" in line
        found[model] = values[rate]
    p = stats.ttest_rel(found["k1"], found["vanilla"]).pvalue
    assert f"each at its best rate ({best['k1']} and {best['vanilla']}): k = 1 minus" in sweep
    difference = mean_and_spread(np.subtract(found["k1"], found["vanilla"]))
    assert f"vanilla {difference} (n = 2), p {p:.3g}" in sweep


def test_a_rate_whose_seeds_are_not_all_finished_is_never_the_best():
    rows = {1e-3: [{"bound": -5.0}, {"bound": -7.0}], 1e-2: [{"bound": -1.0}]}
    assert best_rate(rows, "bound", 2) == 1e-3
    assert best_rate(rows | {1e-2: [{"bound": -1.0}] * 2}, "bound", 2) == 1e-2
    assert best_rate({1e-2: rows[1e-2]}, "bound", 2) is None


def test_a_resume_adds_a_rate_and_trains_no_more(swept, images, small, capsys, monkeypatch):
    plan = (swept / "plan.json").read_text()
    try:
        flags = ("--run-dir", swept, "--resume", *HIDDEN, "--also-lr", "1e-4", "--no-report")
        assert command(*flags) == 0
        out = capsys.readouterr().out
        assert out.count("done before") == 10
        assert out.count("-lr1e-4-seed0: finished") == out.count("-lr1e-4-seed1: finished") == 2
        assert "| 1e-4 |" in out
        assert json.loads((swept / "plan.json").read_text())["rates"] == [1e-2, 1e-4]
    finally:
        (swept / "plan.json").write_text(plan)


def test_the_report_is_of_the_models_and_their_twins(swept, small, monkeypatch):
    calls = []
    stub = SimpleNamespace(main=lambda arguments: calls.append(arguments) or 0)
    monkeypatch.setattr(analysis, "report", stub, raising=False)
    assert command("--run-dir", swept, "--resume", "--quiet") == 0
    (arguments,) = calls
    reported = [Path(path).name for path in arguments[: arguments.index("--out")]]
    assert reported == [
        *("vanilla-seed0", "vanilla-seed1", "k1-seed0", "k1-seed1"),
        *("vanilla-random-seed0", "k1-random-seed0"),
    ]


def test_a_resume_refuses_other_hidden_layers(swept, capsys):
    assert command("--run-dir", swept, "--resume", "--hidden", "64") == 2
    assert "was planned with hidden = ('encoders=40/20', 'feedback=10'), not ('64',)" in (
        capsys.readouterr().err
    )


def test_only_vanilla_and_one_particle_are_swept():
    models = Models(("vanilla", "1", "10"), rates=(1e-3, 2.5e-4))
    assert [cell.name for cell in models.cells] == [
        *("vanilla", "k1", "k10"),
        *("vanilla-lr1e-3", "k1-lr1e-3", "vanilla-lr2.5e-4", "k1-lr2.5e-4"),
    ]
    assert cell_of("1", rate=1e-3).seeds(5) == range(5)
    assert cell_of("1", from_random=True).seeds(5) == range(1)
    assert [written(rate) for rate in (1e-3, 0.001, 0.0025, 1.0)] == [
        *("1e-3", "1e-3", "2.5e-3", "1e+0"),
    ]


def test_a_plan_without_rates_and_hidden_layers_is_read_and_may_gain_rates(swept, tmp_path):
    content = json.loads((swept / "plan.json").read_text())
    del content["rates"], content["shared"]["hidden"]
    (tmp_path / "plan.json").write_text(json.dumps(content))
    found = StudyCampaign().read_plan(tmp_path / "plan.json")
    assert (found.selection.rates, found.shared["hidden"]) == ((), None)
    more = found.resumed(Request(Models(rates=(1e-2, 1e-2))), tmp_path)
    assert more.selection.rates == (1e-2,)


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--also-lr", "0"], "--also-lr must be positive and finite, got 0.0"),
        (["--models", "4", "10", "--also-lr", "1e-3"], "--also-lr is for the models vanilla and 1"),
        (["--lr", "0.001", "--also-lr", "1e-3"], "--also-lr 0.001 is the learning rate of all"),
        (["--recipe", "burda", "--also-lr", "1e-3"], "recipe burda goes through stages; give"),
        (["--hidden", "brain=3"], "unknown part of --hidden 'brain'"),
    ],
)
def test_bad_flags_are_one_line_and_leave_no_plan(tmp_path, capsys, flags, match):
    assert td_iwae.main(["--run-dir", str(tmp_path), "--epochs", "1", "--jobs", "1", *flags]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert match in err
    assert not (tmp_path / "plan.json").exists()


def test_rates_without_a_swept_model_are_refused_on_a_resume_too(tmp_path):
    with pytest.raises(InputError, match="none of which is among 4"):
        Models(("4",)).extended(Models(rates=(1e-3,)), tmp_path)
