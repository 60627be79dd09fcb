"""Every flag of fit.py changes something that a user can see; a flag without a case fails."""

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from pyro_vae.cli import fit
from pyro_vae.cli.fit import parser
from pyro_vae.errors import InputError
from pyro_vae.programs import MODELS
from pyro_vae.runs import RunDirectory, new_config
from pyro_vae.runs.migrations import read_config
from pyro_vae.training.recipes import RECIPES
from tests.compiler import needs_compiler
from tests.conftest import QUICK, bare_runs, few_units, run_fit, write_images

PATCHES = [
    "--dataset",
    "{photographs}",
    "--patch-size",
    "4",
    "--components",
    "6",
    "--num-train",
    "150",
]
DIGITS = ["--model", "burda1", "--dataset", "{images}"]
MNIST = ["--model", "burda1", "--dataset", "mnist", "--data-dir", "{digits}"]
IMAGES = ["--dataset", "{images}"]
POSTERIOR = {"--posterior-data", "--posterior-draws"}


# What is looked at: functions of a finished run.


def metric(name, row=-1):
    return lambda run: run.metrics[name][row]


def config(name):
    return lambda run: run.config[name]


def beta_of_z1(run):
    return run.metrics.get("beta_z1", [None])[0]


def judged(name):
    return lambda run: run.summary["settings"][name]


def dimension(name):
    return lambda run: run.posterior.sizes[name]


def parameters(run):
    return {name: tuple(value.shape) for name, value in run.checkpoint["model"].items()}


def latent_sizes(run):
    return {name: level["units"] for name, level in run.summary["active_units"].items()}


def guide_parameters(run):
    return sorted(run.checkpoint["guide"])


@dataclass(frozen=True)
class Case:
    """With ``flags`` beside ``base``, ``see`` gives ``expected`` (or just another value)."""

    flags: list[str]
    see: object
    base: list[str]
    expected: object = None


def _setting(objective, flag, value, other, *more):
    """A flag that belongs to one objective."""
    base = [*IMAGES, "--objective", objective, *more, flag, value]
    return Case([flag, other], metric("train_objective"), base)


