"""Files written whole or not at all and known again, checkpoints that load safely and resume."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
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


def sweep(folder: Path) -> None:
    """Delete what writers that were killed left behind, where nobody else writes now."""
    for left in folder.rglob(".*.tmp"):
        left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) as a whole file; bytes of names that are none as ``\\xNN``."""
    write_whole(path, os.fsencode(text).decode("utf-8", "backslashreplace").encode())


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


class Checksums:
    """SHA-256 of files of one folder, in ``checksums.json`` beside them; other files are free.

    A file's new digest is written before the file is, and the one that it has stays accepted until
    then: whenever a process dies, what lies there is one of the two.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checksums.json"

    def write(self, path: Path, content: bytes | memoryview) -> None:
        """Write a file of the folder whole, and its digest."""
        accepted = self._read()
        here = sha256(path.read_bytes()) if path.is_file() else None
        kept = [one for one in accepted.get(path.name, ()) if one == here]
        accepted[path.name] = list(dict.fromkeys([sha256(content), *kept]))
        write_text(self.path, json.dumps(accepted, indent=2) + "\n")
        write_whole(path, content)

    def read(self, path: Path) -> bytes:
        """The content of a file of the folder.

        Raises:
            InputError: there is none, or its digest is another one than when it was written.
        """
        if not path.is_file():
            raise InputError(f"there is no {path}")
        content = path.read_bytes()
        accepted = self._read().get(path.name)
        if accepted is not None and sha256(content) not in accepted:
            raise InputError(
                f"{path} is damaged, or was changed by hand: its SHA-256 is not the one in "
                f"{self.path.name}. If you changed it, delete {self.path.name}"
            )
        return content

    def _read(self) -> dict[str, list[str]]:
        """File name -> accepted digests; empty where the list itself is missing or damaged."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        named = content.items() if isinstance(content, dict) else ()
        return {name: digests for name, digests in named if isinstance(digests, list)}


def sha256(content: bytes | memoryview) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def save_checkpoint(path: Path, content: dict[str, Any], *, keep_previous: bool = False) -> None:
    """Save tensors and plain Python values, so that they load with ``weights_only=True``.

    ``keep_previous``: the checkpoint that was there stays as :func:`previous`, where the file
    system has hard links.
    """
    stream = io.BytesIO()
    torch.save({"format": FORMAT, **content}, stream)
    if keep_previous and path.is_file():
        link = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)
            os.link(path, link)
            link.replace(previous(path))
    write_whole(path, stream.getvalue())


def previous(path: Path) -> Path:
    """Where the checkpoint before the one in ``path`` is kept: ``checkpoint.previous.pt``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load_last_good(
    path: Path, device: str | torch.device = "cpu", parts: Sequence[str] = ()
) -> tuple[dict[str, Any], Path]:
    """As :func:`load_checkpoint`; where that is impossible the previous one, with a warning.

    Returns:
        the content, and the file that it is from.
    """
    try:
        return load_checkpoint(path, device, parts), path
    except InputError as error:
        try:
            content = load_checkpoint(previous(path), device, parts)
        except InputError:
            raise error from None
        warnings.warn(f"{error}; going on from {previous(path)}", stacklevel=2)
        return content, previous(path)


def load_checkpoint(
    path: Path, device: str | torch.device = "cpu", parts: Sequence[str] = ()
) -> dict[str, Any]:
    """Load a checkpoint without running any code from it; InputError where that is impossible.

    ``parts`` names what it must hold.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    try:
        _check_whole(path)
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
    Checksums(path.parent).write(path, save(tensors, metadata={"format": "pt"}))


def read_weights(path: Path, names: Sequence[str]) -> dict[str, dict[str, torch.Tensor]]:
    """State dicts by name from a file of :func:`save_weights`; InputError where it is damaged."""
    from safetensors.torch import load

    content = Checksums(path.parent).read(path)
    try:
        tensors = load(content)
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


def _check_whole(path: Path) -> None:
    """ValueError or BadZipFile where a byte of the content changed: torch leaves that unchecked."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is packed, as no checkpoint is")
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"the checksum of {broken} is wrong")


@contextlib.contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn what a checkpoint's parts raise where one is not what it should be into InputError."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, RuntimeError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} is damaged: {reason}") from error


def load_weights(module: nn.Module, state: Mapping[str, Any], what: str, path: Path) -> None:
    """Load a state dict; InputError names the first parameter that does not fit."""
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        raise InputError(f"{path} is damaged: it holds no tensors of a {what}")
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
