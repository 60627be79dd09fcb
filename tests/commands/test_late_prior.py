"""late_prior.py on tiny images: the arms differ in their prior alone, and its table is theirs."""

import csv
import shutil

import numpy as np
import pytest
import torch

from experiments import fit, late_prior
from experiments.late import late_runs
from experiments.late.arms import ARMS
from pyro_vae.datasets import load_dataset
from pyro_vae.evaluation import evaluate
from pyro_vae.runs import RunDirectory, load_run
from pyro_vae.storage import load_checkpoint
from tests.conftest import bare_runs

ARMS_MADE = ["--arms", "more-standard", "more-realnvp", "more-identity"]
QUICK = ["--epochs", "1", "--later-epochs", "2", "--refit-steps", "3", "--image-size", "0"]
JUDGED = ["--seeds", "1", "--test-size", "6", "--eval-particles", "30", "--no-fid", "--quiet"]
MADE = ("standard", "refit-realnvp", "more-standard", "more-realnvp", "more-identity")


@pytest.fixture(scope="module", autouse=True)
def bare():
    with pytest.MonkeyPatch.context() as patch:
        bare_runs(patch)
        small = {"test_size": 2, "eval_particles": 3, "posterior_data": 1, "posterior_draws": 2}
        patch.setattr(late_runs, "SETTINGS", late_runs.SETTINGS | small)
        yield


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """40 training and 10 test images of 8 x 8 x 3 levels."""
    path = tmp_path_factory.mktemp("data") / "colours.npz"
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3)).astype(np.uint8)
    np.savez(path, x_train=images[:40], x_test=images[40:])
    return path


def command(*words):
    return late_prior.main([str(word) for word in words])


@pytest.fixture(scope="module")
def made(colours, tmp_path_factory):
    """The folder of a call, whose first run was trained by hand."""
    folder = tmp_path_factory.mktemp("late")
    by_hand = {"--" + n.replace("_", "-"): v for n, v in late_runs.SETTINGS.items()}
    del by_hand["--compile"]
    words = [str(word) for pair in by_hand.items() for word in pair]
    words += ["--dataset", str(colours), "--epochs", "1", "--no-compile", "--quiet"]
    assert fit.main([*words, "--run-dir", str(folder / "runs" / "standard-seed0")]) == 0
    flags = [*ARMS_MADE, *QUICK, *JUDGED, "--dataset", colours]
    assert command(*flags, "--run-dir", folder) == 0
    return folder


def run_of(folder, name):
    return folder / "runs" / f"{name}-seed0"


def metrics(folder, name):
    return RunDirectory(run_of(folder, name)).read_metrics()


def test_the_arms_that_are_asked_for_are_made_with_what_they_start_from(made):
    assert sorted(path.name for path in (made / "runs").iterdir()) == sorted(
        f"{name}-seed0" for name in MADE
    )
    with (made / "late_prior.csv").open() as stream:
        rows = {row["arm"]: row for row in csv.DictReader(stream)}
    assert list(rows) == [arm.name for arm in ARMS if arm.name in MADE]
    assert [rows[name]["epochs"] for name in MADE] == ["1", "1", "3", "3", "3"]
    page = (made / "late_prior.md").read_text()
    assert "| late RealNVP | 0 |" in page
    assert "FID" not in page


def test_the_table_has_the_paired_difference_of_two_runs(made, colours):
    test = load_dataset(colours, pixels="levels").test[:6]
    found = []
    for name in ("more-realnvp", "more-standard"):
        run = load_run(run_of(made, name))
        torch.manual_seed(0)
        sizes = {"num_particles": 30, "bound_particles": 1}
        found.append(evaluate(run.model, run.guide, test, **sizes))
    with (made / "late_prior.csv").open() as stream:
        row = next(row for row in csv.DictReader(stream) if row["arm"] == "more-realnvp")
    for name in ("elbo", "log_likelihood"):
        nats = getattr(found[1], name) - getattr(found[0], name)
        bits = nats / (192 * np.log(2))
        assert float(row[f"{name}_less_bits"]) == pytest.approx(bits.mean(), abs=1e-7)
        error = bits.std(ddof=1) / 6**0.5
        assert float(row[f"{name}_less_bits_error"]) == pytest.approx(error, rel=1e-3)


