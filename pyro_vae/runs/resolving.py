"""Settings that a user gave, resolved into the configuration of a new run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from pyro_vae.datasets import PATCH_DATASETS, Augmentation
from pyro_vae.errors import InputError, check_choice, check_positive
from pyro_vae.objectives import CATALOGUE, OBJECTIVES, SETTINGS
from pyro_vae.objectives.thinning import default_kept
from pyro_vae.options import resolved
from pyro_vae.programs import PairConfig
from pyro_vae.runs.config import OPTIONS, RunConfig
from pyro_vae.runs.data_settings import PATCH_SETTINGS, SIZE_SETTINGS
from pyro_vae.runs.defaults import default_guide, default_init, objective_defaults, patch_defaults
from pyro_vae.runs.devices import check_device
from pyro_vae.training.fitting import CPU_CHUNK
from pyro_vae.training.optimisation import GRADIENTS
from pyro_vae.training.precision import PRECISIONS
from pyro_vae.training.recipes import Recipe, named_recipe, recipe_name
from pyro_vae.training.schedules import LinearWarmUp, default_annealing

_THIN_FROM = 50  # particles from which benchmarks/thinned_gradients.py found that thinning pays
FLAGS = {named.name: named.flag for named in OPTIONS}
FLAGS |= {name: f"--{name.replace('_', '-')}" for name in SETTINGS}


def flag_of(name: str) -> str:
    """The flag of a setting, as errors name it."""
    return FLAGS[name]


def new_config(given: Mapping[str, Any], base: RunConfig | None = None) -> RunConfig:
    """Defaults, the recipe and the given settings (by flat name), checked by name and range.

    Args:
        given: settings of the user; a name that is none raises InputError.
        base: a configuration whose settings stand where none is given, such as that of another
            run. What follows from a setting that is given anew (recipe, model, data set,
            objective) is decided anew.
    """
    for name in given:
        check_choice("setting", name, FLAGS)
    if "objective" in given:
        check_choice("objective", given["objective"], OBJECTIVES)
    chosen = ({} if base is None else _kept(base, given)) | dict(given)
    values = SimpleNamespace(**RunConfig().settings | chosen)
    values.guide = chosen.get("guide") or default_guide(values.model, values.preset)
    if "init" not in chosen:
        values.init = default_init(RunConfig.from_settings(vars(values)).pair)
    pair = RunConfig.from_settings(vars(values)).pair
    vars(values).update(objective_defaults(pair, chosen.get("objective")) | chosen)
    arch = pair.architecture
    if values.recipe is None:
        values.recipe = recipe_name(pair.model, pair.preset, pair.init)
    plan = named_recipe(values.recipe)
    if values.lr is None and values.lr_stages is None and values.lr_shape is None and plan.stages:
        values.lr_stages = tuple(plan.stages)
    for name, value in _entries_of(plan).items():
        staged = name in ("lr", "lr_shape") and values.lr_stages
        if getattr(values, name) is None and not staged:
            setattr(values, name, value)
    values.thin = thin_of(values, values.thin)
    if values.annealing is None:
        values.annealing = plan.annealing_of(len(arch.units))
    if values.annealing is None and arch.of_images:
        values.annealing = {}
    values.annealing = annealing_of(values.annealing, len(arch.units))
    if not RunConfig.from_settings(vars(values)).data.cuts_patches:
        _refuse_patch_settings(given, values.dataset)
        vars(values).update(dict.fromkeys(PATCH_SETTINGS))
    else:
        for name, value in patch_defaults(values.init, values.whiten, values.patch_size).items():
            if getattr(values, name) is None:
                setattr(values, name, value)
    if values.binarise is not None and not arch.pixels.drawn:
        raise InputError(
            f"--binarise is for models with Bernoulli pixels; {pair.model} has a "
            f"{arch.pixels.likelihoods[0]} likelihood"
        )
    config = RunConfig.from_settings(vars(values))
    check_config(config)
    return config


def _kept(base: RunConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of ``base`` that do not follow from what is given anew."""
    kept = base.settings
    dropped: set[str] = set()
    if given.keys() & {"model", "preset"}:
        dropped |= {"recipe", "annealing", *(one.name for one in dataclasses.fields(PairConfig))}
    if given.keys() & {"model", "preset", "objective"}:
        dropped |= _followed(base)
    if given.get("init", base.pair.init) != base.pair.init:
        dropped |= {"recipe", "annealing", "components", "num_train"}
    if given.keys() & {"recipe"} or "recipe" in dropped:
        dropped |= {"lr_stages", "recipe", *_entries_of(named_recipe("burda"))}
    if given.keys() & {"lr", "lr_shape"}:
        dropped.add("lr_stages")
    if "dataset" in given:
        dropped |= {*PATCH_SETTINGS, *SIZE_SETTINGS, "binarise", "augment"}
    if "whiten" in given:
        dropped.add("components")
    if "objective" in given:
        dropped |= {*SETTINGS, "estimator"}
    if (dropped | given.keys()) & {"num_particles", "objective", "chunk_size"}:
        dropped.add("thin")
    return {name: value for name, value in kept.items() if name not in dropped}


