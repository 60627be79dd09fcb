"""The flags of ``fit.py`` and the config they resolve to: plain values that a resume reads back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from pyro_vae.annealing import LinearWarmUp, default_annealing
from pyro_vae.architectures import GUIDES, MODELS, architecture
from pyro_vae.datasets import DATASETS, PATCH_DATASETS
from pyro_vae.errors import InputError, check_choice, check_positive
from pyro_vae.objectives import OBJECTIVES
from pyro_vae.training.optimisation import OptimiserSettings
from pyro_vae.recipes import recipe

# A resumed run keeps its data, model, optimiser and seed; the rest may be given anew.
MAY_CHANGE = {
    "data_dir", "objective", "alpha", "num_particles", "epochs", "max_minutes", "device",
    "valid_size", "test_size", "eval_particles", "posterior_data", "posterior_draws",
}  # fmt: skip
PATCH_FLAGS = ("patch_size", "intensity", "whiten", "components", "num_train")
NOT_IN_CONFIG = {"resume", "run_dir", "quiet"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


def parser() -> argparse.ArgumentParser:
    """The command line of fit.py. Flags left out are absent, so that a resume can tell."""
    p = _Parser(
        prog="fit.py",
        description="Train a hierarchical VAE and its guide on images, evaluate it on held-out "
        "data and write a run directory that ArviZ opens.",
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python experiments/fit.py --guide topdown --num-particles 50",
    )
    data = p.add_argument_group("data")
    data.add_argument(
        "--dataset", metavar="NAME|FILE",
        help=f"{', '.join(DATASETS)}; or a .npy, .npz (file.npz:array), IDX or .pkl file, or a "
        "folder of photographs (default: natural)",
    )  # fmt: skip
    data.add_argument(
        "--data-dir", metavar="DIR", help="folder of data files (default: $PYRO_VAE_DATA)"
    )
    data.add_argument(
        "--binarize", metavar="HOW",
        help="static, epoch or access: when pixels of Bernoulli models are drawn (default: access)",
    )  # fmt: skip
    data.add_argument("--patch-size", type=int, metavar="N", help="side of a patch (default: 20)")
    data.add_argument("--intensity", metavar="HOW", help="log or grey (default: log)")
    data.add_argument("--whiten", metavar="HOW", help="zca, pca or none (default: zca)")
    data.add_argument(
        "--components", type=int, metavar="N",
        help="principal components that whitening keeps, a low-pass cut (default: 128)",
    )  # fmt: skip
    data.add_argument(
        "--num-train", type=int, metavar="N", help="training patches to cut (default: 10000)"
    )

    program = p.add_argument_group("model and guide")
    program.add_argument("--model", metavar="NAME", help=f"{', '.join(MODELS)} (default: td)")
    program.add_argument("--guide", metavar="NAME", help=f"{', '.join(GUIDES)} (default: topdown)")
    program.add_argument(
        "--preset", metavar="NAME",
        help="small: minutes on a CPU; paper: the published sizes and optimiser (default: small)",
    )  # fmt: skip

    training = p.add_argument_group("training")
    training.add_argument(
        "--objective", metavar="NAME", help=f"{', '.join(OBJECTIVES)} (default: iwae)"
    )
    training.add_argument(
        "--num-particles", type=int, metavar="K", help="particles per datum (default: 50)"
    )
    training.add_argument(
        "--alpha", type=float, help="order of the objective renyi (default: 0, the IWAE bound)"
    )
    training.add_argument(
        "--anneal", metavar="LEVEL=START:END:SHARE", action="append",
        help="beta of a level, linear over a share of training; repeatable (default: z2=0.1:1:0.5 "
        "for models with a z2)",
    )  # fmt: skip
    training.add_argument("--no-anneal", action="store_true", help="beta is 1 throughout")
    training.add_argument("--epochs", type=int, metavar="N", help="default: the preset's")
    training.add_argument("--max-minutes", type=float, metavar="M", help="end training after this")
    training.add_argument("--batch-size", type=int, metavar="B", help="default: the preset's")
    training.add_argument("--lr", type=float, help="Adam's learning rate (default: the preset's)")
    training.add_argument(
        "--clip-norm",
        type=float,
        metavar="G",
        help="clip gradients at this norm (default: the preset's)",
    )
    training.add_argument(
        "--skip-norm",
        type=float,
        metavar="G",
        help="skip steps above this norm (default: the preset's)",
    )
    training.add_argument("--seed", type=int, help="of everything random (default: 0)")
    training.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (default: auto)")

    after = p.add_argument_group("evaluation")
    after.add_argument("--valid-size", type=int, metavar="N", help="data judged per epoch (500)")
    after.add_argument("--test-size", type=int, metavar="N", help="test data judged (200)")
    after.add_argument(
        "--eval-particles", type=int, metavar="K",
        help="particles of the test log-likelihood (5000)",
    )  # fmt: skip
    after.add_argument("--posterior-data", type=int, metavar="N", help="data in posterior.nc (50)")
    after.add_argument("--posterior-draws", type=int, metavar="N", help="draws in it (100)")

    run = p.add_argument_group("run")
    run.add_argument("--run-dir", metavar="DIR", help="default: runs/<date>-<what>")
    run.add_argument("--resume", action="store_true", help="continue the run in --run-dir exactly")
    run.add_argument("--quiet", action="store_true", help="print the final table only")
    return p


DEFAULTS: dict[str, Any] = {
    "dataset": "natural", "data_dir": None, "binarize": None, "patch_size": 20,
    "intensity": "log", "whiten": "zca", "components": 128, "num_train": 10_000,
    "model": "td", "guide": "topdown", "preset": "small",
    "objective": "iwae", "num_particles": 50, "alpha": None, "anneal": None, "no_anneal": False,
    "epochs": None, "max_minutes": None, "batch_size": None, "lr": None,
    "clip_norm": None, "skip_norm": None, "seed": 0, "device": "auto",
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
    if config["objective"] != "renyi" and "alpha" not in given:
        config["alpha"] = None
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
    if config["alpha"] is not None and config["objective"] != "renyi":
        raise InputError(f"--alpha belongs to the objective renyi, not {config['objective']}")
    if config["eval_particles"] < config["num_particles"]:
        raise InputError(
            f"--eval-particles {config['eval_particles']} is fewer than --num-particles "
            f"{config['num_particles']}"
        )


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
