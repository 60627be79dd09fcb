"""Files written whole or not at all, and checkpoints that load safely and resume exactly."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyro_vae.errors import InputError

FORMAT = 1


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file under another name beside ``path``, then put it in place in one step.

    Callers serialise in memory first, so nothing but this function meets a full disk: then the file
    that was there before stays as it is, and the OSError names ``path``.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) as a whole file."""
    write_whole(path, text.encode("utf-8"))


def json_text(content: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON of a table; numbers that are not finite become null, which every parser reads."""
    return json.dumps(_without_nan(content), indent=indent)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Save tensors and plain Python values, so that they load with ``weights_only=True``."""
    stream = io.BytesIO()
    torch.save({"format": FORMAT, **content}, stream)
    write_whole(path, stream.getbuffer())


def load_checkpoint(
    path: Path, device: str | torch.device = "cpu", parts: Sequence[str] = ()
) -> dict[str, Any]:
    """Load a checkpoint without running any code from it; InputError where that is impossible.

    ``parts`` names what it must hold.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever a broken or hostile file provokes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} is no checkpoint that can be loaded safely: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is no pyro_vae checkpoint of format {FORMAT}")
    missing = [part for part in parts if part not in content]
    if missing:
        raise InputError(f"{path} is no whole checkpoint: it lacks {', '.join(missing)}")
    return content


def save_weights(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Write parameters and buffers as ``NAME.parameter`` of a safetensors file: it holds no code.

    Tensors that share memory are written once for each of their names.
    """
    from safetensors.torch import save

    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    write_whole(path, save(tensors, metadata={"format": "pt"}))


def read_weights(path: Path, names: Sequence[str]) -> dict[str, dict[str, torch.Tensor]]:
    """State dicts by name from a file of :func:`save_weights`; InputError where it is damaged."""
    from safetensors.torch import load

    try:
        tensors = load(path.read_bytes())
    except Exception as error:  # whatever a broken or hostile file provokes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} is no safetensors file that can be read: {reason}") from error
    found: dict[str, dict[str, torch.Tensor]] = {name: {} for name in names}
    for key, value in tensors.items():
        name, _, rest = key.partition(".")
        if name not in found:
            raise InputError(f"{path} holds {key!r}, which is of none of {', '.join(names)}")
        found[name][rest] = value
    return found


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
