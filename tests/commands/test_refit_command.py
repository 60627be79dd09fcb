"""``pyro-vae refit``: a run with another prior, which everything that takes a run takes."""

import json
import shutil

import pytest
import torch

import pyro_vae
from pyro_vae import cli
from pyro_vae.datasets import load_dataset
from pyro_vae.programs.priors import LearnedPrior, StandardPrior
from pyro_vae.runs import RunDirectory
from pyro_vae.storage import load_checkpoint
from pyro_vae.training.prior_refit import refit_prior
from tests.conftest import run_fit

SETTINGS = ["--prior", "learned:scale=1.5", "--steps", "60", "--quiet"]


def command(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def refitted(finished_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "refitted"
    assert command("refit", finished_run, *SETTINGS, "--run-dir", path) == 0
    return path


def test_the_new_run_has_the_prior_and_all_else_of_the_old_one(finished_run, refitted):
    old, new = pyro_vae.load_run(finished_run), pyro_vae.load_run(refitted)
    assert isinstance(old.model.prior, StandardPrior)
    assert isinstance(new.model.prior, LearnedPrior)
    for first, second in ((old.model, new.model), (old.guide, new.guide)):
        kept = {n: v for n, v in second.state_dict().items() if not n.startswith("prior.")}
        assert kept.keys() == first.state_dict().keys()
        assert all(torch.equal(value, kept[name]) for name, value in first.state_dict().items())
    assert new.config.pair.prior == "learned:scale=1.5"
    origin = new.config.facts.refit
    assert origin["from"] == str(finished_run)
    assert (origin["prior_before"], origin["steps"]) == ("standard", 60)
    assert new.config.facts.command.startswith("pyro-vae refit")
    assert old.config.facts.refit == {}
    assert "refit" not in json.loads((finished_run / "config.json").read_text())


def test_the_gain_is_that_of_the_function_on_the_test_rows(finished_run, refitted):
    run = pyro_vae.load_run(finished_run)
    data = load_dataset(**run.config.data_arguments)
    settings = {"held_out": data.test, "steps": 60}
    found = refit_prior(run.model, run.guide, data.train, "learned:scale=1.5", **settings)
    summary = json.loads((refitted / "summary.json").read_text())
    assert summary["refit"]["gain"] == pytest.approx(found.gain.as_dict(), rel=1e-5)
    assert summary["refit"]["num_held_out"] == len(data.test)
    before = json.loads((finished_run / "summary.json").read_text())["test"]
    after, change = summary["test"], summary["refit"]["change"]
    for name in ("elbo", "log_likelihood"):  # paired: the old numbers are found again
        difference = after[name]["mean"] - before[name]["mean"]
        assert change[name]["mean"] == pytest.approx(difference, abs=1e-4)
    assert after["reconstruction"] == pytest.approx(before["reconstruction"], rel=1e-6)
    assert after["kl_z1"] == pytest.approx(before["kl_z1"], rel=1e-6)
    assert after["kl_z2"] != before["kl_z2"]


def test_a_seed_gives_the_same_run(finished_run, refitted, tmp_path):
    for seed, same in ((0, True), (1, False)):
        path = tmp_path / f"seed{seed}"
        assert command("refit", finished_run, *SETTINGS, "--seed", seed, "--run-dir", path) == 0
        first, second = (pyro_vae.load_run(one).model.prior for one in (refitted, path))
        assert torch.equal(first.loc, second.loc) == same


def test_flags_change_what_they_say(finished_run, refitted, tmp_path):
    flags = [*SETTINGS, "--lr", 1e-4, "--eval-particles", 30, "--run-dir", tmp_path / "other"]
    assert command("refit", finished_run, *flags) == 0
    first, second = pyro_vae.load_run(refitted), pyro_vae.load_run(tmp_path / "other")
    assert (first.config.facts.refit["lr"], second.config.facts.refit["lr"]) == (0.01, 1e-4)
    start = torch.zeros(4)
    assert (second.model.prior.loc - start).abs().max() < (
        first.model.prior.loc - start
    ).abs().max()
    judged = json.loads((tmp_path / "other" / "summary.json").read_text())["settings"]
    assert judged["particles"] == 30


def test_the_best_weights_of_early_stopping_are_those_that_are_refitted(images, tmp_path):
    """The checkpoint of the refitted run has the new prior among its best weights too."""
    old, new = tmp_path / "old", tmp_path / "new"
    flags = ["--dataset", images, "--epochs", 3, "--lr", 0.03, "--patience", 1]
    assert run_fit(*flags, "--run-dir", old) == 0
    assert command("refit", old, *SETTINGS, "--run-dir", new) == 0
    run, checkpoint = pyro_vae.load_run(old), load_checkpoint(RunDirectory(new).checkpoint)
    for part in (checkpoint, checkpoint["best"]):
        assert "prior.loc" in part["model"]
        for name, value in run.guide.state_dict().items():
            assert torch.equal(part["guide"][name], value)
    assert run_fit("--resume", "--run-dir", new, "--epochs", 5) == 0
    epochs = [RunDirectory(path).read_metrics()["epoch"][-1] for path in (old, new)]
    assert epochs[1] > epochs[0]


def test_commands_take_the_new_run(refitted, tmp_path, capsys):
    assert command("evaluate", refitted, "--size", 4, "--eval-particles", 20, "--quiet") == 0
    assert command("sample", refitted, "--num", 2, "--out", tmp_path / "s.npy") == 0
    assert command("card", refitted) == 0
    assert "learned:scale=1.5" in capsys.readouterr().out


def test_a_refitted_run_trains_on(refitted, tmp_path):
    """All parts together, from the refitted prior on."""
    path = shutil.copytree(refitted, tmp_path / "copy")
    before = pyro_vae.load_run(path).model.prior.loc.clone()
    assert run_fit("--resume", "--run-dir", path, "--epochs", 3) == 0
    assert RunDirectory(path).read_metrics()["epoch"] == [0, 1, 2, 3]
    after = pyro_vae.load_run(path).model.prior.loc
    assert not torch.equal(before, after)
    assert (before - after).abs().max() < 0.1


def test_what_is_printed(finished_run, tmp_path, capsys):
    flags = [*SETTINGS[:-1], "--run-dir", tmp_path / "loud"]
    assert command("refit", finished_run, *flags) == 0
    out = capsys.readouterr().out
    for text in (
        "fitting the prior learned:scale=1.5 to",
        "nats of the ELBO on 10 test rows, which it was not fitted to",
        "on training rows",
        "k-hat above 0.7",
        "run directory: ",
    ):
        assert text in out


def test_a_run_that_was_never_finished_is_refused(finished_run, tmp_path, capsys):
    unfinished = shutil.copytree(finished_run, tmp_path / "unfinished")
    (unfinished / "summary.json").unlink()
    assert command("refit", unfinished, *SETTINGS, "--run-dir", tmp_path / "new") == 2
    err = capsys.readouterr().err
    assert f"{unfinished} is no finished run: it has no summary.json" in err
    assert not (tmp_path / "new").exists()


def test_the_directory_is_named_after_the_prior():
    from pyro_vae.cli.refit import default_run_dir

    assert default_run_dir("runs/a/", "learned") == "runs/a-learned"
    assert default_run_dir("runs/a", "learned:scale=1.5") == "runs/a-learned-scale-1.5"


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--prior", "nonsense"], "unknown prior 'nonsense'; allowed: standard, learned"),
        (["--prior", "standard"], "StandardPrior has no parameter to fit"),
        (["--prior", "learned:spread=1"], "unknown setting 'spread' of the prior 'learned'"),
        (["--prior", "learned", "--steps", "0"], "--steps must be a whole number of at least 1"),
        (["--prior", "learned", "--lr", "nan"], "--lr must be positive and finite, got nan"),
        (["--prior", "learned", "--eval-particles", "1"], "fewer than the run's 5 particles"),
        (["--prior", "learned", "--run-dir", "{run}"], "holds a run already; name another"),
        ([], "--prior"),
    ],
)
def test_bad_input_is_one_line(flags, match, finished_run, tmp_path, capsys):
    given = [flag.format(run=finished_run) for flag in flags]
    elsewhere = [] if "--run-dir" in flags else ["--run-dir", tmp_path / "new"]
    assert command("refit", finished_run, *given, *elsewhere, "--quiet") == 2
    err = capsys.readouterr().err
    assert match in err
    assert err.startswith("pyro-vae refit: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()
