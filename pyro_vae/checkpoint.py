"""Files written whole or not at all, and checkpoints that load safely and resume exactly."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyro_vae.errors import InputError

FORMAT = 1


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    Where writing fails (a full disk, say) the file that was there before stays as it is and the
    OSError names ``path``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        # torch.save and the netCDF writers report a full disk as a RuntimeError.
        if isinstance(error, RuntimeError) and not _is_write_failure(error):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OSError(
            getattr(error, "errno", None) or 0, f"cannot write {path}: {reason}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_write_failure(error: RuntimeError) -> bool:
    message = str(error)
    return any(part in message for part in ("write", "No space", "unexpected pos", "HDF error"))


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) as a whole file."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Save tensors and plain Python values, so that they load with ``weights_only=True``."""
    write_whole(path, lambda temporary: torch.save({"format": FORMAT, **content}, temporary))


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Load a checkpoint without running any code from it; InputError where that is impossible."""
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever a broken or hostile file provokes
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is no checkpoint that can be loaded safely: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is no pyro_vae checkpoint of format {FORMAT}")
    return content


def load_weights(module: nn.Module, state: dict[str, Any], what: str, path: Path) -> None:
    """Load a state dict; InputError names the first parameter that does not fit."""
    own = module.state_dict()
    for name in sorted(own.keys() | state.keys()):
        if name not in state or name not in own:
            place = "the checkpoint" if name not in state else f"this {what}"
            raise InputError(f"{path} is of another {what}: {name!r} is missing in {place}")
        if own[name].shape != state[name].shape:
            raise InputError(
                f"{path} is of another {what}: {name!r} has shape {tuple(state[name].shape)} there "
                f"and {tuple(own[name].shape)} here"
            )
    module.load_state_dict(state)


def generator_states() -> dict[str, torch.Tensor]:
    """States of torch's global generators, which draw the particles."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: dict[str, torch.Tensor]) -> None:
    """Put back what :func:`generator_states` returned."""
    torch.set_rng_state(states["cpu"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
