"""A run directory read back: the trained pair with its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from pyro_vae.programs import Guide, HierarchicalVAE
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.storage import load_checkpoint, load_weights


@dataclass(frozen=True)
class Run:
    """A trained pair with the configuration it was trained with; see :func:`load_run`."""

    model: HierarchicalVAE
    guide: Guide
    config: RunConfig

    def __iter__(self):
        """Unpacks as ``model, guide, config``."""
        return iter((self.model, self.guide, self.config))


def load_run(run_dir: str | Path, device: str | torch.device = "cpu") -> Run:
    """Rebuild the trained pair of a run directory, of this version or an earlier one.

    Returns:
        :class:`Run`; ``model, guide, config = load_run(run_dir)`` works too.

    Raises:
        InputError: the directory, its config or its checkpoint is missing, damaged, or they do not
            belong together.
    """
    directory = RunDirectory(run_dir)
    config = directory.read_config()
    model, guide = config.pair.build(config.facts.num_pixels)
    content = load_checkpoint(directory.checkpoint, parts=("model", "guide"))
    load_weights(model, content["model"], "model", directory.checkpoint)
    load_weights(guide, content["guide"], "guide", directory.checkpoint)
    return Run(model.to(device).eval(), guide.to(device).eval(), config)