def test_all_parts_are_trained_with_the_late_prior(made):
    before, after = (
        load_checkpoint(RunDirectory(run_of(made, name)).checkpoint)
        for name in ("refit-realnvp", "more-realnvp")
    )
    assert any(name.startswith("prior.") for name in after["model"])
    for part in ("model", "guide"):
        moved = {n for n, v in after[part].items() if not torch.equal(v, before[part][n])}
        assert {name.split(".")[0] for name in moved} == {n.split(".")[0] for n in before[part]}


def test_what_goes_on_starts_where_the_other_ended(made):
    """The refit from its new density, the identity from that of the standard normal."""
    elbo = {name: metrics(made, name)["elbo"] for name in MADE}
    assert elbo["more-standard"][0] == pytest.approx(elbo["standard"][-1], rel=1e-6)
    assert elbo["more-identity"][0] == pytest.approx(elbo["standard"][-1], rel=1e-6)
    assert elbo["more-realnvp"][0] != pytest.approx(elbo["standard"][-1], rel=1e-6)


def test_learning_rates_are_the_same_in_every_arm_and_the_optimiser_is_new(made):
    later = ("more-standard", "more-realnvp", "more-identity")
    rates = [metrics(made, name)["lr"] for name in later]
    assert rates[0] == rates[1] == rates[2]
    assert 0 < max(rates[0]) <= late_runs.LATER_RATE
    for name in later:
        state = load_checkpoint(RunDirectory(run_of(made, name)).checkpoint)["optimiser"]
        steps = {int(of["step"]) for of in state["adam"]["state"].values()}
        assert steps == {int(metrics(made, name)["step"][-1])}


def test_batches_and_noise_are_the_same_in_every_arm(made, colours, tmp_path, monkeypatch):
    """Without a learning rate a flow stays the identity, and its bounds those of the normal."""
    monkeypatch.setattr(late_runs, "LATER_RATE", 1e-30)
    shutil.copytree(run_of(made, "standard"), run_of(tmp_path, "standard"))
    arms = ["--arms", "more-standard", "more-identity"]
    assert command(*arms, *QUICK, *JUDGED, "--dataset", colours, "--run-dir", tmp_path) == 0
    one, other = (metrics(tmp_path, name) for name in ("more-standard", "more-identity"))
    assert one["train_objective"][1:] == pytest.approx(other["train_objective"][1:], rel=1e-6)
    assert one["train_objective"][1] != pytest.approx(one["train_objective"][2], rel=1e-6)


def test_a_second_call_trains_nothing(made, colours):
    def ages():
        return [run_of(made, name).joinpath("checkpoint.pt").stat().st_mtime_ns for name in MADE]

    before, table = ages(), (made / "late_prior.csv").read_text()
    flags = [*ARMS_MADE, *QUICK, *JUDGED, "--dataset", colours, "--run-dir", made]
    assert command(*flags) == 0
    assert ages() == before
    assert (made / "late_prior.csv").read_text() == table


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--epochs", "2"], "standard-seed0 holds a run with epochs = 1, the plan has 2"),
        (["--refit-steps", "9"], "refit-realnvp-seed0 was refitted in 3 steps, and now 9 are"),
        (["--arms", "nonsense"], "unknown --arms 'nonsense'; allowed: standard, refit-mixture"),
        (["--seeds", "0"], "--seeds must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(flags, match, made, colours, capsys):
    given = [*ARMS_MADE, *QUICK, *JUDGED, "--dataset", colours, "--run-dir", made, *flags]
    assert command(*given) == 2
    err = capsys.readouterr().err
    assert match in err
    assert err.startswith("late_prior.py: ")
    assert err.count("\n") == 1
