"""The config that the flags of ``fit.py`` resolve to: plain values that a resume reads back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pyro_vae.datasets import PATCH_DATASETS
from pyro_vae.errors import InputError, check_choice, check_positive
from pyro_vae.objectives import OBJECTIVES, SETTINGS, make_objective
from pyro_vae.objectives.thinning import default_kept
from pyro_vae.programs import GUIDES, architecture
from pyro_vae.runs import RunDirectory
from pyro_vae.training.fitting import CPU_CHUNK
from pyro_vae.training.optimisation import GRADIENTS, OptimiserSettings
from pyro_vae.training.precision import PRECISIONS
from pyro_vae.training.recipes import Recipe, named_recipe, recipe_name
from pyro_vae.training.schedules import LinearWarmUp, Stages, default_annealing, stages

# A resumed run keeps its data, model, optimiser and seed; the rest may be given anew.
MAY_CHANGE = {
    "data_dir",
    "objective",
    "estimator",
    *SETTINGS,
    "num_particles",
    "epochs",
    "max_minutes",
    "device",
    "valid_size",
    "test_size",
    "eval_particles",
    "posterior_data",
    "posterior_draws",
    "thin",
    "compile",
    "chunk_size",
    "precision",
}
PATCH_FLAGS = ("patch_size", "intensity", "whiten", "components", "num_train")
# Entries that runs of older versions lack, as those runs had them.
ADDED = {
    **dict.fromkeys(SETTINGS),
    "estimator": None,
    "thin": None,
    "compile": None,
    "chunk_size": None,
    "precision": "float32",
    "recipe": None,
    "lr_stages": None,
    "adam_beta1": 0.9,
    "gradient": "mean",
    "second_moment": 0.0,
}
# Where benchmarks/thinning.py found that it pays.
THIN_FROM = 50  # particles
THINNED = ("iwae", "dreg", "renyi")
NOT_IN_CONFIG = {"resume", "run_dir", "quiet"}


DEFAULTS: dict[str, Any] = {
    "dataset": "natural",
    "data_dir": None,
    "binarise": None,
    "patch_size": 20,
    "intensity": "log",
    "whiten": "zca",
    "components": 128,
    "num_train": 10_000,
    "model": "td",
    "guide": "topdown",
    "preset": "small",
    "objective": "iwae",
    "estimator": None,
    **dict.fromkeys(SETTINGS),
    "num_particles": 50,
    "anneal": None,
    "no_anneal": False,
    "epochs": None,
    "max_minutes": None,
    "batch_size": None,
    "recipe": None,
    "lr": None,
    "adam_beta1": None,
    "adam_eps": None,
    "gradient": None,
    "second_moment": None,
    "clip_norm": None,
    "skip_norm": None,
    "seed": 0,
    "thin": "auto",
    "compile": None,
    "chunk_size": None,
    "precision": "float32",
    "device": "auto",
    "valid_size": 500,
    "test_size": 200,
    "eval_particles": 5_000,
    "posterior_data": 50,
    "posterior_draws": 100,
}


def new_config(given: dict[str, Any]) -> dict[str, Any]:
    """Defaults, the recipe and the given flags, checked by name and range.

    Learning rates in stages are "lr_stages", one for each stage; else that is None, and "lr" is
    the one that there is.
    """
    config = {**DEFAULTS, **_without(given, NOT_IN_CONFIG)}
    check_choice("guide", config["guide"], GUIDES)
    arch = architecture(config["model"], config["preset"])
    if config["recipe"] is None:
        config["recipe"] = recipe_name(config["model"], config["preset"])
    plan = named_recipe(config["recipe"])
    config["lr_stages"] = list(plan.stages) if plan.stages and config["lr"] is None else None
    for name, value in _entries_of(plan).items():
        if config[name] is None:
            config[name] = value
    config["thin"] = _thin(config, given)
    config["annealing"] = _annealing(config.pop("anneal"), config.pop("no_anneal"), arch)
    if not _cuts_patches(config["dataset"]):
        _refuse_patch_flags(given, config["dataset"])
        config |= dict.fromkeys(PATCH_FLAGS)
    if config["binarise"] is not None and not arch.pixels.drawn:
        raise InputError(
            f"--binarise is for models with Bernoulli pixels; {config['model']} has a "
            f"{arch.pixels.likelihoods[0]} likelihood"
        )
    check_config(config)
    return config


def _entries_of(plan: Recipe) -> dict[str, Any]:
    """What a recipe says about entries that flags may set as well."""
    adam = plan.optimiser
    return {
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "lr": None if plan.stages else adam.lr,
        "adam_beta1": adam.betas[0],
        "adam_eps": adam.eps,
        "gradient": adam.gradient,
        "second_moment": adam.second_moment,
        "clip_norm": adam.clip_norm,
        "skip_norm": adam.skip_norm,
    }


def resumed_config(stored: dict[str, Any], given: dict[str, Any], source: Path) -> dict[str, Any]:
    """The stored config with those of the given flags that a resume may change."""
    stored = stored | {name: value for name, value in ADDED.items() if name not in stored}
    missing = [name for name in new_config({}) if name not in stored]
    if missing:
        raise InputError(f"{source} lacks the entries {', '.join(missing)}")
    config = dict(stored)
    for name, value in _without(given, NOT_IN_CONFIG).items():
        kept = stored.get(name)
        if name not in MAY_CHANGE and kept != value:
            if name == "lr" and stored["lr_stages"]:
                kept = f"the stages {', '.join(f'{rate:.2g}' for rate in stored['lr_stages'])}"
            raise InputError(
                f"--{name.replace('_', '-')} {value} cannot change on --resume: the run has {kept}"
            )
        config[name] = value
    if config["objective"] != stored["objective"]:
        # Settings and estimator belong to the objective that was; those of the new one are given.
        config |= {name: given.get(name) for name in (*SETTINGS, "estimator")}
    if given.keys() & {"thin", "num_particles", "objective", "chunk_size"}:
        config["thin"] = _thin(config, given)
    check_config(config)
    _remember_objective(stored, config, RunDirectory(source.parent))
    return config


def _remember_objective(stored: dict[str, Any], config: dict[str, Any], run: RunDirectory) -> None:
    """Write down until where another objective trained; refuse to rename a finished run."""
    what = ("objective", "num_particles", "estimator", *SETTINGS)
    before = {name: stored[name] for name in what if stored[name] is not None}
    if before == {name: config[name] for name in what if config[name] is not None}:
        return
    done = int(run.read_metrics()["epoch"][-1])
    if done >= config["epochs"]:
        raise InputError(
            f"the run has finished its {done} epochs with objective {before['objective']} and k = "
            f"{before['num_particles']}; to go on with another one give --epochs above {done}"
        )
    earlier = stored.get("earlier_objectives", [])
    config["earlier_objectives"] = [*earlier, {"until_epoch": done, **before}]


def check_config(config: dict[str, Any]) -> None:
    """Names and ranges that hold for new and resumed runs."""
    check_choice("objective", config["objective"], OBJECTIVES)
    check_choice("device", config["device"], ("auto", "cpu", "cuda"))
    for name in (
        "num_particles",
        "epochs",
        "batch_size",
        "adam_eps",
        "clip_norm",
        "skip_norm",
        "test_size",
        "valid_size",
        "eval_particles",
        "posterior_data",
        "posterior_draws",
    ):
        check_positive(f"--{name.replace('_', '-')}", config[name])
    if config["lr_stages"] is None:
        check_positive("--lr", config["lr"])
    if not 0 <= config["adam_beta1"] < 1:
        raise InputError(f"--adam-beta1 must lie in [0, 1), got {config['adam_beta1']}")
    if not 0 <= config["second_moment"] < math.inf:
        raise InputError(
            f"--second-moment must be finite and at least 0, got {config['second_moment']}"
        )
    check_choice("--gradient", config["gradient"], GRADIENTS)
    if not 0 <= config["seed"] < 2**63:
        raise InputError(f"--seed must lie in 0 .. 2^63 - 1, got {config['seed']}")
    if config["max_minutes"] is not None:
        check_positive("--max-minutes", config["max_minutes"])
    make_objective(
        config["objective"],
        config["num_particles"],
        estimator=config["estimator"],
        **objective_settings(config),
    )
    if config["chunk_size"] is not None:
        check_positive("--chunk-size", config["chunk_size"])
    check_choice("precision", config["precision"], PRECISIONS)
    if config["eval_particles"] < config["num_particles"]:
        raise InputError(
            f"--eval-particles {config['eval_particles']} is fewer than --num-particles "
            f"{config['num_particles']}"
        )


def _thin(config: dict[str, Any], given: dict[str, Any]) -> int | None:
    """Particles per datum that gradients are computed for; None for all.

    Without a flag they are thinned where that was measured to win in bound per minute.
    """
    kept, num_particles = given.get("thin", DEFAULTS["thin"]), config["num_particles"]
    if kept == "auto":
        # Thinned particles are run at once, so they must fit into a chunk.
        at_once = config["chunk_size"] or CPU_CHUNK
        pays = config["objective"] in THINNED and THIN_FROM <= num_particles <= at_once
        return default_kept(num_particles) if pays else None
    if kept is None:
        return None
    if kept == 0:  # --thin without a number
        kept = default_kept(num_particles)
    if not 1 <= kept < num_particles:
        raise InputError(
            f"--thin {kept} must lie below the number of particles, {num_particles}, and above 0"
        )
    return kept


def objective_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a config's objective, as ``make_objective`` takes them."""
    settings = {name: config[name] for name in SETTINGS}
    for name, read in (("capacity", _capacity), ("groups", _groups)):
        if settings[name] is not None:
            settings[name] = read(settings[name])
    return settings


