"""A run directory read back: the trained pair with its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyro_vae.errors import InputError
from pyro_vae.options import resolved
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.runs.run import Run
from pyro_vae.storage import (
    load_checkpoint,
    load_last_good,
    load_weights,
    previous,
    read_weights,
    sound,
)

PAIR = ("model", "guide")  # of a checkpoint


def load_run(
    run_dir: str | Path,
    device: str | torch.device = "cpu",
    *,
    programs: tuple[nn.Module, nn.Module] | None = None,
) -> Run:
    """Rebuild the trained pair of a run directory, of this version or an earlier one.

    A folder of ``pyro-vae pack`` is read as well.

    Where early stopping kept the best weights these are the pair's, not the last ones.

    Args:
        programs: model and guide of a run of the user's own programs (:func:`save_run`), made as
            they were before training: the weights are loaded into them. Such a run encodes;
            samples and reconstructions are of this library's models.

    Returns:
        :class:`Run`; ``model, guide, config = load_run(run_dir)`` works too.

    Raises:
        InputError: the directory, its config or its checkpoint is missing, damaged, or they do not
            belong together. The checkpoint before the last one is not taken, since it is another
            pair than the one that the run was judged by: a resume goes on from it.
    """
    directory = RunDirectory(run_dir)
    config = directory.read_config()
    pair = _programs(config, directory, programs)
    return _built(pair, config, directory.path, *_weights(directory), device)


def load_to_resume(run_dir: str | Path) -> tuple[Run, int]:
    """As :func:`load_run`, of the last checkpoint that is whole; and the epochs it was trained."""
    directory = RunDirectory(run_dir)
    config = directory.read_config()
    content, source = load_last_good(directory.checkpoint, parts=(*PAIR, "progress"))
    with sound(source):
        epochs = int(content["progress"]["epoch"])
    pair = _programs(config, directory, None)
    weights = content.get("best") or content
    return _built(pair, config, directory.path, weights, source, "cpu"), epochs


def _built(
    pair: tuple[nn.Module, nn.Module],
    config: RunConfig,
    path: Path,
    weights: Mapping[str, Any],
    source: Path,
    device: str | torch.device,
) -> Run:
    """The pair with state dicts of model and guide, which the file ``source`` holds."""
    model, guide = pair
    with sound(source):
        load_weights(model, weights["model"], "model", source)
        load_weights(guide, weights["guide"], "guide", source)
    return Run.of_modules(model.to(device).eval(), guide.to(device).eval(), config, path)


def _programs(
    config: RunConfig, directory: RunDirectory, programs: tuple[nn.Module, nn.Module] | None
) -> tuple[nn.Module, nn.Module]:
    """The pair whose weights are loaded."""
    own = config.facts.own_pixels is not None
    if own == (programs is None):
        how = (
            f"holds the weights of {config.pair.model} and {config.pair.guide}, programs of its "
            "user's own: give them, as load_run(run_dir, programs=(model, guide))"
            if own
            else "is rebuilt from its config.json; leave programs out"
        )
        raise InputError(f"{directory.path} {how}")
    if programs is not None:
        return programs
    return config.pair.build(resolved(config.facts.num_pixels), config.facts.channels_first)


def _weights(directory: RunDirectory) -> tuple[Mapping[str, Any], Path]:
    """State dicts of model and guide, and the file that they are from."""
    if directory.weights.is_file() and not directory.checkpoint.is_file():
        return read_weights(directory.weights, PAIR), directory.weights
    try:
        content = load_checkpoint(directory.checkpoint, parts=PAIR)
    except InputError as error:
        if not previous(directory.checkpoint).is_file():
            raise
        raise InputError(
            f"{error}; pyro-vae fit --resume --run-dir {directory.path} goes on from the one "
            f"before it, {previous(directory.checkpoint).name}"
        ) from error
    return content.get("best") or content, directory.checkpoint
