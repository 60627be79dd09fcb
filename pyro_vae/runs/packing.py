"""A finished run as a folder to be given away: weights as safetensors, configuration and card.

Nothing in it is a pickle, and nothing is needed of the machine that trained it. :func:`load_run`
reads it like a run directory; it cannot be trained on, since the optimiser stays behind.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyro_vae.errors import InputError
from pyro_vae.export import model_card
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.runs.loading import load_run
from pyro_vae.storage import save_weights, write_text

# Read by hubs of models, which list a folder by what the head of its README says.
_HEAD = """---
library_name: pyro_vae
tags:
- variational-autoencoder
- pyro
- {model}
---

"""


def pack_run(run_dir: str | Path, folder: str | Path) -> Path:
    """Write the folder of a run, ready for ``hf upload`` or an archive.

    Files: ``model.safetensors`` (parameters and buffers of the pair, under ``model.`` and
    ``guide.``), ``config.json`` (without the data folder of this machine), ``preprocessing.npz``,
    ``summary.json``, their ``checksums.json`` and ``README.md``, the run's card. Early stopping's
    best weights are packed.

    Args:
        run_dir: of a run.
        folder: new, or empty.

    Raises:
        InputError: no run, or a folder that holds files.
    """
    run, source = load_run(run_dir), RunDirectory(run_dir)
    packed = RunDirectory(folder)
    if packed.path.exists() and (not packed.path.is_dir() or any(packed.path.iterdir())):
        raise InputError(f"{folder} is there already; name a folder that is new or empty")
    save_weights(packed.weights, {"model": run.model, "guide": run.guide})
    config = replace(run.config, data=replace(run.config.data, data_dir=None))
    packed.write_config(config)
    run.preprocessing.save(packed.preprocessing)
    if source.summary.is_file():
        packed.write_summary(source.read_summary())
    head = _HEAD.format(model=config.pair.model)
    write_text(packed.path / "README.md", head + model_card(replace(run, path=packed.path)))
    return packed.path