CASES = {
    "--dataset": Case(["--dataset", "{wide}"], config("num_pixels"), IMAGES, 25),
    "--data-dir": Case(
        ["--data-dir", "{other_digits}"],
        config("num_pixels"),
        MNIST,
        36,
    ),
    "--binarise": Case(["--binarise", "static"], metric("train_objective"), DIGITS),
    "--image-shape": Case(
        ["--image-shape", "4", "4"],
        config("image_shape"),
        ["--dataset", "{flat}"],
        (4, 4),
    ),
    "--image-size": Case(["--image-size", "2"], config("num_pixels"), MNIST, 4),
    "--crop": Case(["--crop", "1", "0", "3", "2"], config("num_pixels"), MNIST, 6),
    "--augment": Case(["--augment", "flip,shift=1"], metric("train_objective"), MNIST),
    "--patch-size": Case(["--patch-size", "5"], config("num_pixels"), PATCHES, 25),
    "--intensity": Case(["--intensity", "grey"], metric("train_objective"), PATCHES),
    "--whiten": Case(["--whiten", "pca"], config("num_pixels"), PATCHES, 6),
    "--components": Case(["--components", "9"], metric("train_objective"), PATCHES),
    "--num-train": Case(
        ["--num-train", "250"], lambda run: run.config["data"]["counts"]["train"], PATCHES, 250
    ),
    "--model": Case(["--model", "sparse"], parameters, [*IMAGES, "--model", "td"]),
    "--guide": Case(["--guide", "bottomup"], guide_parameters, IMAGES),
    "--preset": Case(["--preset", "paper"], parameters, [*IMAGES, "--preset", "small"]),
    "--transforms": Case(
        ["--transforms", "quantise:3", "quantise:bits=1"],
        latent_sizes,
        ["--model", "ssvae", "--dataset", "mnist", "--data-dir", "{digits}"],
        {"z1": 128, "z2": 128, "z3": 128},
    ),
    "--latent": Case(
        ["--latent", "7", "3", "2"], latent_sizes, IMAGES, {"z1": 7, "z2": 3, "z3": 2}
    ),
    "--family": Case(["--family", "normal"], metric("elbo", 0), IMAGES),
    "--hidden": Case(["--hidden", "encoders=9/8,7", "decoder=6"], parameters, IMAGES),
    "--activation": Case(["--activation", "feedback=relu"], metric("elbo", 0), IMAGES),
    "--network": Case(["--network", "gated"], guide_parameters, IMAGES),
    "--decoder-reads": Case(
        ["--decoder-reads", "all"], parameters, [*IMAGES, "--hidden", "decoder=6", "encoders=16"]
    ),
    "--likelihood": Case(["--likelihood", "gaussian:noise=0.7"], metric("elbo", 0), IMAGES),
    "--posterior": Case(
        ["--posterior", "iaf:transforms=1,hidden=3/flow:context=0"], guide_parameters, IMAGES
    ),
    "--init": Case(["--init", "data"], metric("elbo", 0), IMAGES),
    "--data-seed": Case(["--data-seed", "4"], metric("elbo", 0), IMAGES),
    "--objective": Case(["--objective", "elbo"], metric("train_objective"), IMAGES),
    "--num-particles": Case(["--num-particles", "7"], judged("bound_particles"), IMAGES, 7),
    "--alpha": Case(
        ["--alpha", "0.5"], metric("train_objective"), [*IMAGES, "--objective", "renyi"]
    ),
    "--estimator": Case(["--estimator", "stl"], lambda run: run.metrics["grad_norm"], IMAGES),
    "--power": _setting("power", "--power", "0.5", "3"),
    "--beta": _setting("ciwae", "--beta", "0.2", "0.9"),
    "--inner": _setting("miwae", "--inner", "1", "2"),
    "--capacity": _setting("capacity", "--capacity", "3", "0:30:1"),
    "--gamma": _setting("capacity", "--gamma", "1", "3", "--capacity", "500"),
    "--free-bits": _setting("free-bits", "--free-bits", "1", "50"),
    "--groups": _setting("free-bits", "--groups", "level", "unit", "--free-bits", "5"),
    "--anneal": Case(["--anneal", "z1=0.3:0.7:1"], beta_of_z1, IMAGES, 0.3),
    "--no-anneal": Case(["--no-anneal"], lambda run: "beta_z2" in run.metrics, IMAGES, False),
    "--epochs": Case(["--epochs", "2"], lambda run: run.metrics["epoch"], IMAGES, [0, 1, 2]),
    "--max-minutes": Case(
        ["--max-minutes", "1e-9"], lambda run: run.summary["run"]["stopped"], IMAGES, "time"
    ),
    "--batch-size": Case(["--batch-size", "20"], metric("step"), IMAGES, 4),
    # Its fourth and last step, three quarters through the eight stages.
    "--recipe": Case(["--recipe", "burda"], metric("lr"), IMAGES, 1.4e-4),
    "--lr": Case(["--lr", "0.002"], metric("lr"), [*IMAGES, "--recipe", "burda"], 0.002),
    # Its second and last step, half-way down the cosine.
    "--lr-shape": Case(["--lr-shape", "cosine"], metric("lr"), IMAGES, 5e-4),
    "--optimiser": Case(["--optimiser", "adamax"], metric("elbo"), IMAGES),
    # The pair of its second epoch is no better than that of its first, at a step of nothing.
    "--patience": Case(
        ["--patience", "1"],
        lambda run: run.metrics["epoch"],
        [*IMAGES, "--no-anneal", "--epochs", "3", "--lr", "1e-30"],
        [0, 1],
    ),
    "--adam-beta1": Case(["--adam-beta1", "0.5"], metric("elbo"), IMAGES),
    "--adam-eps": Case(["--adam-eps", "1e-2"], metric("elbo"), IMAGES),
    "--gradient": Case(["--gradient", "sum"], metric("elbo"), [*IMAGES, "--adam-eps", "1e-2"]),
    "--second-moment": Case(["--second-moment", "1"], metric("elbo"), IMAGES),
    "--clip-norm": Case(["--clip-norm", "0.5"], metric("clipped"), IMAGES, 2),
    "--skip-norm": Case(["--skip-norm", "0.5"], metric("skipped"), IMAGES, 2),
    "--note": Case(["--note", "a pilot"], config("note"), IMAGES, "a pilot"),
    "--seed": Case(["--seed", "5"], metric("elbo", 0), IMAGES),
    "--device": Case(["--device", "cuda"], lambda run: run.code, IMAGES, 2),
    "--thin": Case(
        ["--thin", "2"],
        lambda run: "kept_share" in run.metrics,
        [*IMAGES, "--num-particles", "5"],
        True,
    ),
    "--no-thin": Case(
        ["--no-thin"], lambda run: "kept_share" in run.metrics, [*IMAGES, "--thin", "1"], False
    ),
    # --compile and its negation are one flag of the parser.
    "--no-compile": Case(
        ["--no-compile"],
        lambda run: run.summary["run"]["compiled"],
        [*IMAGES, "--model", "sparse", "--compile"],
        False,
    ),
    "--chunk-size": Case(["--chunk-size", "12"], metric("train_objective"), IMAGES),
    "--precision": Case(["--precision", "bf16"], metric("train_objective"), IMAGES),
    "--valid-size": Case(["--valid-size", "3"], metric("elbo", 0), IMAGES),
    "--test-size": Case(["--test-size", "4"], judged("test_data"), IMAGES, 4),
    "--eval-particles": Case(["--eval-particles", "60"], judged("particles"), IMAGES, 60),
    "--posterior-data": Case(
        ["--posterior-data", "2"], dimension("datum"), [*IMAGES, "--posterior-data", "3"], 2
    ),
    "--posterior-draws": Case(
        ["--posterior-draws", "4"], dimension("draw"), [*IMAGES, "--posterior-draws", "5"], 4
    ),
    "--run-dir": Case(["--run-dir", "{elsewhere}"], lambda run: run.path.name, IMAGES, "elsewhere"),
}
# Flags whose effect is not a different file; each has a test of its own below.
APART = {"--resume", "--quiet", "--help", "--config", "--prior", "--json", "--tensorboard"}


