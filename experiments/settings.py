"""The config that the flags of ``fit.py`` resolve to: plain values that a resume reads back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyro_vae.annealing import LinearWarmUp, default_annealing
from pyro_vae.architectures import GUIDES, architecture
from pyro_vae.datasets import PATCH_DATASETS
from pyro_vae.errors import InputError, check_choice, check_positive
from pyro_vae.objectives import CAN_THIN, OBJECTIVES
from pyro_vae.recipes import recipe
from pyro_vae.thinning import default_kept
from pyro_vae.training.fitting import CPU_CHUNK
from pyro_vae.training.optimisation import OptimiserSettings
from pyro_vae.training.precision import PRECISIONS

# A resumed run keeps its data, model, optimiser and seed; the rest may be given anew.
MAY_CHANGE = {
    "data_dir", "objective", "alpha", "num_particles", "epochs", "max_minutes", "device",
    "valid_size", "test_size", "eval_particles", "posterior_data", "posterior_draws",
    "thin", "compile", "chunk_size", "precision",
}  # fmt: skip
PATCH_FLAGS = ("patch_size", "intensity", "whiten", "components", "num_train")
# Entries that runs of version 0.1.0 lack, as those runs had them.
ADDED = {"thin": None, "compile": None, "chunk_size": None, "precision": "float32"}
THIN_FROM = 50  # particles; benchmarks/thinning.py
WITH_ALPHA = ("renyi", "pyro-renyi")
NOT_IN_CONFIG = {"resume", "run_dir", "quiet"}


DEFAULTS: dict[str, Any] = {
    "dataset": "natural", "data_dir": None, "binarize": None, "patch_size": 20,
    "intensity": "log", "whiten": "zca", "components": 128, "num_train": 10_000,
    "model": "td", "guide": "topdown", "preset": "small",
    "objective": "iwae", "num_particles": 50, "alpha": None, "anneal": None, "no_anneal": False,
    "epochs": None, "max_minutes": None, "batch_size": None, "lr": None,
    "clip_norm": None, "skip_norm": None, "seed": 0, "thin": "auto",
    "compile": None, "chunk_size": None, "precision": "float32", "device": "auto",
    "valid_size": 500, "test_size": 200, "eval_particles": 5_000,
    "posterior_data": 50, "posterior_draws": 100,
}  # fmt: skip


def new_config(given: dict[str, Any]) -> dict[str, Any]:
    """Defaults, the preset's recipe and the given flags, checked by name and range."""
    config = {**DEFAULTS, **_without(given, NOT_IN_CONFIG)}
    check_choice("guide", config["guide"], GUIDES)
    arch = architecture(config["model"], config["preset"])
    plan = recipe(config["model"], config["preset"])
    for source, names in (
        (plan, ("epochs", "batch_size")),
        (plan.optimiser, ("lr", "clip_norm", "skip_norm")),
    ):
        for name in names:
            if config[name] is None:
                config[name] = getattr(source, name)
    config["thin"] = _thin(config, given)
    config["adam_eps"] = plan.optimiser.eps
    config["annealing"] = _annealing(config.pop("anneal"), config.pop("no_anneal"), arch)
    if not _cuts_patches(config["dataset"]):
        _refuse_patch_flags(given, config["dataset"])
        config |= dict.fromkeys(PATCH_FLAGS)
    if config["binarize"] is not None and arch.pixels != "binary":
        raise InputError(
            f"--binarize is for models with Bernoulli pixels; {config['model']} has a Gaussian "
            "likelihood"
        )
    check_config(config)
    return config


def resumed_config(stored: dict[str, Any], given: dict[str, Any], source: Path) -> dict[str, Any]:
    """The stored config with those of the given flags that a resume may change."""
    stored = stored | {name: value for name, value in ADDED.items() if name not in stored}
    missing = [name for name in new_config({}) if name not in stored]
    if missing:
        raise InputError(f"{source} lacks the entries {', '.join(missing)}")
    config = dict(stored)
    for name, value in _without(given, NOT_IN_CONFIG).items():
        if name not in MAY_CHANGE and stored.get(name) != value:
            raise InputError(
                f"--{name.replace('_', '-')} {value} cannot change on --resume: the run has "
                f"{stored.get(name)}"
            )
        config[name] = value
    if config["objective"] not in WITH_ALPHA and "alpha" not in given:
        config["alpha"] = None
    if given.keys() & {"thin", "num_particles", "objective", "chunk_size"}:
        config["thin"] = _thin(config, given)
    check_config(config)
    return config


def check_config(config: dict[str, Any]) -> None:
    """Names and ranges that hold for new and resumed runs."""
    check_choice("objective", config["objective"], OBJECTIVES)
    check_choice("device", config["device"], ("auto", "cpu", "cuda"))
    for name in (
        "num_particles", "epochs", "batch_size", "lr", "clip_norm", "skip_norm", "test_size",
        "valid_size", "eval_particles", "posterior_data", "posterior_draws",
    ):  # fmt: skip
        check_positive(f"--{name.replace('_', '-')}", config[name])
    if not 0 <= config["seed"] < 2**63:
        raise InputError(f"--seed must lie in 0 .. 2^63 - 1, got {config['seed']}")
    if config["max_minutes"] is not None:
        check_positive("--max-minutes", config["max_minutes"])
    if config["alpha"] is not None and config["objective"] not in WITH_ALPHA:
        raise InputError(f"--alpha belongs to the objective renyi, not {config['objective']}")
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
        pays = config["objective"] in CAN_THIN and THIN_FROM <= num_particles <= at_once
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


def schedules(config: dict[str, Any]) -> dict[str, LinearWarmUp]:
    """The annealing schedules of a config."""
    return {name: LinearWarmUp(*numbers) for name, numbers in config["annealing"].items()}


def optimiser(config: dict[str, Any]) -> OptimiserSettings:
    """The optimiser settings of a config."""
    return OptimiserSettings(
        lr=config["lr"], eps=config["adam_eps"], clip_norm=config["clip_norm"],
        skip_norm=config["skip_norm"],
    )  # fmt: skip


def data_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``pyro_vae.load_dataset``."""
    patches = PATCH_FLAGS if _cuts_patches(config["dataset"]) else ()
    return {
        "name": config["dataset"],
        "pixels": architecture(config["model"], config["preset"]).pixels,
        "binarize": config["binarize"] or "access",
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