def _capacity(text: str) -> float | LinearWarmUp:
    """``25`` or ``0:25:0.5``."""
    try:
        numbers = [float(part) for part in text.split(":")]
        return numbers[0] if len(numbers) == 1 else LinearWarmUp(*numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"--capacity {text!r} is not C or START:END:SHARE ({error})") from error


def _groups(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def schedules(config: dict[str, Any]) -> dict[str, LinearWarmUp]:
    """The annealing schedules of a config."""
    return {name: LinearWarmUp(*numbers) for name, numbers in config["annealing"].items()}


def optimiser(config: dict[str, Any]) -> OptimiserSettings:
    """The optimiser settings of a config; their lr is the first one where there are stages."""
    beta2 = OptimiserSettings().betas[1]  # that of every recipe
    rates = config["lr_stages"] or [config["lr"]]
    return OptimiserSettings(
        lr=rates[0],
        betas=(config["adam_beta1"], beta2),
        eps=config["adam_eps"],
        gradient=config["gradient"],
        second_moment=config["second_moment"],
        clip_norm=config["clip_norm"],
        skip_norm=config["skip_norm"],
    )


def lr_schedule(config: dict[str, Any]) -> Stages | None:
    """The stages of a config's learning rate, over the epochs that it has; None if constant."""
    rates = config["lr_stages"]
    return None if rates is None else stages(config["epochs"], rates)


def data_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``pyro_vae.load_dataset``."""
    patches = PATCH_FLAGS if _cuts_patches(config["dataset"]) else ()
    return {
        "name": config["dataset"],
        "pixels": architecture(config["model"], config["preset"]).pixels,
        "binarise": config["binarise"] or "access",
        **{name: config[name] for name in ("data_dir", "seed", *patches)},
    }


def _cuts_patches(dataset: str) -> bool:
    return dataset in PATCH_DATASETS or Path(dataset).expanduser().is_dir()


def _refuse_patch_flags(given: dict[str, Any], dataset: str) -> None:
    for name in PATCH_FLAGS:
        if name in given:
            raise InputError(
                f"--{name.replace('_', '-')} is for data that are cut into patches "
                f"({', '.join(PATCH_DATASETS)}, or a folder of photographs), not {dataset}"
            )


def _annealing(flags: list[str] | None, none: bool, arch) -> dict[str, list[float]]:
    levels = [f"z{level + 1}" for level in range(len(arch.units))]
    if none:
        if flags:
            raise InputError("--anneal and --no-anneal exclude each other")
        return {}
    if flags is None:
        return {
            name: [ramp.start, ramp.end, ramp.fraction]
            for name, ramp in default_annealing(len(levels)).items()
        }
    table = {}
    for flag in flags:
        name, _, numbers = flag.partition("=")
        try:
            start, end, share = values = [float(number) for number in numbers.split(":")]
            LinearWarmUp(start, end, share)
        except (TypeError, ValueError) as error:
            raise InputError(f"--anneal {flag!r} is not LEVEL=START:END:SHARE ({error})") from error
        table[check_choice("level", name, levels)] = values
    return table


def _without(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def default_run_dir(config: dict[str, Any], now: str) -> Path:
    """runs/<date>-<dataset>-<model>-<guide>-<objective>-k<K>."""
    data = Path(config["dataset"]).stem
    what = f"{data}-{config['model']}-{config['guide']}-{config['objective']}"
    return Path("runs") / f"{now}-{what}-k{config['num_particles']}"