def flags_of_the_parser():
    """Flags that the help shows; other spellings are hidden."""
    shown = [action for action in parser()._actions if action.help != argparse.SUPPRESS]
    return {action.option_strings[-1] for action in shown if action.option_strings}


@pytest.fixture(scope="module")
def files(tmp_path_factory, images):
    """The names that the cases put in braces."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    (folder / "photographs").mkdir()
    for index in range(3):
        smooth = np.cumsum(np.cumsum(rng.normal(size=(64, 64)), 0), 1)
        grey = 255 * (smooth - smooth.min()) / np.ptp(smooth)
        imageio.imwrite(folder / "photographs" / f"{index}.png", grey.astype(np.uint8))
    for name, side in (("digits", 4), ("other_digits", 6)):
        (folder / name).mkdir()
        pixels = (255 * rng.random((40, side, side))).astype(np.uint8)
        np.savez(folder / name / "mnist.npz", x_train=pixels, x_test=pixels[:20])
    np.save(folder / "flat.npy", np.load(images).reshape(100, -1))
    return {
        "images": images,
        "flat": folder / "flat.npy",
        "wide": write_images(folder / "wide.npy", side=5),
        "photographs": folder / "photographs",
        "digits": folder / "digits",
        "other_digits": folder / "other_digits",
        "elsewhere": folder / "elsewhere",
    }


def finished(code, path):
    """What a run left behind, read once."""
    run = SimpleNamespace(code=code, path=path)
    if code == 0:
        import arviz

        directory = RunDirectory(path)
        run.metrics, run.summary = directory.read_metrics(), directory.read_summary()
        run.config = directory.read_config()
        run.checkpoint = torch.load(directory.checkpoint, weights_only=True)
        if directory.posterior.is_file():
            run.posterior = arviz.from_netcdf(directory.posterior).posterior
    return run


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """Run fit.py with flags; equal commands run once. The pictures have tests of their own."""
    done = {}

    def run_once(flags):
        flags = [flag.format(**files) for flag in flags]
        if tuple(flags) not in done:
            path = tmp_path_factory.mktemp("runs") / "run"
            if "--run-dir" in flags:
                path = Path(flags[flags.index("--run-dir") + 1])
            with pytest.MonkeyPatch.context() as patch:
                if not POSTERIOR.intersection(flags):
                    bare_runs(patch)
                patch.setattr(torch.cuda, "is_available", lambda: False)
                done[tuple(flags)] = finished(run_fit("--run-dir", path, *flags), path)
        return done[tuple(flags)]

    return run_once


def test_every_flag_has_a_case():
    assert flags_of_the_parser() == CASES.keys() | APART


@pytest.mark.parametrize("flag", CASES)
def test_the_flag_changes_something(flag, run, capsys, monkeypatch):
    case = CASES[flag]
    assert flag in case.flags
    if flag == "--no-compile":
        # The traced graph stands for what the compiler would make of it in half a minute.
        needs_compiler()
        monkeypatch.setattr(torch._inductor, "compile", lambda graph, *args, **named: graph)
    plain, changed = run(case.base), run([*case.base, *case.flags])
    assert plain.code == 0, capsys.readouterr().err
    before, after = case.see(plain), case.see(changed)
    assert before != after
    if case.expected is not None:
        assert after == case.expected


def test_each_whitening_is_its_own_and_knows_how_many_components_it_leaves(run):
    base = [flag for flag in PATCHES if flag not in ("--components", "6")]
    runs = {how: run([*base, "--whiten", how, "--data-seed", "1"]) for how in ("radial", "none")}
    assert runs["radial"].config["components"] == 13  # pi / 4 of 16
    assert runs["radial"].config["num_pixels"] == 16
    assert runs["radial"].config["data"]["settings"]["whiten"] == "radial"
    assert runs["radial"].config["data"]["cutoff"] == 0.4
    assert runs["radial"].metrics["elbo"] != runs["none"].metrics["elbo"]


@pytest.mark.parametrize("how", ["static", "epoch", "access"])
def test_each_binarisation_is_its_own(how, run):
    objective = metric("train_objective")
    values = {h: objective(run([*DIGITS, "--binarise", h])) for h in ("static", "epoch", "access")}
    assert list(values.values()).count(values[how]) == 1
    assert objective(run(DIGITS)) == values["access"]  # the default


def test_annealing_flags_exclude_each_other_and_repeat(run):
    flags = ["--anneal", "z1=0.5:1:1", "--anneal", "z2=0.2:1:1"]
    metrics = run([*IMAGES, *flags]).metrics
    assert (metrics["beta_z1"][0], metrics["beta_z2"][0]) == (0.5, 0.2)
    assert run([*IMAGES, *flags, "--no-anneal"]).code == 2


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_cuda_both_devices_are_the_cpu(name, run):
    assert run([*IMAGES, "--device", name]).metrics["elbo"] == run(IMAGES).metrics["elbo"]


def test_resume_continues_the_run_with_more_epochs(run, files, tmp_path, monkeypatch):
    bare_runs(monkeypatch)
    longer = run([*IMAGES, "--no-anneal", "--epochs", "2"])
    path = tmp_path / "resumed"
    assert run_fit("--run-dir", path, "--dataset", files["images"], "--no-anneal") == 0
    assert run_fit("--run-dir", path, "--resume", "--epochs", 2) == 0
    assert (path / "metrics.csv").read_bytes() == (longer.path / "metrics.csv").read_bytes()
    assert json.loads((path / "config.json").read_text())["epochs"] == 2


def test_a_run_in_stages_resumes_exactly(run, files, tmp_path, monkeypatch):
    """Cut off after one step, with Adam as in Burda's code; and not with another recipe."""
    bare_runs(monkeypatch)
    flags = ["--recipe", "burda-code", "--epochs", "2"]
    whole = run([*IMAGES, *flags])
    assert whole.metrics["lr"] == [1e-3, 3.7e-4, 1e-4]
    path = tmp_path / "resumed"
    common = ["--dataset", files["images"], "--run-dir", path]
    assert run_fit(*common, *flags, "--max-minutes", 1e-9) == 0
    assert len((path / "metrics.csv").read_text().splitlines()) == 2
    for changed in (
        ["--lr", "1e-4"],
        ["--recipe", "burda"],
        ["--adam-beta1", "0.9"],
        ["--adam-eps", "1"],
        ["--gradient", "mean"],
        ["--second-moment", "0"],
    ):
        assert run_fit("--resume", "--run-dir", path, "--max-minutes", 60, *changed) == 2
    assert run_fit("--resume", "--run-dir", path, "--epochs", 2, "--max-minutes", 60) == 0
    assert (path / "metrics.csv").read_bytes() == (whole.path / "metrics.csv").read_bytes()


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--recipe", "nonsense"], f"'nonsense'; allowed: {', '.join(RECIPES)}"),
        (["--gradient", "median"], "'median'; allowed: mean, sum"),
        (["--adam-beta1", "1"], "--adam-beta1 must lie in [0, 1), got 1.0"),
        (["--adam-beta1=-0.1"], "--adam-beta1 must lie in [0, 1), got -0.1"),
        (["--adam-beta1", "nan"], "--adam-beta1 must lie in [0, 1), got nan"),
        (["--adam-eps", "0"], "--adam-eps must be positive"),
        (["--adam-eps", "many"], "--adam-eps"),
        (["--second-moment=-1"], "--second-moment must be finite and at least 0, got -1.0"),
        (["--second-moment", "inf"], "--second-moment must be finite and at least 0, got inf"),
        (["--recipe", "burda", "--lr", "0"], "--lr must be positive"),
        (["--recipe", "burda", "--epochs", "0"], "--epochs must be positive"),
        (["--patience", "0"], "--patience must be positive"),
        (["--network", "conv"], "unknown network 'conv'; allowed: mlp, gated"),
        (["--decoder-reads", "z2"], "unknown decoder_reads 'z2'; allowed: z1, all"),
        (["--decoder-reads", "all"], "wants at least one hidden layer, where they meet"),
        (["--optimiser", "sgd"], "unknown optimiser 'sgd'; allowed: adam, adamax"),
        (["--optimiser", "adamax", "--second-moment", "1"], "adamax has no second moment"),
        (["--lr-shape", "decay:2"], "a decay wants a factor in (0, 1], got 2.0"),
    ],
)
def test_recipes_that_make_no_sense(images, tmp_path, capsys, flags, match):
    assert run_fit("--dataset", images, "--run-dir", tmp_path / "run", *flags) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert match in err
    assert not (tmp_path / "run").exists()