def _followed(base: RunConfig) -> set[str]:
    """Settings around the objective of ``base`` that are those of its model."""
    kept = base.settings
    names = {name for name, value in objective_defaults(base.pair).items() if kept[name] == value}
    return names if base.objective.estimator is None else names - {"objective"}


def _entries_of(plan: Recipe) -> dict[str, Any]:
    """What a recipe says about settings that a user may give as well."""
    adam = plan.optimiser
    return {
        "epochs": plan.epochs,
        "patience": plan.patience,
        "optimiser": adam.name,
        "batch_size": plan.batch_size,
        "lr": adam.lr,
        "lr_shape": plan.lr_shape,
        "adam_beta1": adam.betas[0],
        "adam_eps": adam.eps,
        "gradient": adam.gradient,
        "second_moment": adam.second_moment,
        "clip_norm": adam.clip_norm,
        "skip_norm": adam.skip_norm,
    }


def check_config(config: RunConfig) -> None:
    """Names and ranges that hold for new and resumed runs."""
    values = config.settings
    check_choice("objective", config.objective.name, OBJECTIVES)
    check_device(config.speed.device)
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
        check_positive(flag_of(name), values[name])
    for name in ("max_minutes", "chunk_size", "patience"):
        if values[name] is not None:
            check_positive(flag_of(name), values[name])
    training = config.training
    if training.lr_stages is None:
        check_positive("--lr", resolved(training.lr))
    if not 0 <= resolved(training.adam_beta1) < 1:
        raise InputError(f"--adam-beta1 must lie in [0, 1), got {training.adam_beta1}")
    if not 0 <= resolved(training.second_moment) < float("inf"):
        raise InputError(
            f"--second-moment must be finite and at least 0, got {training.second_moment}"
        )
    check_choice("--gradient", resolved(training.gradient), GRADIENTS)
    _ = training.optimiser, training.lr_schedule  # name what is none
    if not 0 <= config.seed < 2**63:
        raise InputError(f"--seed must lie in 0 .. 2^63 - 1, got {config.seed}")
    config.objective.make()
    if config.data.augment is not None:
        Augmentation.read(config.data.augment)
    check_choice("precision", config.speed.precision, PRECISIONS)
    if config.evaluation.eval_particles < config.objective.num_particles:
        raise InputError(
            f"--eval-particles {config.evaluation.eval_particles} is fewer than --num-particles "
            f"{config.objective.num_particles}"
        )


def thin_of(values: SimpleNamespace, kept: Any) -> int | None:
    """Particles per datum that are differentiated; None for all.

    Where nothing is given they are thinned where that was measured to win in bound per minute.
    """
    num_particles: int = values.num_particles
    bent = set(values.posterior.split("/")) != {"locscale"}
    if kept == "auto":
        # Thinned particles are run at once, so they must fit into a chunk.
        at_once = values.chunk_size or CPU_CHUNK
        pays = CATALOGUE[values.objective].thins and _THIN_FROM <= num_particles <= at_once
        return default_kept(num_particles) if pays and not bent else None
    if kept is not None and bent:
        raise InputError(
            f"--thin draws kept particles again on their old noise, which wants the posterior "
            f"locscale at every level, not {values.posterior}; train without --thin"
        )
    if kept is None:
        return None
    if kept == 0:  # --thin without a number
        kept = default_kept(num_particles)
    if not 1 <= kept < num_particles:
        raise InputError(
            f"--thin {kept} must lie below the number of particles, {num_particles}, and above 0"
        )
    return kept


def _refuse_patch_settings(given: Mapping[str, Any], dataset: str) -> None:
    for name in PATCH_SETTINGS:
        if given.get(name) is not None:
            raise InputError(
                f"{flag_of(name)} is for data that are cut into patches "
                f"({', '.join(PATCH_DATASETS)}, a folder of photographs, or an array of them with "
                f"--patch-size), not {dataset}"
            )


def annealing_of(given: Any, num_levels: int) -> dict[str, tuple[float, float, float]]:
    """Level -> (start, end, share); from a table, from words LEVEL=START:END:SHARE, or defaults."""
    if given is None:
        return {
            name: (ramp.start, ramp.end, ramp.fraction)
            for name, ramp in default_annealing(num_levels).items()
        }
    if not isinstance(given, Mapping):
        given = dict(_ramp(word) for word in given)
    levels = [f"z{level + 1}" for level in range(num_levels)]
    return {check_choice("level", name, levels): tuple(ramp) for name, ramp in given.items()}


def _ramp(word: str) -> tuple[str, tuple[float, float, float]]:
    name, _, numbers = word.partition("=")
    try:
        start, end, share = (float(number) for number in numbers.split(":"))
        LinearWarmUp(start, end, share)
    except (TypeError, ValueError) as error:
        raise InputError(f"--anneal {word!r} is not LEVEL=START:END:SHARE ({error})") from error
    return name, (start, end, share)
