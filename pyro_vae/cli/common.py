"""What the commands share: their parser, exit codes with one line of reason, and JSON answers."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from pyro_vae.errors import InputError, TrainingDiverged
from pyro_vae.runs import RunDirectory
from pyro_vae.storage import json_text


class Parser(argparse.ArgumentParser):
    """Bad flags are bad input like any other: one line, and exit code 2. Every command answers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_argument(
            "--json",
            action="store_true",
            help="print the results as one JSON object, and all else on stderr",
        )

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


@dataclass(frozen=True)
class Answer:
    """What a command found: the content of its JSON object, and its exit code.

    Attributes:
        content: None where the process has nothing to say, as all but the first of several.
    """

    content: Mapping[str, Any] | None
    code: int = 0


def answered(
    parser: Parser,
    arguments: list[str] | None,
    run: Callable[[argparse.Namespace], Answer],
    name: str | None = None,
) -> int:
    """Run a command and return its exit code; with ``--json`` its answer alone is on stdout.

    What the command prints meanwhile goes to stderr then. A command that fails prints no object: it
    has its line on stderr and its exit code, as without the flag.

    Args:
        name: of the command in front of such lines, where it is not the parser's.
    """

    def body() -> int:
        flags = parser.parse_args(arguments)
        if not getattr(flags, "json", False):  # absent where flags left out are
            return run(flags).code
        with contextlib.redirect_stdout(sys.stderr):
            answer = run(flags)
        if answer.content is not None:
            print(json_text(answer.content), flush=True)
        return answer.code

    return exit_code(name or parser.prog, body)


def write_out(path: str | None, content: dict[str, Any]) -> list[str]:
    """Write the file of ``--out``, where there is one, and say so; the files written."""
    if path is None:
        return []
    RunDirectory.write_json(Path(path), content)
    print(f"wrote {path}")
    return [path]


def exit_code(name: str, run: Callable[[], int]) -> int:
    """Run a command; bad input gives 2, a training that diverges 1, Ctrl-C 130.

    A reader of its output that leaves, as ``| head`` does, ends it without a word, by 141.
    """

    def say(line: str) -> None:
        # Names of files may hold anything, a line of its own too.
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        print(f"{name}: {shown}", file=sys.stderr)

    def show(message: Warning | str, *_args: Any, **_named: Any) -> None:
        say(f"warning: {message}")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            code = run()
            sys.stdout.flush()  # here a reader that has left is met, not at the end of the process
            return code
    except BrokenPipeError:
        # As of ``pyro-vae completion bash | head``. Nothing is left to be flushed into the pipe.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (InputError, OSError) as error:
        say(str(error))
        return 2
    except TrainingDiverged as error:
        say(f"training stopped at {error}")
        return 1
    except (RuntimeError, MemoryError, ImportError) as error:
        if not _of_memory(error):
            raise
        reason = (str(error).splitlines() or [""])[0]
        say(f"out of memory; use fewer particles or smaller batches ({reason})")
        return 2
    except KeyboardInterrupt as error:
        say("; ".join(["interrupted", *map(str, error.args)]))
        return 130


def _of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out: on the CPU torch and the linker use plain ones."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    told = str(error).lower()
    return any(words in told for words in ("allocate memory", "not enough memory", "failed to map"))