def test_quiet_prints_the_table_only(monkeypatch, images, tmp_path, capsys):
    from experiments import fit

    bare_runs(monkeypatch)
    flags = [flag for flag in (*QUICK, *few_units([])) if flag != "--quiet"]
    flags += ["--dataset", str(images)]
    outputs = {}
    for name, extra in (("loud", []), ("quiet", ["--quiet"])):
        assert fit.main([*flags, "--run-dir", str(tmp_path / name), *extra]) == 0
        outputs[name] = capsys.readouterr()
    assert "epoch    1" in outputs["loud"].out
    assert "td (small), z1 of 12 and z2 of 4 units, with a topdown guide" in outputs["loud"].out
    assert "epoch" not in outputs["quiet"].out
    assert outputs["quiet"].err == ""
    for line in ("ELBO", "L_2", "log-likelihood", "active units of z1", "run directory:"):
        assert line in outputs["quiet"].out
        assert line in outputs["loud"].out


def test_help_names_every_flag_and_choice(capsys):
    with pytest.raises(SystemExit) as caught:
        run_fit("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for flag in flags_of_the_parser():
        assert flag in text
    for name in (*MODELS, *RECIPES, "topdown", "bottomup", "meanfield", "elbo-analytic", "natural"):
        assert name in text


def test_every_flag_is_documented():
    for action in parser()._actions:
        assert action.help, action.option_strings
        assert action.default is argparse.SUPPRESS or "--help" in action.option_strings


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("preset", ["small", "paper"])
def test_defaults_resolve(model, preset):
    given = vars(parser().parse_args(["--model", model, "--preset", preset]))
    config = new_config(given)
    resolved = config.entries()
    if model == "vamp":  # whose recipe anneals both levels
        paper = preset == "paper"
        assert resolved["annealing"] == dict.fromkeys(
            ("z1", "z2"), (0.0, 1.0, 0.05) if paper else (0.01, 1.0, 0.5)
        )
        assert (resolved["patience"], resolved["lr"]) == ((50, 5e-4) if paper else (None, 1e-3))
        return
    assert resolved["guide"] == ("meanfield" if model == "ssvae" else "topdown")
    if model in ("image", "ssvae"):  # whose recipes are those of networks of images
        assert resolved["recipe"] == ("srvae" if preset == "paper" else "minutes-images")
        assert (resolved["init"], resolved["annealing"]) == ("random", {})
        assert (resolved["objective"], resolved["num_particles"]) == ("elbo", 1)
        assert (resolved["batch_size"], resolved["thin"]) == (32, None)
        assert config.data_arguments["pixels"] == "levels"
        return
    assert (resolved["objective"], resolved["num_particles"]) == ("iwae", 50)
    assert resolved["epochs"] > 0
    assert resolved["batch_size"] > 0
    digits = model in ("burda1", "burda2", "planar")
    staged = digits and preset == "paper"
    from_data = not digits and preset == "small"
    assert resolved["init"] == ("data" if from_data else "random")
    rate = 1e-4 if preset == "paper" else 3e-4 if from_data else 1e-3
    assert resolved["lr"] == (None if staged else rate)
    assert resolved["lr_shape"] == (None if staged else "cosine:0.1" if from_data else "constant")
    assert (resolved["lr_stages"] is not None) == staged
    one_level = model in ("sparse", "burda1", "planar")
    assert resolved["annealing"] == (
        {} if one_level else {"z2": (0.5 if from_data else 0.1, 1, 0.5)}
    )
    assert config.training.optimiser.lr == rate
    assert config.data_arguments["pixels"] == ("binary" if digits else "standardised")
    json.dumps(resolved)
    # Every default is a flag, and every flag that lasts has a default.
    lasting = {action.dest for action in parser()._actions}
    assert config.settings.keys() - {"lr_stages"} == lasting - {*fit.NO_SETTINGS, "help"}


def test_objectives_of_images_are_decided_one_by_one():
    """What is asked for stands; the rest follows from the objective that was asked for."""

    def decided(given, base=None):
        config = new_config(given, base)
        objective = config.objective
        return objective.name, objective.num_particles, objective.thin, config["eval_particles"]

    of_images, usual = ("elbo", 1, None, 512), ("iwae", 50, 7, 5000)
    image = {"model": "image"}
    assert decided(image) == decided(image | {"objective": "elbo"}) == of_images
    assert decided(image | {"num_particles": 4, "eval_particles": 9}) == ("elbo", 4, None, 9)
    assert decided(image | {"objective": "iwae"}) == ("iwae", 50, 7, 512)
    assert decided({"objective": "elbo"}) == ("elbo", 50, None, 5000)
    # With the configuration of another run, what its model decided is decided anew.
    assert decided({}, new_config(image)) == of_images
    assert decided({"model": "td"}, new_config(image)) == usual
    assert decided(image, new_config({})) == of_images
    assert decided({"objective": "iwae"}, new_config(image)) == ("iwae", 50, 7, 512)
    chosen = new_config({"objective": "dreg", "num_particles": 6})
    assert decided(image, chosen) == ("dreg", 6, None, 512)
    assert decided(image, new_config({"estimator": "pathwise"})) == ("iwae", 50, 7, 512)


def test_random_weights_have_the_defaults_of_before():
    """What follows from the start stays beside it: with --init random the run is that of 0.4."""
    given = vars(parser().parse_args(["--init", "random"]))
    found = new_config(given)
    assert (found.training.recipe, found.training.annealing) == (
        "minutes-patches",
        {"z2": (0.1, 1.0, 0.5)},
    )
    assert (found.data.components, found.data.num_train, found.training.lr) == (128, 10_000, 1e-3)
    assert found.training.lr_schedule is None
    from_data = new_config({})
    assert (from_data.data.components, from_data.data.num_train) == (250, 20_000)
    # Given back with another start, what followed from the first one is decided anew.
    assert new_config(given, from_data).settings == found.settings
    assert new_config({"components": 9}).data.components == 9
    assert new_config({"whiten": "radial"}).data.components == 314
    assert new_config({"patch_size": 8}).data.components == 50  # pi / 4 of 64
    assert new_config({"hidden": ("decoder=50",)}).pair.init == "random"  # no linear decoder


def test_the_default_run_directory_says_what_is_in_it():
    given = vars(parser().parse_args(["--guide", "meanfield", "--num-particles", "3"]))
    path = fit.default_run_dir(new_config(given))
    assert path.parent == Path("runs")
    assert re.fullmatch(r"\d{8}-\d{6}-natural-td-meanfield-iwae-k3", path.name)


def test_the_run_directory_holds_what_the_documentation_says(finished_run):
    names = {path.relative_to(finished_run).as_posix() for path in finished_run.rglob("*")}
    pictures = ("curves", "reconstructions", "samples", "filters", "active_units")
    assert names == {
        "config.json",
        "metrics.csv",
        "checkpoint.pt",
        "checkpoint.previous.pt",
        "checksums.json",
        "model_card.md",
        "summary.json",
        "preprocessing.npz",
        "posterior.nc",
        "figures",
        *(f"figures/{name}.png" for name in pictures),
    }
    summary = json.loads((finished_run / "summary.json").read_text())
    test = {
        "elbo",
        "bound",
        "log_likelihood",
        "kl_to_posterior",
        "reconstruction",
        "kl_z1",
        "kl_z2",
        "ess",
        "khat",
        "khat_above_0.7",
        "log_likelihood_jackknife",
    }
    assert summary["test"].keys() == test
    assert all({"mean", "standard_error"} <= row.keys() for row in summary["test"].values())
    assert summary["active_units"].keys() == {"z1", "z2"}


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ([], 7),
        (["--num-particles", "49"], None),
        (["--num-particles", "800"], 100),
        (["--num-particles", "6000", "--eval-particles", "6000"], None),
        (["--chunk-size", "20"], None),
        (["--objective", "elbo"], None),
        (["--objective", "dreg"], 7),
        (["--no-thin"], None),
        (["--thin"], 7),
        (["--thin", "3"], 3),
        (["--thin", "--num-particles", "4"], 2),
    ],
)
def test_particles_are_thinned_where_it_pays_or_was_asked(flags, kept):
    assert new_config(vars(parser().parse_args(flags))).objective.thin == kept


@pytest.mark.parametrize("number", ["50", "-1", "60"])
def test_thinning_keeps_fewer_than_all(number):
    with pytest.raises(InputError, match=f"--thin {number} must lie below"):
        new_config(vars(parser().parse_args(["--thin", number])))


def test_a_config_file_given_back_is_changed_by_the_flags(finished_run, tmp_path, monkeypatch):
    """``--config`` of a run: the same settings, but for the flags beside it."""
    bare_runs(monkeypatch)
    first = read_config(json.loads((finished_run / "config.json").read_text()), finished_run)
    file = finished_run / "config.json"
    assert run_fit_as_it_is("--config", file, "--seed", 3, "--run-dir", tmp_path / "again") == 0
    again = RunDirectory(tmp_path / "again").read_config()
    assert {name for name in again.settings if again.settings[name] != first.settings[name]} == {
        "seed"
    }
    assert again.facts.command.startswith("fit.py --config ")
    assert run_fit_as_it_is("--config", file, "--run-dir", tmp_path / "same") == 0
    same = (tmp_path / "same" / "metrics.csv").read_bytes()
    assert same == (finished_run / "metrics.csv").read_bytes()
    assert same != (tmp_path / "again" / "metrics.csv").read_bytes()


def run_fit_as_it_is(*flags):
    from experiments import fit

    return fit.main([*map(str, flags), "--quiet"])


def test_what_follows_from_a_flag_is_not_taken_from_the_config_file():
    base = new_config({"model": "burda1", "recipe": "burda", "objective": "ciwae", "beta": 0.2})
    other = new_config({"recipe": "mlmi4", "objective": "iwae"}, base)
    assert other.training == new_config({"model": "burda1", "recipe": "mlmi4"}).training
    assert other.objective == new_config({"model": "burda1"}).objective
    assert other.pair == base.pair
    patches = new_config({"model": "td", "dataset": "natural"}, base)
    assert patches.settings == new_config({"objective": "ciwae", "beta": 0.2}).settings


def test_an_unknown_part_and_an_unknown_setting_are_named():
    for given, match in (
        ({"prior": "uniform"}, "unknown prior 'uniform'; allowed: standard"),
        ({"prior": "standard:width=3"}, "unknown setting 'width' of the prior 'standard'"),
        ({"likelihood": "gaussian:noise=loud"}, "noise of the likelihood 'gaussian'"),
        ({"hidden": ("decoder=a,b",)}, "no list of widths such as 200,200"),
        ({"hidden": ("middle=3",)}, "unknown part of --hidden 'middle'; allowed: encoders"),
        ({"latent": (3, 0)}, "each number of --latent must be a whole number"),
        ({"family": ("normal", "cauchy")}, "unknown family 'cauchy'"),
        ({"activation": ("gelu",)}, "unknown activation 'gelu'; allowed: softplus"),
        ({"colour": 3}, "unknown setting 'colour'"),
    ):
        with pytest.raises(InputError, match=match):
            new_config(given)
